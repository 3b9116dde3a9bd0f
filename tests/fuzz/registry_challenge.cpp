// What a registry says of how to log in: the first line of the input names the registry, the others are
// WWW-Authenticate values. Lines that are fine one by one say the same joined by commas (RFC 9110 section 5.3); what
// was read, with every byte escaped, reads the same. A URL that may have the registry's login is, to libcurl, which
// asks it, one of the registry's host or of a name that shares its last two labels; libcurl finds the same host in the
// registry's own spelling, or none.
#include "src/registry/challenges.h"
#include "src/registry/registry_address.h"
#include "src/registry/token_realm.h"
#include "tests/fuzz/support.h"

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <vector>

using namespace cleanroom;
using namespace cleanroom::registry;

namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  for (;;) {
    const auto end = text.find('\n');
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

bool same(const Challenges& a, const Challenges& b) {
  if (a.basic != b.basic || a.bearer.has_value() != b.bearer.has_value()) return false;
  return !a.bearer || (a.bearer->realm == b.bearer->realm && a.bearer->service == b.bearer->service &&
                       a.bearer->scope == b.bearer->scope && a.bearer->error == b.bearer->error);
}

std::string escaped(std::string_view key, std::string_view value) {
  std::string out = std::string(key) + "=\"";
  for (const char c : value)
    out.append("\\").append(1, c);
  return out + '"';
}

void check_challenges(const std::vector<std::string_view>& values, const Challenges& read) {
  std::string joined;
  for (const auto value : values) {
    FUZZ_CHECK(parse_challenges({value}));
    joined.append(joined.empty() ? "" : ",").append(value);
  }
  if (joined.size() <= kMaxChallengeBytes) {
    const auto again = parse_challenges({joined});
    FUZZ_CHECK(again && same(*again, read));
  }
  if (!read.bearer) return;
  const auto& bearer = *read.bearer;
  FUZZ_CHECK(!bearer.realm.empty());
  for (const auto* text : {&bearer.realm, &bearer.service, &bearer.scope, &bearer.error})
    FUZZ_CHECK(std::all_of(text->begin(), text->end(), [](char c) { return c >= ' ' && c < '\x7f'; }));
  const std::string written = "bearer " + escaped("ERROR", bearer.error) + " ,," + escaped("scope", bearer.scope) +
                              ", " + escaped("x", "Basic realm=") + "," + escaped("service", bearer.service) + "\t,\t" +
                              escaped("Realm", bearer.realm) + (read.basic ? ", basic" : "");
  if (written.size() > kMaxChallengeBytes) return;
  const auto again = parse_challenges({written});
  FUZZ_CHECK(again && same(*again, read));
}

struct CurlUrl {
  bool https = false;
  std::string host;  // canonical
};
std::optional<CurlUrl> by_curl(const std::string& text) {
  const std::unique_ptr<CURLU, decltype(&::curl_url_cleanup)> url(::curl_url(), &::curl_url_cleanup);
  FUZZ_CHECK(url);
  if (::curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return std::nullopt;
  const auto part = [&](CURLUPart which) {
    char* found = nullptr;
    std::string out;
    if (::curl_url_get(url.get(), which, &found, 0) == CURLUE_OK) out = found;
    ::curl_free(found);
    return out;
  };
  FUZZ_CHECK(part(CURLUPART_USER).empty() && part(CURLUPART_PASSWORD).empty() && part(CURLUPART_FRAGMENT).empty());
  const auto address = parse_registry_address(part(CURLUPART_HOST));
  FUZZ_CHECK(address);
  return CurlUrl{part(CURLUPART_SCHEME) == "https", address->host.text()};
}

std::string_view last_two_labels(std::string_view name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return {};
  const auto before = name.rfind('.', dot - 1);
  return before == std::string_view::npos ? name : name.substr(before + 1);
}

void check_realm(const std::string& registry, const std::string& realm, bool insecure) {
  const TokenRealmRules rules{.registry = registry, .insecure = insecure};
  const auto checked = check_token_realm(realm, rules);
  if (!checked) return;
  const auto url = by_curl(*checked);
  FUZZ_CHECK(url);
  FUZZ_CHECK(url->https || insecure);
  const auto own = parse_registry_address(registry);
  FUZZ_CHECK(own);
  if (url->host != own->host.text()) {
    FUZZ_CHECK(!own->host.is_ip());
    FUZZ_CHECK(!last_two_labels(url->host).empty());
    FUZZ_CHECK(last_two_labels(url->host) == last_two_labels(own->host.text()));
  }
  const auto as_given = by_curl(realm);
  FUZZ_CHECK(!as_given || (as_given->host == url->host && as_given->https == url->https));
  const auto again = check_token_realm(*checked, rules);
  FUZZ_CHECK(again && *again == *checked);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto values = lines_of(fuzz::as_text(data, size));
  const std::string registry(values.front());
  values.erase(values.begin());
  const auto read = parse_challenges(values);
  if (read) check_challenges(values, *read);
  for (const bool insecure : {false, true}) {
    if (read && read->bearer) check_realm(registry, read->bearer->realm, insecure);
    // Plain text as well: a URL is found sooner outside quotes.
    for (const auto value : values)
      check_realm(registry, std::string(value), insecure);
  }
  return 0;
}
