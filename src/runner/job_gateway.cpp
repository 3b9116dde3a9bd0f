#include "src/runner/job_gateway.h"

#include "src/gateway/tls_context.h"
#include "src/git_gateway/guest_config.h"
#include "src/runner/go_duration.h"

#include <algorithm>
#include <cstdlib>

namespace cleanroom::runner {

using base::Result;

namespace {

constexpr const char* kMirrors = "cleanroom/git-mirrors";
constexpr std::uint64_t kMaxGivenGitSettings = 10'000;

std::set<std::string> bound_hosts(const credentials::Bindings& bindings) {
  std::set<std::string> hosts;
  for (const auto& binding : bindings.entries) {
    const auto& methods = binding.methods;
    if (std::find(methods.begin(), methods.end(), credentials::Method::git_read) != methods.end())
      hosts.insert(binding.host.text());
  }
  return hosts;
}

// Git obeys the configuration of a repository, so a mirror may lie only where the operator says. Under Buildkite that
// is not what HOME and XDG_* say: a pipeline's `env:` may have set them.
Result<std::optional<git_gateway::MirrorOptions>> mirror_options(const policy::GitMirrorConfig& config) {
  if (!config.enable) return std::nullopt;
  git_gateway::MirrorOptions options{.max_bytes = config.max_gib << 30U};
  const char* const buildkite = std::getenv("BUILDKITE");
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const bool under_buildkite = buildkite != nullptr && std::string_view(buildkite) == "true";
  if (config.directory) {
    options.directory = *config.directory;
  } else if (!under_buildkite && cache != nullptr && cache[0] == '/') {
    options.directory = std::filesystem::path(cache) / kMirrors;
  } else if (const auto home = policy::operator_home(); home.is_absolute()) {
    options.directory = home / ".cache" / kMirrors;
  } else {
    return base::fail(base::Code::failed_precondition, "config_invalid",
                      "cannot tell where to keep git mirrors: there is no home directory");
  }
  return options;
}

}  // namespace

std::optional<git_gateway::OwnRepository> own_repository(const std::string& url) {
  const auto canonical = credentials::canonical_repository(url);
  if (!canonical) return std::nullopt;
  const auto slash = canonical->find('/');
  const auto host = model::HostName::parse(canonical->substr(0, slash));
  if (!host || slash == std::string::npos) return std::nullopt;
  return git_gateway::OwnRepository{.host = *host, .path = canonical->substr(slash + 1)};
}

Result<std::unique_ptr<JobGateway>> JobGateway::create(const Admission& admission, const RunRequest& request,
                                                       base::BlockingPool& pool, egress::Resolver& resolver,
                                                       egress::Dialer& dialer, egress::AuditLog& audit,
                                                       git_gateway::GitDenialSink on_denial) {
  const auto& values = admission.policy.policy.values();
  git_gateway::GitRules rules(values.git, admission.gateway_network, own_repository(request.repository_url));
  auto hosts = rules.rewritten_hosts(bound_hosts(admission.bindings));
  if (hosts.empty()) return std::unique_ptr<JobGateway>();
  CR_ASSIGN(auto tls, gateway::make_tls_context({.extra_bundle = admission.operator_config.gateway_ca_file}));
  CR_ASSIGN(auto mirrors, mirror_options(admission.operator_config.git_mirror));
  credentials::Broker broker(admission.bindings, request.identity, pool, {.secrets = values.secrets});
  std::unique_ptr<JobGateway> made(new JobGateway(std::move(broker), std::move(hosts)));
  auto upstream_rules = rules.upstream_rules(admission.limits.private_cidrs);
  made->git_ = std::make_unique<git_gateway::GitGateway>(git_gateway::GitGatewayParts{
      .rules = std::move(rules),
      .upstream = {.rules = std::move(upstream_rules), .resolver = resolver, .dialer = dialer, .tls = std::move(tls)},
      .broker = made->broker_,
      .audit = audit,
      .on_denial = std::move(on_denial),
      .mirrors = std::move(mirrors),
      .pool = &pool});
  return made;
}

GuestFile JobGateway::guest_file() const {
  return {.path = std::string(git_gateway::kGuestConfigPath),
          .content = git_gateway::guest_git_config(hosts_),
          .mode = 0644};
}

void JobGateway::add_variables(Environment& environment) const {
  std::uint64_t count = 0;
  if (const auto found = environment.find("GIT_CONFIG_COUNT"); found != environment.end())
    count = std::min(static_cast<std::uint64_t>(parse_digits(found->second).value_or(0)), kMaxGivenGitSettings);
  for (auto& variable : git_gateway::guest_git_variables(count))
    environment.insert_or_assign(std::move(variable.name), std::move(variable.value));
}

}  // namespace cleanroom::runner
