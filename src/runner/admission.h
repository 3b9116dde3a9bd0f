#pragma once
// Admission: may this run start, and as what? Reads the operator's files and the policy, and decides; starts nothing.
// Repository text only narrows what the operator's ceiling gives; a feature that this build cannot enforce is refused,
// never ignored.
#include "src/backends/jail/isolation.h"
#include "src/credentials/bindings.h"
#include "src/policy/ceiling.h"
#include "src/policy/image_signatures.h"
#include "src/policy/load.h"
#include "src/policy/operator_config.h"
#include "src/runner/run_request.h"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace cleanroom::runner {

struct Admission {
  policy::OperatorConfig operator_config;
  policy::LoadedPolicy policy;
  // What the gateway holds hosts against: the policy's rules; in a recorded run its deny rules alone, so that a host
  // which only network rules would open is dialled directly, and seen.
  policy::NetworkRules gateway_network;
  credentials::Bindings bindings;
  policy::CeilingLimits limits;                        // the operator's, for this pipeline
  std::string image_source;                            // for ImageProvider::ensure()
  std::vector<policy::SignatureDemand> image_demands;  // that the image must meet
  policy::BackendConfig backend_config;                // of the backend that was chosen
  std::uint32_t vcpus = 0;
  std::uint64_t memory_mib = 0;
  std::uint64_t disk_mib = 0;
  std::chrono::seconds time_limit{};
  std::chrono::seconds launch_timeout{};
  std::vector<std::string> warnings;
};

// With --record the policy's network rules are replaced by the ceiling's, and a checkout without a policy is one that
// says nothing. Reasons: record_refused, policy_missing, policy_invalid, policy_conflict, config_invalid,
// config_insecure, backend_capability_mismatch, unsupported, image_ref_invalid. Blocks on reading a few small files.
//
// `choose_backend` is asked once everything else about the policy is settled; it names the backend whose settings
// count.
using BackendChooser = std::function<base::Result<std::string_view>(const policy::OperatorConfig& config)>;
base::Result<Admission> admit(const RunRequest& request, const BackendChooser& choose_backend);

// Emulation is no security boundary. Under Buildkite only the operator's configuration accepts it (emulation_refused);
// a person running locally is warned. Returns the warning, or nothing.
base::Result<std::string> judge_emulation(const RunRequest& request, const policy::OperatorConfig& config,
                                          const std::string& why_no_kvm);

// Walls around the VMM that this host lacks: backend_capability_mismatch when the operator requires one of them; else
// the warning about those that every host is expected to have, or nothing.
base::Result<std::string> judge_isolation(const policy::OperatorConfig& config,
                                          const backends::jail::Isolation& isolation);

}  // namespace cleanroom::runner
