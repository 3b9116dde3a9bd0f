#pragma once
// The files and bindings of tests/unit/credentials, and logins as text that a test can compare.
#include "src/registry/login.h"
#include "tests/unit/credentials/support.h"

namespace cleanroom::registry::testing {

using credentials::testing::Fixture;
namespace fs = std::filesystem;

inline constexpr const char* kCanary = "canary-5be1c7d0";

// "from: basic bob:pw, bearer x, refresh y", "none", "withheld: why", or "!" and the error's whole text, which never
// has the canary.
inline std::string show(LoginSource& source, const std::string& registry, const std::string& repository = "acme/web") {
  const auto found = source.find(registry, repository);
  const auto why = source.withheld(registry, repository);
  CHECK(why.find(kCanary) == std::string::npos);
  if (!found) {
    CHECK(found.error().reason == "credential_unavailable");
    const auto text = found.error().describe() + " " + found.error().hint;
    CHECK(text.find(kCanary) == std::string::npos);
    return "!" + text;
  }
  if (!*found) return why.empty() ? "none" : "withheld: " + why;
  const auto& login = **found;
  CHECK(login.from.find(kCanary) == std::string::npos);
  std::string out = login.from + ":";
  const auto add = [&](std::string_view name, const base::Secret& secret) {
    if (!secret.empty()) out += fmt::format(" {} {}", name, secret.reveal());
  };
  add("basic", login.basic);
  add("bearer", login.bearer);
  add("refresh", login.refresh_token);
  return out;
}

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace cleanroom::registry::testing
