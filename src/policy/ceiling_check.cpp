// What a policy asks for, held against what the operator allows.
#include "src/policy/address_rules.h"
#include "src/policy/ceiling.h"
#include "src/policy/host_pattern.h"
#include "src/policy/image_signatures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace cleanroom::policy {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool covers(const model::Cidr& outer, const model::Cidr& inner) {
  return outer.length() <= inner.length() && outer.contains(inner.network());
}

// Whether everything that `asked` matches is matched by `bound` too.
bool covers(const HostPattern& bound, const HostPattern& asked) {
  using Kind = HostPattern::Kind;
  if (bound.kind() == Kind::cidr || asked.kind() == Kind::cidr) {
    return bound.kind() == asked.kind() && covers(bound.cidr(), asked.cidr());
  }
  if (bound.kind() == Kind::name) return asked.kind() == Kind::name && asked.name() == bound.name();
  if (asked.kind() == Kind::below && asked.name() == bound.name()) return true;
  return asked.name().size() > bound.name().size() && asked.name().ends_with("." + bound.name());
}

bool any_covers(const std::vector<std::string>& bounds, const HostPattern& asked) {
  return std::any_of(bounds.begin(), bounds.end(), [&](const std::string& text) {
    const auto bound = HostPattern::parse(text, PatternUse::deny);
    return bound && covers(*bound, asked);
  });
}

void check_network(const CompiledPolicy& policy, const CeilingLimits& limits, std::vector<CeilingConflict>& out) {
  for (const auto& rule : policy.network().allow()) {
    const std::string key = rule.key_path + ".host";
    const auto asked = HostPattern::parse(rule.host, PatternUse::allow);
    if (!asked) {
      out.push_back({key, fmt::format("'{}' is no host pattern", rule.host)});
      continue;
    }
    if (asked->kind() == HostPattern::Kind::cidr) {
      const auto why = special_purpose_within(asked->cidr());
      if (why && any_covers(limits.private_cidrs, *asked)) continue;
      if (why) {
        out.push_back({key, fmt::format("'{}' reaches addresses that are not public ({}); network.private_cidrs does "
                                        "not have it",
                                        rule.host, *why)});
        continue;
      }
    }
    if (limits.hosts && !any_covers(*limits.hosts, *asked)) {
      out.push_back({key, fmt::format("'{}' is not within network.hosts", rule.host)});
    }
  }
}

void check_features(const PolicyValues& values, const CeilingLimits& limits, std::vector<CeilingConflict>& out) {
  if (values.docker_required && !limits.docker) {
    out.push_back({"sandbox.services.docker.required", "services.docker is not allowed"});
  }
  for (const auto& rule : values.git) {
    const auto asked = HostPattern::parse(rule.host, PatternUse::allow);
    if (!asked || (limits.hosts && !any_covers(*limits.hosts, *asked)))
      out.push_back({"git.allow", fmt::format("'{}' is not within network.hosts", rule.host)});
    if (rule.push && !limits.git_push) {
      out.push_back({"git.allow", fmt::format("push to '{}' is asked for, git.push is not allowed", rule.host)});
    }
  }
  for (const auto& [name, registry] : values.registries) {
    if (registry.enable && limits.registries && !contains(*limits.registries, name)) {
      out.push_back({"registries." + name, fmt::format("'{}' is not in registries", name)});
    }
  }
  for (const auto& command : values.buildkite_commands) {
    if (!contains(limits.buildkite_commands, command)) {
      out.push_back({"buildkite.commands", fmt::format("'{}' is not in buildkite.commands ({})", command,
                                                       fmt::join(limits.buildkite_commands, ", "))});
    }
  }
  for (const auto& secret : values.secrets) {
    if (!contains(limits.secrets, secret.id)) {
      out.push_back({"secrets", fmt::format("'{}' is not in secrets", secret.id)});
    }
  }
}

}  // namespace

bool image_is_within(const model::ImageReference& image, const std::string& entry) {
  const std::string full = image.registry() + "/" + image.repository();
  return full == entry || full.starts_with(entry + "/");
}

std::vector<CeilingConflict> ceiling_conflicts(const model::ImageReference& image, const CeilingLimits& limits) {
  std::vector<CeilingConflict> out;
  const std::string full = image.registry() + "/" + image.repository();
  const auto allows = [&](const std::string& entry) { return image_is_within(image, entry); };
  if (limits.image_registries &&
      !std::any_of(limits.image_registries->begin(), limits.image_registries->end(), allows)) {
    out.push_back({"sandbox.image.ref", fmt::format("'{}' is not within images.registries ({})", full,
                                                    fmt::join(*limits.image_registries, ", "))});
  }
  if (!image.pinned() && !limits.unpinned_images) {
    out.push_back({"sandbox.image.ref", fmt::format("'{}' has no digest, and images.unpinned is not allowed", full)});
  }
  if (!kSignaturesEnforced && !image_signature_demands({}, limits, image).empty()) {
    out.push_back({"sandbox.image.ref",
                   fmt::format("images.verify wants a signature of '{}', and this build checks none", full)});
  }
  return out;
}

std::vector<CeilingConflict> ceiling_conflicts(const Resources& resources, const CeilingLimits& limits) {
  std::vector<CeilingConflict> out;
  const auto check = [&](const char* name, std::uint64_t asked, std::uint64_t most) {
    if (asked > most) {
      out.push_back({fmt::format("sandbox.resources.{}", name), fmt::format("{} is more than {}", asked, most)});
    }
  };
  check("vcpus", resources.vcpus.value_or(0), limits.vcpus);
  check("memory_mib", resources.memory_mib.value_or(0), limits.memory_mib);
  check("disk_mib", resources.disk_mib.value_or(0), limits.disk_mib);
  return out;
}

std::vector<CeilingConflict> ceiling_conflicts(const CompiledPolicy& policy, const CeilingLimits& limits) {
  std::vector<CeilingConflict> out;
  if (policy.image()) out = ceiling_conflicts(*policy.image(), limits);
  for (auto& conflict : ceiling_conflicts(policy.resources(), limits))
    out.push_back(std::move(conflict));
  if (policy.ttl() && static_cast<std::uint64_t>(policy.ttl()->count()) > limits.ttl_minutes) {
    out.push_back(
        {"sandbox.ttl_minutes", fmt::format("{} is more than {}", policy.ttl()->count(), limits.ttl_minutes)});
  }
  check_network(policy, limits, out);
  check_features(policy.values(), limits, out);
  return out;
}

}  // namespace cleanroom::policy
