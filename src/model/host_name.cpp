#include "src/model/host_name.h"

#include "src/base/os/ascii.h"

#include <idn2.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace cleanroom::model {
namespace {

std::string shown(std::string_view text) {
  constexpr std::size_t kShown = 80;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    if (c > 0x20 && c < 0x7f && c != '\\')
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  if (text.size() > kShown) out += "...";
  return out;
}

base::Failure invalid(std::string_view text, std::string_view cause) {
  return base::fail(base::Code::invalid_input, "invalid_host",
                    fmt::format("cannot use '{}' as a host: {}", shown(text), cause));
}

std::vector<std::string_view> split_labels(std::string_view name) {
  std::vector<std::string_view> labels;
  for (std::size_t start = 0;;) {
    const auto dot = name.find('.', start);
    labels.push_back(name.substr(start, dot == std::string_view::npos ? dot : dot - start));
    if (dot == std::string_view::npos) return labels;
    start = dot + 1;
  }
}

struct Idn2Free {
  void operator()(char* text) const { idn2_free(text); }
};
using Idn2Text = std::unique_ptr<char, Idn2Free>;

std::optional<std::string> to_a_labels(const std::string& text) {
  char* raw = nullptr;
  const int rc = idn2_to_ascii_8z(text.c_str(), &raw, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
  const Idn2Text owned(raw);
  if (rc != IDN2_OK) return std::nullopt;
  return std::string(owned.get());
}

bool survives_round_trip(std::string_view a_label) {
  const std::string label(a_label);
  char* raw = nullptr;
  const int rc = idn2_to_unicode_8z8z(label.c_str(), &raw, IDN2_NONTRANSITIONAL);
  const Idn2Text unicode(raw);
  if (rc != IDN2_OK) return false;
  return to_a_labels(unicode.get()) == label;
}

bool is_well_formed_label(std::string_view label) {
  if (label.empty() || label.size() > kMaxLabelBytes || label.front() == '-' || label.back() == '-') return false;
  return std::all_of(label.begin(), label.end(),
                     [](char c) { return base::is_ascii_digit(c) || base::is_ascii_lower(c) || c == '-' || c == '_'; });
}

bool is_number(std::string_view label) {
  if (label.starts_with("0x")) return std::all_of(label.begin() + 2, label.end(), base::is_ascii_lower_hex);
  return !label.empty() && std::all_of(label.begin(), label.end(), base::is_ascii_digit);
}

// One part of an inet_aton address: decimal, 0 octal, 0x hexadecimal.
std::optional<std::uint64_t> read_part(std::string_view part) {
  unsigned radix = 10;
  if (part.starts_with("0x")) {
    radix = 16;
    part.remove_prefix(2);
  } else if (part.size() > 1 && part[0] == '0') {
    radix = 8;
    part.remove_prefix(1);
  }
  if (part.empty() || part.size() > 16) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : part) {
    const int digit = base::hex_value(c);
    if (digit < 0 || static_cast<unsigned>(digit) >= radix) return std::nullopt;
    value = value * radix + static_cast<unsigned>(digit);
  }
  return value;
}

// inet_aton(3): one to four parts, the last of which fills what remains.
std::optional<IpAddress> read_inet_aton(const std::vector<std::string_view>& parts) {
  if (parts.size() > 4) return std::nullopt;
  std::uint64_t address = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto value = read_part(parts[i]);
    if (!value) return std::nullopt;
    const bool last = i + 1 == parts.size();
    const auto max = last ? (std::uint64_t{1} << (8 * (5 - parts.size()))) - 1 : std::uint64_t{255};
    if (*value > max) return std::nullopt;
    address |= last ? *value : *value << (24 - 8 * i);
  }
  return IpAddress::v4(static_cast<std::uint32_t>(address));
}

bool is_forbidden(char c) {
  return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f ||
         std::string_view("#?@/\\%<>^|\"`{}*,;=&+!$'()~").find(c) != std::string_view::npos;
}

}  // namespace

base::Result<HostName> HostName::parse(std::string_view text) {
  if (text.empty()) return invalid(text, "it is empty");
  if (text.size() > kMaxHostTextBytes) return invalid(text, "it is too long");
  if (std::any_of(text.begin(), text.end(), is_forbidden)) return invalid(text, "it has a character no host name has");
  if (text.find_first_of(":[]") != std::string_view::npos) {
    const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
    const auto address = IpAddress::parse(bracketed ? text.substr(1, text.size() - 2) : text);
    const bool was_v6 = text.find(':') != std::string_view::npos;
    if (!address || !was_v6) return invalid(text, "not an IPv6 address, and a host name has no ':' or brackets");
    return of_address(*address);
  }
  std::string name(text);
  if (std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
    auto mapped = to_a_labels(name);
    if (!mapped) return invalid(text, "not a valid internationalised name");
    name = std::move(*mapped);
    // The mapping can produce what the check above refused (a full-width '/' becomes '/').
    if (std::any_of(name.begin(), name.end(), is_forbidden)) return invalid(text, "not a valid internationalised name");
  }
  name = base::ascii_lower(name);
  if (name.ends_with('.')) name.pop_back();
  if (name.empty() || name.size() > kMaxNameBytes) return invalid(text, "a host name has 1 to 253 bytes");
  const auto labels = split_labels(name);
  if (is_number(labels.back())) {
    const auto address = read_inet_aton(labels);
    if (!address) return invalid(text, "its last label is a number, and it is not an IPv4 address");
    return of_address(*address);
  }
  for (const auto label : labels) {
    if (!is_well_formed_label(label))
      return invalid(text, "a label has 1 to 63 letters, digits, '-' or '_' and no '-' at its ends");
    if (label.starts_with("xn--") && !survives_round_trip(label)) return invalid(text, "an xn-- label is not valid");
  }
  return HostName(std::move(name));
}

base::Result<HostName> HostName::parse_wire(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
    return invalid(text, "it has bytes outside ASCII");
  return parse(text);
}

HostName HostName::of_address(const IpAddress& address) {
  HostName host(address.to_string());
  host.ip_ = address;
  return host;
}

std::string HostName::with_port(std::uint16_t port) const {
  return is_ip() && !ip_->is_v4() ? fmt::format("[{}]:{}", text_, port) : fmt::format("{}:{}", text_, port);
}

bool HostName::is_below(const HostName& ancestor) const {
  if (is_ip() || ancestor.is_ip() || text_.size() < ancestor.text_.size() + 2) return false;
  return text_.ends_with(ancestor.text_) && text_[text_.size() - ancestor.text_.size() - 1] == '.';
}

}  // namespace cleanroom::model
