#include "src/gateway/origin.h"

#include "src/base/os/ascii.h"
#include "src/egress/connect_target.h"
#include "src/gateway/limits.h"

#include <algorithm>

namespace cleanroom::gateway {

using base::Result;

namespace {

constexpr std::string_view kHttps = "https://";

base::Failure refuse_url(std::string_view why) {
  return base::fail(base::Code::policy_denied, "redirect_denied", fmt::format("upstream points to {}", why));
}

bool starts_with_no_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
         });
}

Result<Origin> read_authority(std::string_view authority) {
  const auto bracket = authority.rfind(']');
  const auto colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  auto host = model::HostName::parse_wire(authority.substr(0, has_port ? colon : authority.size()));
  if (!host) return refuse_url("something that is no host name");
  Origin origin{.host = std::move(*host)};
  if (has_port) {
    const auto port = egress::parse_port(authority.substr(colon + 1));
    if (!port) return refuse_url("a malformed port");
    origin.port = *port;
  }
  return origin;
}

}  // namespace

std::string Origin::text() const {
  return port == kHttpsPort && !host.is_ip() ? host.text() : host.with_port(port);
}

Result<Location> parse_location(std::string_view url, const Location& base) {
  if (!base::is_ascii_graphic(url) || url.empty() || url.size() > kMaxTargetBytes) return refuse_url("a malformed URL");
  if (url.find('#') != std::string_view::npos || url.find('\\') != std::string_view::npos)
    return refuse_url("a URL with a fragment or backslash");
  Location out = base;
  if (starts_with_no_case(url, kHttps) || url.starts_with("//")) {
    url.remove_prefix(url.starts_with("//") ? 2 : kHttps.size());
    const auto end = std::min(url.find_first_of("/?"), url.size());
    if (url.substr(0, end).find('@') != std::string_view::npos) return refuse_url("a URL with user information");
    CR_ASSIGN(out.origin, read_authority(url.substr(0, end)));
    url.remove_prefix(end);
    out.target = url.starts_with('/') ? std::string(url) : "/" + std::string(url);
  } else if (url.starts_with('/')) {
    out.target = url;
  } else {
    return refuse_url("a URL that is neither https nor absolute");
  }
  const auto path = std::string_view(out.target).substr(0, out.target.find('?'));
  if ((std::string(path) + "/").find("/../") != std::string::npos ||
      (std::string(path) + "/").find("/./") != std::string::npos)
    return refuse_url("a path with dot segments");
  return out;
}

}  // namespace cleanroom::gateway
