#include "src/policy/host_pattern.h"

#include <libpsl.h>

namespace cleanroom::policy {
namespace {

using base::Code;

base::Failure invalid(std::string_view text, std::string_view cause, std::string hint = {}) {
  std::string shown;
  for (const char c : text.substr(0, 80))
    shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c))
                                                               : std::string(1, c);
  return base::fail(
      base::Error(Code::invalid_input, "policy_invalid", fmt::format("cannot use host '{}': {}", shown, cause))
          .with_hint(std::move(hint)));
}

bool looks_like_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The mistakes people make get an answer of their own before the general one.
std::optional<base::Failure> common_mistake(std::string_view text) {
  if (text.empty()) return invalid(text, "it is empty");
  if (text.find_first_of(" \t\r\n") != std::string_view::npos) return invalid(text, "it has a space in it");
  if (text.find("://") != std::string_view::npos)
    return invalid(text, "it is a URL", "write the host name alone, and the port under `ports`");
  const auto colon = text.rfind(':');
  if (colon != std::string_view::npos && text.find(':') == colon && looks_like_port(text.substr(colon + 1)))
    return invalid(text, "it has a port",
                   fmt::format("write `host: {}` and `ports: [{}]`", text.substr(0, colon), text.substr(colon + 1)));
  if (text.find('@') != std::string_view::npos) return invalid(text, "it has a user name");
  return std::nullopt;
}

}  // namespace

base::Result<HostPattern> HostPattern::parse(std::string_view text, PatternUse use) {
  if (auto mistake = common_mistake(text)) return std::move(*mistake);
  HostPattern pattern;
  if (text.find('*') != std::string_view::npos) {
    if (!text.starts_with("*.") || text.find('*', 1) != std::string_view::npos)
      return invalid(text, "a `*` stands only at the start, as in *.example.com",
                     "list the names, or use `*.` before a domain");
    const auto suffix = model::HostName::parse(text.substr(2));
    if (!suffix) return invalid(text, "what follows `*.` is not a domain name");
    if (suffix->is_ip()) return invalid(text, "a `*` does not work with addresses", "use a range such as 10.1.0.0/16");
    if (use == PatternUse::allow && psl_is_public_suffix(psl_builtin(), suffix->text().c_str()) != 0)
      return invalid(text, "it is a public suffix: anyone can have a name below it", "list the names that are needed");
    pattern.kind_ = Kind::below;
    pattern.name_ = suffix->text();
    return pattern;
  }
  if (text.find('/') != std::string_view::npos) {
    auto cidr = model::Cidr::parse(text);
    if (!cidr) {
      const bool numeric = text.find_first_not_of("0123456789abcdefABCDEF:./") == std::string_view::npos;
      return numeric ? invalid(text, cidr.error().message)
                     : invalid(text, "it has a path", "rules are about hosts; write the host name alone");
    }
    if (use == PatternUse::allow && cidr->length() < kMinAllowedPrefix)
      return invalid(text, fmt::format("a range in allow is /{} or narrower", kMinAllowedPrefix));
    pattern.kind_ = Kind::cidr;
    pattern.cidr_ = *cidr;
    return pattern;
  }
  auto host = model::HostName::parse(text);
  if (!host) return base::Failure(std::move(host).error());
  if (!host->is_ip()) {
    pattern.name_ = host->text();
    return pattern;
  }
  // A rule says what it means: sloppy spellings are for attackers, mapped ones hide the family.
  if (host->ip().is_v4() && host->text() != text)
    return invalid(text, "not the plain form of an IPv4 address", fmt::format("write {}", host->text()));
  pattern.kind_ = Kind::cidr;
  pattern.cidr_ = model::Cidr::single(host->ip());
  return pattern;
}

std::string HostPattern::text() const {
  switch (kind_) {
    case Kind::name:
      return name_;
    case Kind::below:
      return "*." + name_;
    case Kind::cidr:
      break;
  }
  return cidr_->length() == cidr_->network().bits() ? cidr_->network().to_string() : cidr_->to_string();
}

}  // namespace cleanroom::policy
