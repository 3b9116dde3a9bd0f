// Where a registry's login may go: the attack is a registry, or who speaks for it, that names a URL of its own.
#include "src/registry/token_realm.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::registry;

namespace {

// The URL to ask, "denied" or "no url".
std::string judge(std::string_view url, const TokenRealmRules& rules) {
  const auto checked = check_token_realm(url, rules);
  if (checked) return *checked;
  CAPTURE(checked.error().message);
  if (checked.error().code == base::Code::policy_denied) {
    CHECK(checked.error().reason == "image_access_denied");
    return "denied";
  }
  CHECK(checked.error().code == base::Code::invalid_input);
  CHECK(checked.error().reason == "image_pull_failed");
  return "no url";
}

}  // namespace

TEST_CASE("Docker Hub and other registries as they are") {
  CHECK(judge("https://auth.docker.io/token", {.registry = "docker.io"}) == "https://auth.docker.io/token");
  CHECK(judge("https://ghcr.io/token", {.registry = "ghcr.io"}) == "https://ghcr.io/token");
  CHECK(judge("https://quay.io/v2/auth", {.registry = "quay.io"}) == "https://quay.io/v2/auth");
  CHECK(judge("https://gitlab.com/jwt/auth", {.registry = "registry.gitlab.com"}) == "https://gitlab.com/jwt/auth");
  CHECK(judge("https://auth.registry.example.co.uk/t", {.registry = "img.example.co.uk:5000"}) ==
        "https://auth.registry.example.co.uk/t");
  CHECK(judge("https://authn.nvidia.com/token", {.registry = "nvcr.io"}) == "denied");
  CHECK(judge("https://authn.nvidia.com/token", {.registry = "nvcr.io", .token_realm = "authn.nvidia.com"}) ==
        "https://authn.nvidia.com/token");
}

TEST_CASE("IMG-19 GTW-07 a login goes to the registry's host, its domain, or where the operator says") {
  struct Case {
    const char* url;
    const char* registry;
    const char* want;
  };
  const Case cases[] = {
      {"https://r.example.com:5001/t", "r.example.com:5000", "https://r.example.com:5001/t"},
      {"https://auth.example.com/t", "r.example.com", "https://auth.example.com/t"},
      {"https://example.com/t", "r.example.com", "https://example.com/t"},
      {"https://evil.test/t", "r.example.com", "denied"},
      {"https://r.example.com.evil.test/t", "r.example.com", "denied"},
      {"https://notexample.com/t", "example.com", "denied"},
      // Below a public suffix everybody has a name: of the list's first part, of its second, and of no list.
      {"https://evil.co.uk/t", "example.co.uk", "denied"},
      {"https://evil.github.io/t", "acme.github.io", "denied"},
      {"https://evil.corp/t", "registry.corp", "denied"},
      {"https://auth.lan/t", "registry", "denied"},
      {"https://localhost/t", "registry.localhost", "denied"},
      // Addresses: the same one only, in whatever spelling, and never by their last numbers.
      {"https://10.0.0.1:5001/t", "10.0.0.1:5000", "https://10.0.0.1:5001/t"},
      {"https://10.0.0.2/t", "10.0.0.1", "denied"},
      {"https://169.254.169.254/t", "r.example.com", "denied"},
      {"https://169.254.169.254/t", "10.0.169.254", "denied"},
      {"https://0x0a000001/t", "10.0.0.1", "https://10.0.0.1/t"},
      {"https://2130706433/t", "r.example.com", "denied"},
      {"https://[::1]:5001/t", "[::1]:5000", "https://[::1]:5001/t"},
      {"https://[::2]/t", "[::1]", "denied"},
      {"https://[::ffff:10.0.0.1]/t", "10.0.0.1", "no url"},  // brackets around an IPv4 address
  };
  for (const auto& item : cases) {
    CAPTURE(std::string(item.url));
    CAPTURE(std::string(item.registry));
    CHECK(judge(item.url, {.registry = item.registry}) == item.want);
  }
}

TEST_CASE(
    "GTW-11 plain HTTP only for a registry that the operator calls insecure, and then only where https might go") {
  const char* const own = "http://r.example.com:5001/t";
  CHECK(judge(own, {.registry = "r.example.com:5000"}) == "denied");
  CHECK(judge(own, {.registry = "r.example.com:5000", .insecure = true}) == own);
  CHECK(judge("https://r.example.com/t", {.registry = "r.example.com:5000", .insecure = true}) ==
        "https://r.example.com/t");
  CHECK(judge("http://evil.test/t", {.registry = "r.example.com", .insecure = true}) == "denied");
  CHECK(judge("http://auth.test/t", {.registry = "r.example.com", .token_realm = "auth.test"}) == "denied");
  CHECK(judge("http://auth.test/t", {.registry = "r.example.com", .insecure = true, .token_realm = "auth.test"}) ==
        "http://auth.test/t");
}

TEST_CASE("the operator's token_realm is one host and one port") {
  const TokenRealmRules rules{.registry = "registry.test:5000", .token_realm = "auth.test:5001"};
  CHECK(judge("https://auth.test:5001/t", rules) == "https://auth.test:5001/t");
  CHECK(judge("https://AUTH.test:5001/t", rules) == "https://auth.test:5001/t");
  CHECK(judge("https://auth.test:5002/t", rules) == "denied");
  CHECK(judge("https://auth.test/t", rules) == "denied");
  CHECK(judge("https://x.auth.test:5001/t", rules) == "denied");
  CHECK(judge("https://10.9.9.9/t", {.registry = "registry.test", .token_realm = "10.9.9.9"}) == "https://10.9.9.9/t");
  const auto denied = check_token_realm("https://auth.other:5002/t?secret=x", rules);
  REQUIRE_FALSE(denied);
  CHECK(denied.error().hint.find("token_realm: \"auth.other:5002\"") != std::string::npos);
  CHECK(denied.error().describe().find("secret") == std::string::npos);
}

TEST_CASE("the URL is written anew: nobody reads another host in it") {
  const TokenRealmRules rules{.registry = "r.example.com"};
  CHECK(judge("HTTPS://R.Example.COM:443", rules) == "https://r.example.com/");
  CHECK(judge("https://r.example.com?service=a", rules) == "https://r.example.com/?service=a");
  CHECK(judge("https://r.example.com/a%2fb/?x=%40&y=@:/", rules) == "https://r.example.com/a%2fb/?x=%40&y=@:/");
  CHECK(judge("https://r.example.com:00443/", rules) == "https://r.example.com/");
  using namespace std::string_view_literals;
  const std::string_view urls[] = {"",
                                   "r.example.com/t",
                                   "//r.example.com/t",
                                   "https:/r.example.com/t",
                                   "https:r.example.com",
                                   "https://",
                                   "https:///r.example.com",
                                   "https://?r.example.com",
                                   "ftp://r.example.com/",
                                   "file:///etc/passwd",
                                   "https://evil.test\\@r.example.com/",
                                   "https://r.example.com\\.evil.test/",
                                   "https://bob@r.example.com/",
                                   "https://r.example.com@evil.test/",
                                   "https://r.example.com:pw@evil.test/",
                                   "https://r.example.com#@evil.test/",
                                   "https://evil.test#r.example.com",
                                   "https://r.example.com/#x",
                                   "https://r.example.com:/",
                                   "https://r.example.com:0/",
                                   "https://r.example.com:65536/",
                                   "https://r.example.com:443:443/",
                                   "https://r.example.com:+443/",
                                   "https://r.example.com:000443/",
                                   "https://r.example.com /",
                                   " https://r.example.com/",
                                   "https://r.example.com/\r\nX: y",
                                   "https://r.example.com/\t",
                                   "https://r.example.com%2eevil.test/",
                                   "https://r%2eexample.com/",
                                   "https://[r.example.com]/",
                                   "https://[::1/",
                                   "https://[::1]x/",
                                   "https://::1/",
                                   "https://[::1%25lo]/",
                                   "https://r..example.com/",
                                   "https://.r.example.com/",
                                   "https://r.example.com/\x80",
                                   "https://\xef\xbc\x92.test/",
                                   "https://r.example.com\0.evil.test/"sv};
  for (const auto url : urls) {
    CAPTURE(std::string(url));
    CHECK(judge(url, rules) == "no url");
  }
  const std::string path(kMaxRealmBytes - std::string_view("https://r.example.com/").size(), 'p');
  CHECK(judge("https://r.example.com/" + path, rules) == "https://r.example.com/" + path);
  CHECK(judge("https://r.example.com/" + path + "p", rules) == "no url");
}
