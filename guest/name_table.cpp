#include "guest/name_table.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>

namespace cleanroom::guest {

void NameTable::allow(const std::vector<std::string>& patterns) {
  for (const auto& pattern : patterns) {
    if (pattern == "*") {
      every_ = true;
    } else if (pattern.starts_with("*.")) {
      suffixes_.insert(pattern.substr(2));
    } else {
      exact_.insert(pattern);
    }
  }
}

bool NameTable::allows(std::string_view name) const {
  if ((every_ && !name.empty()) || exact_.contains(std::string(name))) return true;
  for (auto dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    if (dot > 0 && suffixes_.contains(std::string(name.substr(dot + 1)))) return true;
  }
  return false;
}

std::optional<std::uint32_t> NameTable::address_of(const std::string& name) {
  if (const auto found = addresses_.find(name); found != addresses_.end()) return found->second;
  if (names_.size() >= kMaxNames) return std::nullopt;
  const auto address = static_cast<std::uint32_t>(kFirstNameAddress + names_.size());
  names_.push_back(name);
  addresses_.emplace(name, address);
  return address;
}

std::optional<std::string_view> NameTable::name_of(std::uint32_t address) const {
  if (address < kFirstNameAddress || address - kFirstNameAddress >= names_.size()) return std::nullopt;
  return names_[address - kFirstNameAddress];
}

std::string format_ipv4(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

std::optional<Ipv4Network> parse_ipv4_network(std::string_view text) {
  Ipv4Network network;
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto digits = text.substr(slash + 1);
    const auto end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, network.bits);
    if (error != std::errc{} || stop != end || network.bits < 0 || network.bits > 32) return std::nullopt;
  }
  in_addr parsed{};
  if (::inet_pton(AF_INET, std::string(text.substr(0, slash)).c_str(), &parsed) != 1) return std::nullopt;
  const std::uint32_t mask = network.bits == 0 ? 0 : ~std::uint32_t{0} << (32 - network.bits);
  network.address = ntohl(parsed.s_addr) & mask;
  return network;
}

}  // namespace cleanroom::guest
