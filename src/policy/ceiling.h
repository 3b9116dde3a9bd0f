#pragma once
// ceiling.yaml: the most that any repository may ask for. Repository text only ever narrows it.
#include "src/base/net/public_key.h"
#include "src/base/os/result.h"
#include "src/base/text/diagnostic.h"
#include "src/policy/compiled_policy.h"
#include "src/policy/operator_config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::policy {

struct ImageSigners {
  std::string registry;  // `registry` or `registry/path`, canonical
  std::vector<base::PublicKey> keys;
};

// nullopt = no bound of this kind. The defaults are the built-in ceiling.
struct CeilingLimits {
  std::optional<std::vector<std::string>>
      hosts;                               // patterns a policy's allow rules must fall within; nullopt: public names
  std::vector<std::string> private_cidrs;  // non-public ranges a policy may open
  std::optional<std::vector<std::string>> image_registries;
  std::vector<ImageSigners> image_signers;  // an image within an entry must be signed by one of its keys
  bool unpinned_images = false;             // whether a caller's --image may lack a digest
  std::uint32_t vcpus = 8;
  std::uint64_t memory_mib = 16384;
  std::uint64_t disk_mib = 102400;
  std::uint64_t ttl_minutes = 1440;
  bool docker = false;
  bool git_push = false;
  std::optional<std::vector<std::string>> registries;  // npm, pypi, ...
  std::vector<std::string> buildkite_commands = {"annotate", "meta-data"};
  std::vector<std::string> secrets;
};

class Ceiling {
 public:
  struct Override {
    std::string match;  // "acme/web", "acme/*"
    CeilingLimits limits;
  };
  Ceiling() = default;
  Ceiling(std::optional<std::filesystem::path> file, CeilingLimits base, std::vector<Override> overrides);

  // The limits for a pipeline slug ("acme/web"); an empty slug (a local run) gets the base. The first match counts.
  const CeilingLimits& limits_for(std::string_view pipeline_slug) const;
  const std::optional<std::filesystem::path>& file() const { return file_; }  // nullopt: the built-in ceiling

 private:
  std::optional<std::filesystem::path> file_;
  CeilingLimits base_;
  std::vector<Override> overrides_;
};

// The built-in ceiling when there is no file. config_insecure, config_invalid as for config.yaml.
base::Result<Ceiling> load_ceiling(const OperatorPaths& paths, base::Diagnostics* diagnostics = nullptr);

struct CeilingConflict {
  std::string key_path;  // in the policy
  std::string message;
};
// What the policy asks for beyond the ceiling; empty = nothing. Each is a `policy_conflict`.
std::vector<CeilingConflict> ceiling_conflicts(const CompiledPolicy& policy, const CeilingLimits& limits);
// Whether an image is within `entry` of images.registries or images.verify.
bool image_is_within(const model::ImageReference& image, const std::string& entry);
// The same for an image the caller names (--image) and sizes it names (--vcpus, --memory).
std::vector<CeilingConflict> ceiling_conflicts(const model::ImageReference& image, const CeilingLimits& limits);
std::vector<CeilingConflict> ceiling_conflicts(const Resources& resources, const CeilingLimits& limits);

// All of it as one Error{policy_denied, policy_conflict} with a line for each conflict.
base::Result<void> apply_ceiling(const CompiledPolicy& policy, const Ceiling& ceiling, std::string_view pipeline_slug);

}  // namespace cleanroom::policy
