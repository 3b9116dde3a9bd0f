#include "src/model/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>

namespace cleanroom::model {
namespace {

using Bytes16 = std::array<std::uint8_t, 16>;

base::Failure not_an_address(std::string_view text) {
  return base::fail(base::Code::invalid_input, fmt::format("cannot read IP address '{}': not an address", text));
}

bool has_prefix(const Bytes16& bytes, std::initializer_list<std::uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// 0..max without sign, leading zero or other bytes.
std::optional<int> strict_number(std::string_view text, int max) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  if (value > max) return std::nullopt;
  return value;
}

}  // namespace

IpAddress IpAddress::v4(std::array<std::uint8_t, 4> bytes) {
  IpAddress address;
  std::copy(bytes.begin(), bytes.end(), address.bytes_.begin());
  return address;
}

IpAddress IpAddress::v4(std::uint32_t host_order) {
  return v4({static_cast<std::uint8_t>(host_order >> 24), static_cast<std::uint8_t>(host_order >> 16),
             static_cast<std::uint8_t>(host_order >> 8), static_cast<std::uint8_t>(host_order)});
}

IpAddress IpAddress::v6(const Bytes16& bytes) {
  if (has_prefix(bytes, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}))
    return v4({bytes[12], bytes[13], bytes[14], bytes[15]});
  IpAddress address;
  address.family_ = Family::v6;
  address.bytes_ = bytes;
  return address;
}

base::Result<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.size() >= INET6_ADDRSTRLEN || text.find('\0') != std::string_view::npos) return not_an_address(text);
  const std::string terminated(text);
  if (text.find(':') != std::string_view::npos) {
    Bytes16 bytes{};
    if (::inet_pton(AF_INET6, terminated.c_str(), bytes.data()) != 1) return not_an_address(text);
    return v6(bytes);
  }
  std::array<std::uint8_t, 4> bytes{};
  std::size_t start = 0;
  for (std::size_t part = 0; part < 4; ++part) {
    const auto end = part == 3 ? text.size() : text.find('.', start);
    if (end == std::string_view::npos) return not_an_address(text);
    const auto number = strict_number(text.substr(start, end - start), 255);
    if (!number) return not_an_address(text);
    bytes.at(part) = static_cast<std::uint8_t>(*number);
    start = end + 1;
  }
  return v4(bytes);
}

std::optional<IpAddress> IpAddress::embedded_v4() const {
  if (is_v4()) return std::nullopt;
  const auto& b = bytes_;
  const auto last32 = [&] { return v4({b[12], b[13], b[14], b[15]}); };
  if (all_zero({b.data(), 12})) return last32();                                             // RFC 4291 2.5.5.1
  if (has_prefix(b, {0, 0x64, 0xff, 0x9b}) && all_zero({b.data() + 4, 8})) return last32();  // RFC 6052
  if (has_prefix(b, {0, 0x64, 0xff, 0x9b, 0, 1})) return last32();                           // RFC 8215
  if (has_prefix(b, {0x20, 0x02})) return v4({b[2], b[3], b[4], b[5]});                      // RFC 3056
  if (has_prefix(b, {0x20, 0x01, 0, 0})) {                                                   // RFC 4380 section 4
    const auto flip = [](std::uint8_t byte) { return static_cast<std::uint8_t>(byte ^ 0xff); };
    return v4({flip(b[12]), flip(b[13]), flip(b[14]), flip(b[15])});
  }
  return std::nullopt;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text.data(), text.size());
  return text.data();
}

base::Result<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address_text = text.substr(0, slash);
  auto address = IpAddress::parse(address_text);
  if (!address) return base::Failure(std::move(address).error());
  if (address->is_v4() && address_text.find(':') != std::string_view::npos)
    return base::fail(base::Code::invalid_input,
                      fmt::format("cannot read '{}': an IPv4-mapped range; write the IPv4 range", text));
  if (slash == std::string_view::npos) return single(*address);
  const auto length = strict_number(text.substr(slash + 1), address->bits());
  if (!length)
    return base::fail(base::Code::invalid_input,
                      fmt::format("cannot read '{}': the length after / must be 0 to {}", text, address->bits()));
  const auto network = network_of(*address, *length);
  if (network.network() != *address)
    return base::fail(
        base::Code::invalid_input,
        fmt::format("cannot read '{}': bits are set after the network part; write {}", text, network.to_string()));
  return network;
}

Cidr Cidr::network_of(const IpAddress& address, int length) {
  Bytes16 masked{};
  const auto bytes = address.bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int keep = std::clamp(length - static_cast<int>(i) * 8, 0, 8);
    masked.at(i) = static_cast<std::uint8_t>(bytes[i] & (0xff00 >> keep));
  }
  if (address.is_v4()) return {IpAddress::v4({masked[0], masked[1], masked[2], masked[3]}), length};
  return {IpAddress::v6(masked), length};
}

bool Cidr::contains(const IpAddress& address) const {
  return address.is_v4() == network_.is_v4() && network_of(address, length_).network() == network_;
}

std::string Cidr::to_string() const {
  return fmt::format("{}/{}", network_.to_string(), length_);
}

}  // namespace cleanroom::model

std::size_t std::hash<cleanroom::model::IpAddress>::operator()(
    const cleanroom::model::IpAddress& address) const noexcept {
  const auto bytes = address.bytes();
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}
