#include "src/policy/compiled_policy.h"

#include "src/base/net/sha256.h"
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

namespace cleanroom::policy {
namespace {

using base::Json;

// The order of rules means nothing, so it must not show.
Json sorted_unique(std::vector<Json> list) {
  std::map<std::string, Json> by_text;
  for (auto& item : list) {
    std::string text = base::canonical_json(item);
    by_text.emplace(std::move(text), std::move(item));
  }
  Json out = Json::array();
  for (auto& [text, item] : by_text)
    out.push_back(std::move(item));
  return out;
}

Json network_json(const NetworkRules& rules) {
  std::vector<Json> allow;
  for (const auto& rule : rules.allow()) {
    allow.push_back({{"host", rule.host},
                     {"ports", rule.ports},
                     {"tls", to_string(rule.tls)},
                     {"http", to_string(rule.http)},
                     {"reason", rule.reason}});
  }
  std::vector<Json> deny;
  for (const auto& rule : rules.deny()) {
    deny.push_back({{"host", rule.host}, {"ports", rule.ports}, {"reason", rule.reason}});
  }
  Json network = {{"default", "deny"},
                  {"ech", to_string(rules.ech())},
                  {"allow", sorted_unique(std::move(allow))},
                  {"deny", sorted_unique(std::move(deny))}};
  // A recorded run is under another policy than its file's, and its hash says so.
  if (rules.recording()) network["recording"] = rules.any_public_name() ? "public" : "listed";
  return network;
}

Json sandbox_json(const PolicyValues& values, const NetworkRules& rules) {
  Json resources = Json::object();
  if (values.resources.vcpus) resources["vcpus"] = *values.resources.vcpus;
  if (values.resources.memory_mib) resources["memory_mib"] = *values.resources.memory_mib;
  if (values.resources.disk_mib) resources["disk_mib"] = *values.resources.disk_mib;
  Json sandbox = {{"resources", std::move(resources)},
                  {"services", {{"docker", {{"required", values.docker_required}}}}},
                  {"network", network_json(rules)}};
  if (values.image) sandbox["image"] = {{"ref", values.image->to_string()}};
  if (!values.image_keys.empty()) {
    Json keys = Json::array();
    for (const auto& key : values.image_keys)
      keys.push_back("sha256:" + key.fingerprint());
    sandbox["image"]["verify"] = {{"public_keys", std::move(keys)}};
  }
  if (values.ttl) sandbox["ttl_minutes"] = values.ttl->count();
  return sandbox;
}

Json registries_json(const PolicyValues& values) {
  Json out = {{"cache", {{"mode", values.registry_cache_offline ? "offline" : "online"}}}};
  for (const auto& [name, registry] : values.registries) {
    out[name] = {{"enable", registry.enable},
                 {"allowed_hosts", registry.allowed_hosts},
                 {"fallback", registry.fallback_allow ? "allow" : "deny"},
                 {"min_release_age_hours", registry.min_release_age_hours},
                 {"lockfile_enforcement",
                  {{"enabled", registry.lockfile_enabled},
                   {"mode", registry.lockfile_mode},
                   {"lockfiles", registry.lockfiles}}}};
  }
  return out;
}

std::string to_canonical_json(const PolicyValues& values, const NetworkRules& rules) {
  Json git = Json::array();
  for (const auto& rule : values.git) {
    git.push_back({{"host", rule.host}, {"repositories", rule.repositories}, {"push", rule.push}, {"lfs", rule.lfs}});
  }
  Json secrets = Json::array();
  for (const auto& secret : values.secrets) {
    secrets.push_back({{"id", secret.id},
                       {"target", secret.target},
                       {"allowed_hosts", secret.allowed_hosts},
                       {"ttl_seconds", secret.ttl_seconds}});
  }
  return base::canonical_json({{"version", 1},
                               {"project", {{"name", values.project_name}}},
                               {"metadata", values.metadata},
                               {"sandbox", sandbox_json(values, rules)},
                               {"git", {{"allow", std::move(git)}}},
                               {"registries", registries_json(values)},
                               {"secrets", std::move(secrets)},
                               {"buildkite", {{"commands", values.buildkite_commands}}}});
}

}  // namespace

struct CompiledPolicy::Data {
  PolicyValues values;
  NetworkRules rules;
  std::string canonical_json;
  model::Digest hash;
};

CompiledPolicy::CompiledPolicy(PolicyValues values, NetworkRules rules) {
  std::string json = to_canonical_json(values, rules);
  auto hash = model::Digest::from_sha256_hex(base::sha256_hex(json));
  data_ = std::make_shared<const Data>(Data{std::move(values), std::move(rules), std::move(json), std::move(hash)});
}

const std::string& CompiledPolicy::project_name() const {
  return data_->values.project_name;
}
const std::map<std::string, std::string>& CompiledPolicy::metadata() const {
  return data_->values.metadata;
}
const std::optional<model::ImageReference>& CompiledPolicy::image() const {
  return data_->values.image;
}
const Resources& CompiledPolicy::resources() const {
  return data_->values.resources;
}
std::optional<std::chrono::minutes> CompiledPolicy::ttl() const {
  return data_->values.ttl;
}
const NetworkRules& CompiledPolicy::network() const {
  return data_->rules;
}
EchMode CompiledPolicy::ech() const {
  return data_->rules.ech();
}
const PolicyValues& CompiledPolicy::values() const {
  return data_->values;
}
const std::string& CompiledPolicy::canonical_json() const {
  return data_->canonical_json;
}
const model::Digest& CompiledPolicy::hash() const {
  return data_->hash;
}

}  // namespace cleanroom::policy
