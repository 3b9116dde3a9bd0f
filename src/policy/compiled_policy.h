#pragma once
// CompiledPolicy: what a cleanroom.yaml means, validated, immutable and cheap to copy (shared). Nobody re-reads the
// file.
//
// The hash is sha256 over the canonical JSON (sorted keys, no spaces, defaults filled in, hosts and image canonical,
// rules sorted), so it does not change with comments, spelling of hosts, key order or rule order.
#include "src/base/net/public_key.h"
#include "src/model/digest.h"
#include "src/model/image_reference.h"
#include "src/model/reason.h"
#include "src/policy/network_rules.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::policy {

// What the policy asked for; nullopt = it said nothing, the operator's or the built-in default counts.
struct Resources {
  std::optional<std::uint32_t> vcpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::uint64_t> disk_mib;
};

struct GitRule {
  std::string host;                       // canonical name
  std::vector<std::string> repositories;  // "acme/web", "acme/*"; empty = only the pipeline's own repository
  bool push = false;
  bool lfs = true;
};

struct RegistryPolicy {
  bool enable = false;
  std::vector<std::string> allowed_hosts;  // canonical names; empty = the ecosystem's public hosts
  bool fallback_allow = false;
  std::uint64_t min_release_age_hours = 0;
  bool lockfile_enabled = false;
  std::string lockfile_mode;  // deny_unknown | warn | off
  std::vector<std::string> lockfiles;
};

struct SecretRequest {
  std::string id;
  std::string target;  // git | registry | http
  std::vector<std::string> allowed_hosts;
  std::uint64_t ttl_seconds = 3600;
};

// The values of a policy, before it is frozen.
struct PolicyValues {
  std::string project_name;
  std::map<std::string, std::string> metadata;
  std::optional<model::ImageReference> image;
  std::vector<base::PublicKey> image_keys;  // sorted by fingerprint; the image must be signed by one. Empty: no demand
  Resources resources;
  std::optional<std::chrono::minutes> ttl;
  bool docker_required = false;
  std::vector<GitRule> git;
  std::map<std::string, RegistryPolicy> registries;
  bool registry_cache_offline = false;
  std::vector<SecretRequest> secrets;
  std::vector<std::string> buildkite_commands;  // sorted
};

class CompiledPolicy {
 public:
  // `values` and `rules` are valid: compile_policy() (src/policy/compile.h) saw to it.
  CompiledPolicy(PolicyValues values, NetworkRules rules);

  const std::string& project_name() const;
  const std::map<std::string, std::string>& metadata() const;
  // Pinned by digest. nullopt: the caller must give one.
  const std::optional<model::ImageReference>& image() const;
  const Resources& resources() const;
  std::optional<std::chrono::minutes> ttl() const;
  const NetworkRules& network() const;
  EchMode ech() const;
  const PolicyValues& values() const;

  const std::string& canonical_json() const;
  const model::Digest& hash() const;

 private:
  struct Data;
  std::shared_ptr<const Data> data_;
};

// A part of the policy that this build cannot enforce: a launch refuses it, nothing ever ignores it.
struct UnenforcedFeature {
  std::string key_path;  // registries.npm.enable
  model::Reason reason = model::Reason::unsupported;
  std::string message;  // "package registries are not enforced by this build"
};
std::vector<UnenforcedFeature> features_not_enforced(const CompiledPolicy& policy);

}  // namespace cleanroom::policy
