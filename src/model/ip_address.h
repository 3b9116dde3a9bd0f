#pragma once
// IpAddress and Cidr: values, parsed strictly (one spelling each) and printed canonically (RFC 5952). The sloppy
// spellings that inet_aton(3) accepts are the business of HostName, which turns them into an IpAddress.
//
// An IPv4-mapped address (::ffff:a.b.c.d) reaches the same peer as a.b.c.d, so it never exists as an IpAddress: every
// constructor turns it into IPv4.
#include "src/base/os/result.h"

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cleanroom::model {

class IpAddress {
 public:
  static IpAddress v4(std::array<std::uint8_t, 4> bytes);
  static IpAddress v4(std::uint32_t host_order);
  static IpAddress v6(const std::array<std::uint8_t, 16>& bytes);  // IPv4-mapped becomes IPv4
  // Dotted quad in decimal without leading zeros, or RFC 4291 text. No zone, brackets, spaces. Else invalid_input.
  static base::Result<IpAddress> parse(std::string_view text);

  bool is_v4() const { return family_ == Family::v4; }
  int bits() const { return is_v4() ? 32 : 128; }
  std::span<const std::uint8_t> bytes() const { return {bytes_.data(), is_v4() ? 4u : 16u}; }
  // The IPv4 address that an IPv6 one carries: IPv4-compatible (::a.b.c.d), NAT64 (64:ff9b::/96 and the last 32 bits of
  // 64:ff9b:1::/48), 6to4 (2002::/16), Teredo (2001::/32, its client address).
  std::optional<IpAddress> embedded_v4() const;
  std::string to_string() const;
  auto operator<=>(const IpAddress&) const = default;

 private:
  enum class Family : std::uint8_t { v4, v6 };
  Family family_ = Family::v4;
  std::array<std::uint8_t, 16> bytes_{};  // v4: the first four
};

class Cidr {
 public:
  // `address` or `address/length`. invalid_input for host bits set, a length out of range or with a sign or leading
  // zero, and for IPv4-mapped ranges (the IPv4 range says what is meant).
  static base::Result<Cidr> parse(std::string_view text);
  static Cidr single(const IpAddress& address) { return {address, address.bits()}; }
  // The network of `length` bits that `address` is in. `length` is within 0..address.bits().
  static Cidr network_of(const IpAddress& address, int length);

  const IpAddress& network() const { return network_; }
  int length() const { return length_; }
  bool contains(const IpAddress& address) const;
  std::string to_string() const;  // always with the length
  auto operator<=>(const Cidr&) const = default;

 private:
  Cidr(const IpAddress& network, int length) : network_(network), length_(length) {}
  IpAddress network_;
  int length_ = 0;
};

}  // namespace cleanroom::model

template <>
struct std::hash<cleanroom::model::IpAddress> {
  std::size_t operator()(const cleanroom::model::IpAddress& address) const noexcept;
};
template <>
struct std::hash<cleanroom::model::Cidr> {
  std::size_t operator()(const cleanroom::model::Cidr& cidr) const noexcept {
    return std::hash<cleanroom::model::IpAddress>()(cidr.network()) * 131 + static_cast<std::size_t>(cidr.length());
  }
};
