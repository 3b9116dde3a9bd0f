#include "src/runner/admission.h"

#include "src/image/image_source.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

namespace cleanroom::runner {

using base::Code;
using base::Result;

namespace {

Result<policy::LoadedPolicy> load_policy(const RunRequest& request) {
  if (request.policy_file) return policy::load_policy_file(*request.policy_file);
  auto loaded = policy::load_policy_from_checkout(request.checkout);
  const bool is_first_recording = !loaded && loaded.error().reason == "policy_missing" && request.record_file;
  return is_first_recording ? policy::load_policy_text("version: 1\n", "(no policy)") : std::move(loaded);
}

// A recorded run reaches whatever the operator lets any repository ask for. A person may do that with their own code;
// CI runs other people's.
Result<void> judge_record(const RunRequest& request, const policy::OperatorConfig& config) {
  if (!request.record_file || !request.under_buildkite) return {};
  if (request.identity.fork) {
    return base::fail(Code::policy_denied, "record_refused",
                      "cannot record: this build is of a pull request from another repository, or that cannot be ruled "
                      "out");
  }
  if (config.allow_record) return {};
  return base::fail(base::Error(Code::policy_denied, "record_refused",
                                "cannot record: this host's operator does not permit it under Buildkite")
                        .with_hint("record on your own machine, or set 'allow_record: true' in the operator's "
                                   "config.yaml"));
}

Result<policy::CompiledPolicy> open_to_ceiling(const policy::CompiledPolicy& policy,
                                               const policy::CeilingLimits& limits) {
  auto rules = policy::NetworkRules::build_recording({.any_public_name = !limits.hosts.has_value(),
                                                      .hosts = limits.hosts.value_or(std::vector<std::string>{}),
                                                      .cidrs = limits.private_cidrs});
  if (!rules) {
    return base::fail(Code::invalid_input, "config_invalid",
                      fmt::format("cannot record under this ceiling: {}", rules.error().front().message));
  }
  return policy::CompiledPolicy(policy.values(), std::move(*rules));
}

Result<void> refuse_unenforced(const policy::CompiledPolicy& policy) {
  const auto features = policy::features_not_enforced(policy);
  if (features.empty()) return {};
  std::string message = "cannot run under this policy: it asks for what this build does not enforce";
  for (const auto& feature : features)
    message += fmt::format("\n{}: {}", feature.key_path, feature.message);
  base::Error error(Code::unsupported, std::string(model::to_string(features.front().reason)), std::move(message));
  return base::fail(std::move(error).with_hint("remove these keys, or use a build that enforces them"));
}

Result<void> refuse_conflicts(std::vector<policy::CeilingConflict> conflicts) {
  if (conflicts.empty()) return {};
  std::string message = "cannot run: more is asked for than this host's operator allows";
  for (const auto& conflict : conflicts)
    message += fmt::format("\n{}: {}", conflict.key_path, conflict.message);
  return base::fail(Code::policy_denied, "policy_conflict", std::move(message));
}

// A file of this host, or an image of an engine on it.
bool is_local_image(const std::string& image) {
  const auto name = image::parse_source(image);
  return name && name->kind != image::SourceKind::registry && name->kind != image::SourceKind::stored;
}

// The caller's image counts before the policy's. A local image is the caller's own choice; a reference is held to the
// ceiling.
Result<std::string> choose_image(const RunRequest& request, const policy::CompiledPolicy& policy,
                                 const policy::CeilingLimits& limits) {
  if (!request.image) {
    if (!policy.image()) {
      return base::fail(base::Error(Code::invalid_input, "image_ref_invalid",
                                    "cannot run: neither the policy nor the caller names an image")
                            .with_hint("set sandbox.image.ref in cleanroom.yaml, or give --image"));
    }
    return policy.image()->to_string();
  }
  if (is_local_image(*request.image)) {
    if (!request.under_buildkite || limits.unpinned_images) return *request.image;
    return base::fail(
        base::Error(Code::policy_denied, "policy_conflict",
                    fmt::format("cannot use image '{}': a step may not name what is on this host", *request.image))
            .with_hint(
                "import it (cleanroom image import) and name it by digest, or set images.unpinned in ceiling.yaml"));
  }
  CR_ASSIGN(const auto name, image::parse_source(*request.image));
  if (name.kind == image::SourceKind::stored) {
    if (!limits.image_registries && limits.image_signers.empty()) return *request.image;
    return base::fail(base::Error(Code::policy_denied, "policy_conflict",
                                  fmt::format("cannot use image '{}': this host's operator says which registries an "
                                              "image may be from, and a digest alone names none",
                                              *request.image))
                          .with_hint("name it registry/repository@sha256:..."));
  }
  const model::ImageReference& reference = *name.reference;
  CR_TRY(refuse_conflicts(policy::ceiling_conflicts(reference, limits)));
  return reference.to_string();
}

// A local image has no place that signatures could be in: it meets the policy's demand never, and the ceiling's are for
// registries.
std::vector<policy::SignatureDemand> image_demands(const std::string& source, const policy::CompiledPolicy& policy,
                                                   const policy::CeilingLimits& limits) {
  const auto name = image::parse_source(source);
  const auto& keys = policy.values().image_keys;
  if (name && name->reference) return policy::image_signature_demands(keys, limits, *name->reference);
  std::vector<policy::SignatureDemand> demands;
  if (!keys.empty()) demands.push_back({"sandbox.image.verify", keys});
  return demands;
}

policy::Resources effective_resources(const RunRequest& request, const policy::CompiledPolicy& policy,
                                      const policy::BackendConfig& config) {
  const auto first = [](auto... choices) {
    std::common_type_t<decltype(choices)...> chosen;
    (void)((chosen = choices, chosen.has_value()) || ...);
    return chosen;
  };
  const auto cores = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  policy::Resources resources;
  resources.vcpus =
      first(request.vcpus, policy.resources().vcpus, config.vcpus, std::optional(std::min(cores, kDefaultVcpus)));
  resources.memory_mib =
      first(request.memory_mib, policy.resources().memory_mib, config.memory_mib, std::optional(kDefaultMemoryMib));
  resources.disk_mib = policy.resources().disk_mib.value_or(kDefaultDiskMib);
  return resources;
}

}  // namespace

Result<Admission> admit(const RunRequest& request, const BackendChooser& choose_backend) {
  const auto paths = policy::OperatorPaths::from_environment();
  CR_ASSIGN(auto config, policy::load_operator_config(paths));
  CR_ASSIGN(const auto ceiling, policy::load_ceiling(paths));
  CR_ASSIGN(auto bindings, credentials::load_bindings(paths));
  CR_TRY(judge_record(request, config));
  CR_ASSIGN(auto loaded, load_policy(request));
  CR_TRY(policy::apply_ceiling(loaded.policy, ceiling, request.pipeline_slug));
  CR_TRY(refuse_unenforced(loaded.policy));
  CR_TRY(credentials::check_requested(bindings, loaded.policy.values().secrets));
  const auto& limits = ceiling.limits_for(request.pipeline_slug);
  auto gateway_network = loaded.policy.network();
  if (request.record_file) {
    auto denied = policy::NetworkRules::build({}, gateway_network.deny());
    gateway_network = denied ? std::move(*denied) : policy::NetworkRules();
    CR_ASSIGN(loaded.policy, open_to_ceiling(loaded.policy, limits));
  }
  CR_ASSIGN(auto image, choose_image(request, loaded.policy, limits));
  auto demands = image_demands(image, loaded.policy, limits);
  CR_ASSIGN(const auto backend, choose_backend(config));
  const policy::BackendConfig backend_config = backend == "firecracker" ? config.firecracker : config.qemu;
  const auto resources = effective_resources(request, loaded.policy, backend_config);
  CR_TRY(refuse_conflicts(policy::ceiling_conflicts(resources, limits)));

  std::chrono::seconds limit = std::chrono::minutes(limits.ttl_minutes);
  if (loaded.policy.ttl()) limit = std::min<std::chrono::seconds>(limit, *loaded.policy.ttl());
  if (request.timeout) limit = std::min(limit, *request.timeout);
  Admission admission{.operator_config = std::move(config),
                      .policy = std::move(loaded),
                      .gateway_network = std::move(gateway_network),
                      .bindings = std::move(bindings),
                      .limits = limits,
                      .image_source = std::move(image),
                      .image_demands = std::move(demands),
                      .backend_config = backend_config,
                      .vcpus = *resources.vcpus,
                      .memory_mib = *resources.memory_mib,
                      .disk_mib = *resources.disk_mib,
                      .time_limit = limit,
                      .launch_timeout = {},
                      .warnings = {}};
  admission.launch_timeout = admission.backend_config.launch_timeout.value_or(kDefaultLaunchTimeout);
  admission.warnings = admission.policy.diagnostics.lines();
  return admission;
}

Result<std::string> judge_emulation(const RunRequest& request, const policy::OperatorConfig& config,
                                    const std::string& why_no_kvm) {
  if (config.allow_emulation) return std::string();
  if (request.under_buildkite) {
    return base::fail(
        base::Error(Code::policy_denied, "emulation_refused",
                    fmt::format("cannot run without hardware virtualisation: {}; emulation is no security boundary",
                                why_no_kvm))
            .with_hint("give this host KVM, or set 'allow_emulation: true' in the operator's config.yaml"));
  }
  if (request.accept_emulation) return std::string();
  return fmt::format("{}: the VM is emulated, which is slow and no security boundary (--allow-emulation says you know)",
                     why_no_kvm);
}

Result<std::string> judge_isolation(const policy::OperatorConfig& config, const backends::jail::Isolation& isolation) {
  if (const auto missing = isolation.missing(config.require_isolation); !missing.empty()) {
    return base::fail(
        base::Error(
            Code::policy_denied, "backend_capability_mismatch",
            fmt::format("cannot confine the VMM as this host's operator requires: {}", fmt::join(missing, "; ")))
            .with_hint(
                "give this host what is missing, or take it off 'require_isolation' in the operator's config.yaml"));
  }
  const auto missing = isolation.missing(backends::jail::expected_walls());
  if (missing.empty()) return std::string();
  // One cause for many walls is said once.
  return fmt::format("the VMM is confined less than it could be: {} of {} walls are absent, {}", missing.size(),
                     backends::jail::expected_walls().size(), missing.front());
}

}  // namespace cleanroom::runner
