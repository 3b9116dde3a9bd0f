#pragma once
// HostName: the one canonical form of a host, used alike for matching, DNS, SNI, Host headers and audit lines. It is
// either a DNS name (lower-case ASCII, A-labels, no trailing dot, at most 253 bytes) or an IP address.
//
// A text that inet_aton(3) or getaddrinfo(3) would read as an address is an address here too, in every spelling (127.1,
// 0x7f.1, 0177.0.0.1, 2130706433, full-width digits, ideographic dots), or it is refused; it is never a name. The rule
// is that of the WHATWG URL standard: a host whose last label is a number is an IPv4 address.
//
// Names: UTS #46 non-transitional (libidn2), then letters, digits, `-`, `_` in labels of 1..63 bytes that neither start
// nor end with `-`. An `xn--` label must survive decoding and encoding unchanged.
#include "src/model/ip_address.h"

#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::model {

class HostName {
 public:
  // For people's text (policy, command line): Unicode names are accepted. All failures are invalid_input with reason
  // `invalid_host`; the message escapes the text and cuts it.
  static base::Result<HostName> parse(std::string_view text);
  // For bytes from a guest or a protocol: ASCII only, because every protocol there carries A-labels.
  static base::Result<HostName> parse_wire(std::string_view text);
  static HostName of_address(const IpAddress& address);

  bool is_ip() const { return ip_.has_value(); }
  const IpAddress& ip() const { return *ip_; }  // only when is_ip()
  // A name, or the address as IpAddress::to_string() prints it (no brackets).
  const std::string& text() const { return text_; }
  // For an authority: `[::1]:443`, `example.com:443`.
  std::string with_port(std::uint16_t port) const;
  // True for `a.example.com` and `b.a.example.com` against `example.com`; false for the name itself and for addresses.
  bool is_below(const HostName& ancestor) const;
  bool operator==(const HostName& other) const { return text_ == other.text_; }
  auto operator<=>(const HostName& other) const { return text_ <=> other.text_; }

 private:
  explicit HostName(std::string text) : text_(std::move(text)) {}
  std::string text_;
  std::optional<IpAddress> ip_;
};

inline constexpr std::size_t kMaxNameBytes = 253;       // RFC 1035 2.3.4, without the root's dot
inline constexpr std::size_t kMaxLabelBytes = 63;       // RFC 1035 2.3.4
inline constexpr std::size_t kMaxHostTextBytes = 1024;  // before IDNA, which may shorten

}  // namespace cleanroom::model
