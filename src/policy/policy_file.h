#pragma once
// PolicyFile: what a cleanroom.yaml says, in its own words. Every type is right, nothing is judged yet: hosts,
// references and patterns are text as written. compile_policy() makes the CompiledPolicy of it.
#include "src/base/text/schema.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::policy {

struct PolicyFile {
  struct Text {
    std::string key_path;
    std::string text;
  };
  struct NetworkRule {
    std::string key_path;
    std::string host;
    std::vector<std::uint16_t> ports;  // deny: empty = all
    std::string tls;
    std::string http;
    std::string reason;
  };
  struct Git {
    std::string key_path;
    std::string host;
    std::vector<std::string> repositories;
    bool push = false;
    bool lfs = true;
  };
  struct Registry {
    bool enable = false;
    std::vector<std::string> allowed_hosts;
    std::string fallback;
    std::uint64_t min_release_age_hours = 0;
    bool lockfile_enabled = false;
    std::string lockfile_mode;
    std::vector<std::string> lockfiles;
  };
  struct Secret {
    std::string key_path;
    std::string id;
    std::string target;
    std::vector<std::string> allowed_hosts;
    std::uint64_t ttl_seconds = 0;
  };

  std::string project_name;
  std::map<std::string, std::string> metadata;
  std::optional<std::string> image_ref;
  std::vector<Text> image_keys;  // PEM
  std::optional<std::uint32_t> vcpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::uint64_t> disk_mib;
  std::optional<std::uint32_t> ttl_minutes;
  bool docker_required = false;
  std::string ech = "allow";
  std::vector<NetworkRule> allow;
  std::vector<NetworkRule> deny;
  std::vector<Git> git;
  std::map<std::string, Registry> registries;
  std::string registry_cache_mode = "online";
  std::vector<Secret> secrets;
  std::vector<std::string> buildkite_commands;
};

// What check_schema() let through. Parts that it refused are missing; their errors are already reported.
PolicyFile decode_policy_file(const base::CheckedDocument& document);

}  // namespace cleanroom::policy
