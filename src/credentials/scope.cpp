#include "src/credentials/scope.h"

#include "src/credentials/path_pattern.h"
#include "src/policy/pipeline_pattern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace cleanroom::credentials {
namespace {

constexpr std::size_t kMaxListed = 5;  // bindings named in `why`

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool policy_excludes(const Binding& binding, const Request& request,
                     const std::vector<policy::SecretRequest>& secrets) {
  bool host_is_listed = false;
  for (const auto& secret : secrets) {
    if (secret.target != "git") continue;
    const bool here = contains(secret.allowed_hosts, request.host.text());
    if (secret.id == binding.id) return !here;
    host_is_listed = host_is_listed || here;
  }
  return host_is_listed;
}

bool pipeline_in_scope(const Binding& binding, const JobIdentity& job) {
  if (binding.pipelines.empty()) return true;
  if (job.pipeline.empty()) return contains(binding.pipelines, "local");
  return std::any_of(binding.pipelines.begin(), binding.pipelines.end(),
                     [&](const auto& pattern) { return policy::pipeline_matches(pattern, job.pipeline); });
}

bool branch_in_scope(const Binding& binding, const JobIdentity& job) {
  return binding.branches.empty() ||
         std::any_of(binding.branches.begin(), binding.branches.end(),
                     [&](const auto& pattern) { return path_matches(pattern, job.branch); });
}

std::optional<Specificity> best_path(const Binding& binding, std::string_view path) {
  std::optional<Specificity> best;
  if (!is_plain_path(path)) return best;
  for (const auto& pattern : binding.paths) {
    if (path_matches(pattern, path)) best = std::max(best, std::optional(specificity_of(pattern)));
  }
  return best;
}

// A git host takes either spelling for the same repository; to a registry they are two.
std::string_view path_of(const Request& request) {
  return request.method == Method::registry_pull ? std::string_view(request.path) : without_dot_git(request.path);
}

// Why a binding that names the host is not for this request; null when it is.
const char* mismatch(const Binding& binding, const Request& request, const JobIdentity& job,
                     const std::vector<policy::SecretRequest>& secrets) {
  if (binding.port != request.port) return "is for another port";
  if (policy_excludes(binding, request, secrets)) return "is not among the policy's secrets for this host";
  if (!best_path(binding, path_of(request))) return "does not name this repository";
  if (std::find(binding.methods.begin(), binding.methods.end(), request.method) == binding.methods.end()) {
    return "is not for this method";
  }
  if (!pipeline_in_scope(binding, job)) return "is not for this pipeline";
  if (!branch_in_scope(binding, job)) return "is not for this branch";
  if (job.fork && !binding.forks) return "is not for builds of forks";
  return nullptr;
}

}  // namespace

Choice choose_binding(const Request& request, const JobIdentity& job, const Bindings& bindings,
                      const std::vector<policy::SecretRequest>& secrets) {
  std::optional<Specificity> best;
  Choice choice;
  std::vector<std::string> refusals;
  for (std::size_t i = 0; i < bindings.entries.size(); ++i) {
    const auto& binding = bindings.entries[i];
    if (binding.host != request.host) continue;
    if (binding.for_registry() != (request.method == Method::registry_pull)) continue;
    if (const char* why = mismatch(binding, request, job, secrets); why != nullptr) {
      refusals.push_back(fmt::format("binding '{}' {}", binding.id, why));
      continue;
    }
    const auto specificity = best_path(binding, path_of(request));
    if (best && *specificity <= *best) continue;
    best = specificity;
    choice = {Choice::Kind::grant, i, fmt::format("binding '{}'", binding.id)};
  }
  if (best) return choice;
  if (refusals.empty()) return {Choice::Kind::none, 0, "no binding names this host"};
  const std::size_t more = refusals.size() - std::min(refusals.size(), kMaxListed);
  refusals.resize(refusals.size() - more);
  auto why = fmt::format("{}", fmt::join(refusals, "; "));
  if (more > 0) why += fmt::format("; and {} more", more);
  return {Choice::Kind::out_of_scope, 0, std::move(why)};
}

}  // namespace cleanroom::credentials
