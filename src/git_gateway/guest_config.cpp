#include "src/git_gateway/guest_config.h"

#include "src/egress/egress_server.h"

#include <fmt/format.h>

#include <algorithm>

namespace cleanroom::git_gateway {

namespace {

// The longest prefix that matches counts, so the forms with `:/` and `:22/` stand beside the shorter ones.
constexpr const char* kHttp[] = {"https://{}/", "https://{}:443/", "https://git@{}/", "http://{}/", "http://{}:80/"};
constexpr const char* kOthers[] = {
    "git://{}/",         "ssh://{}/", "ssh://{}:22/", "ssh://git@{}/", "ssh://git@{}:22/",
    "git+ssh://git@{}/", "git@{}:",   "git@{}:/",     "{}:",           "{}:/"};

}  // namespace

std::string guest_git_config(const std::vector<RewrittenHost>& hosts) {
  std::string text = "# Written by cleanroom for this job: git reaches these hosts through the gateway.\n";
  for (const auto& host : hosts) {
    text += fmt::format("[url \"http://{}/git/{}/\"]\n", egress::kGatewayHost, host.name);
    const auto add = [&](const char* spelling) {
      text += fmt::format("\tinsteadOf = {}\n", fmt::format(fmt::runtime(spelling), host.name));
    };
    if (host.http) std::for_each(std::begin(kHttp), std::end(kHttp), add);
    std::for_each(std::begin(kOthers), std::end(kOthers), add);
  }
  return text;
}

std::vector<Variable> guest_git_variables(std::size_t count) {
  return {{"GIT_CONFIG_COUNT", std::to_string(count + 1)},
          {fmt::format("GIT_CONFIG_KEY_{}", count), "include.path"},
          {fmt::format("GIT_CONFIG_VALUE_{}", count), std::string(kGuestConfigPath)}};
}

}  // namespace cleanroom::git_gateway
