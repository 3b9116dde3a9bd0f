#include "src/policy/policy_file.h"

#include "src/policy/json_view.h"

namespace cleanroom::policy {
namespace {

std::vector<PolicyFile::NetworkRule> decode_rules(const JsonView& list) {
  std::vector<PolicyFile::NetworkRule> rules;
  for (const auto& item : list.items()) {
    // A rule without its host, or without a port that it names, would mean something else: both are reported already.
    if (!item["host"].present()) continue;
    PolicyFile::NetworkRule rule;
    rule.key_path = item.path();
    rule.host = item["host"].text();
    for (const auto& port : item["ports"].items())
      rule.ports.push_back(port.integer<std::uint16_t>().value_or(0));
    rule.tls = item["tls"].text("sni");
    rule.http = item["http"].text("host");
    rule.reason = item["reason"].text();
    rules.push_back(std::move(rule));
  }
  return rules;
}

void decode_sandbox(const JsonView& sandbox, PolicyFile& file) {
  if (sandbox["image"]["ref"].present()) file.image_ref = sandbox["image"]["ref"].text();
  for (const auto& item : sandbox["image"]["verify"]["public_keys"].items())
    file.image_keys.push_back({item.path(), item.text()});
  file.vcpus = sandbox["resources"]["vcpus"].integer<std::uint32_t>();
  file.memory_mib = sandbox["resources"]["memory_mib"].integer<std::uint64_t>();
  file.disk_mib = sandbox["resources"]["disk_mib"].integer<std::uint64_t>();
  file.ttl_minutes = sandbox["ttl_minutes"].integer<std::uint32_t>();
  file.docker_required = sandbox["services"]["docker"]["required"].boolean(false);
  file.ech = sandbox["network"]["ech"].text("allow");
  file.allow = decode_rules(sandbox["network"]["allow"]);
  file.deny = decode_rules(sandbox["network"]["deny"]);
}

void decode_registries(const JsonView& registries, PolicyFile& file) {
  for (const auto& [name, view] : registries.members()) {
    if (name == "cache") {
      file.registry_cache_mode = view["mode"].text("online");
      continue;
    }
    PolicyFile::Registry registry;
    registry.enable = view["enable"].boolean(false);
    registry.allowed_hosts = view["allowed_hosts"].texts();
    registry.fallback = view["fallback"].text("deny");
    registry.min_release_age_hours = view["min_release_age_hours"].integer<std::uint64_t>().value_or(0);
    const auto lockfile = view["lockfile_enforcement"];
    registry.lockfile_enabled = lockfile["enabled"].boolean(false);
    registry.lockfile_mode = lockfile["mode"].text("deny_unknown");
    registry.lockfiles = lockfile["lockfiles"].texts();
    file.registries[name] = std::move(registry);
  }
}

}  // namespace

PolicyFile decode_policy_file(const base::CheckedDocument& document) {
  const JsonView root(&document.value, "");
  PolicyFile file;
  file.project_name = root["project"]["name"].text();
  for (const auto& [key, value] : root["metadata"].members())
    file.metadata[key] = value.text();
  decode_sandbox(root["sandbox"], file);
  for (const auto& item : root["git"]["allow"].items()) {
    file.git.push_back({item.path(), item["host"].text(), item["repositories"].texts(), item["push"].boolean(false),
                        item["lfs"].boolean(true)});
  }
  decode_registries(root["registries"], file);
  for (const auto& item : root["secrets"].items()) {
    file.secrets.push_back({item.path(), item["id"].text(), item["target"].text(), item["allowed_hosts"].texts(),
                            item["ttl_seconds"].integer<std::uint64_t>().value_or(3600)});
  }
  file.buildkite_commands = root["buildkite"]["commands"].texts();
  return file;
}

}  // namespace cleanroom::policy
