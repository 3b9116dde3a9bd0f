#include "src/policy/ceiling.h"

#include "src/policy/host_pattern.h"
#include "src/policy/image_signatures.h"
#include "src/policy/json_view.h"
#include "src/policy/operator_file.h"
#include "src/policy/operator_schema.h"
#include "src/policy/pipeline_pattern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace cleanroom::policy {
namespace {

class CeilingDecoder {
 public:
  CeilingDecoder(const base::CheckedDocument& document, const OperatorPaths& paths, base::Diagnostics& diagnostics)
      : document_(document), paths_(paths), diagnostics_(diagnostics) {}

  // `base` with what `view` says over it.
  CeilingLimits decode(const JsonView& view, CeilingLimits limits) {
    const auto set_list = [](const JsonView& list, auto& into) {
      if (list.present()) into = list.texts();
    };
    if (view["network"]["hosts"].present()) limits.hosts = decode_hosts(view["network"]["hosts"]);
    if (view["network"]["private_cidrs"].present()) {
      limits.private_cidrs = decode_cidrs(view["network"]["private_cidrs"]);
    }
    set_list(view["images"]["registries"], limits.image_registries);
    if (view["images"]["verify"].present()) limits.image_signers = decode_signers(view["images"]["verify"]);
    limits.unpinned_images = view["images"]["unpinned"].boolean(limits.unpinned_images);
    limits.vcpus = view["resources"]["vcpus"].integer<std::uint32_t>().value_or(limits.vcpus);
    limits.memory_mib = view["resources"]["memory_mib"].integer<std::uint64_t>().value_or(limits.memory_mib);
    limits.disk_mib = view["resources"]["disk_mib"].integer<std::uint64_t>().value_or(limits.disk_mib);
    limits.ttl_minutes = view["resources"]["ttl_minutes"].integer<std::uint64_t>().value_or(limits.ttl_minutes);
    limits.docker = view["services"]["docker"].boolean(limits.docker);
    limits.git_push = view["git"]["push"].boolean(limits.git_push);
    set_list(view["registries"], limits.registries);
    set_list(view["buildkite"]["commands"], limits.buildkite_commands);
    set_list(view["secrets"], limits.secrets);
    return limits;
  }

 private:
  void error(const JsonView& where, std::string message) {
    diagnostics_.error(document_.position_of(where.path()), where.path(), std::move(message));
  }
  void error(const JsonView& where, const base::Error& cause) {
    error(where, cause.hint.empty() ? cause.message : cause.message + "; " + cause.hint);
  }
  std::vector<std::string> decode_hosts(const JsonView& list) {
    std::vector<std::string> out;
    for (const auto& item : list.items()) {
      // The operator may name what a repository may not, such as every name below a public suffix.
      auto pattern = HostPattern::parse(item.text(), PatternUse::deny);
      if (pattern) {
        out.push_back(pattern->text());
      } else {
        error(item, pattern.error());
      }
    }
    return out;
  }
  std::vector<std::string> decode_cidrs(const JsonView& list) {
    std::vector<std::string> out;
    for (const auto& item : list.items()) {
      auto cidr = model::Cidr::parse(item.text());
      if (cidr) {
        out.push_back(cidr->to_string());
      } else {
        error(item, cidr.error());
      }
    }
    return out;
  }

  std::vector<ImageSigners> decode_signers(const JsonView& list) {
    std::vector<ImageSigners> out;
    for (const auto& item : list.items()) {
      const auto registry = item["registry"];
      // An entry that no reference is ever within would demand nothing, and say nothing of it.
      constexpr std::string_view kBelow = "/x/x";
      const auto within = model::ImageReference::parse(registry.text() + std::string(kBelow));
      const std::string canonical = within ? within->to_string() : "";
      if (canonical != registry.text() + std::string(kBelow)) {
        std::string message =
            fmt::format("expected `registry` or `registry/path`, found {}", base::quote_text(registry.text()));
        if (within) message += fmt::format("; write '{}'", canonical.substr(0, canonical.size() - kBelow.size()));
        error(registry, std::move(message));
      }
      out.push_back({registry.text(), decode_keys(item)});
    }
    return out;
  }
  std::vector<base::PublicKey> decode_keys(const JsonView& item) {
    std::vector<base::PublicKey> keys;
    const auto file = item["key_file"];
    if (item["public_keys"].present() == file.present()) {
      error(item, "expected either `public_keys` or `key_file`");
    } else if (file.present()) {
      auto read = read_key_file(file.text());
      if (read) return std::move(*read);
      error(file, read.error());
    }
    for (const auto& pem : item["public_keys"].items()) {
      auto key = base::PublicKey::parse_pem(pem.text());
      if (key) {
        keys.push_back(std::move(*key));
      } else {
        error(pem, key.error());
      }
    }
    return keys;
  }
  base::Result<std::vector<base::PublicKey>> read_key_file(const std::filesystem::path& path) {
    if (!path.is_absolute()) return base::fail(base::Code::invalid_input, "expected an absolute path");
    CR_ASSIGN(const std::string text, read_trusted_file(path, paths_, kMaxImageKeys * base::PublicKey::kMaxPemBytes));
    return base::PublicKey::parse_pem_list(text, kMaxImageKeys);
  }

  const base::CheckedDocument& document_;
  const OperatorPaths& paths_;
  base::Diagnostics& diagnostics_;
};

}  // namespace

Ceiling::Ceiling(std::optional<std::filesystem::path> file, CeilingLimits base, std::vector<Override> overrides)
    : file_(std::move(file)), base_(std::move(base)), overrides_(std::move(overrides)) {}

const CeilingLimits& Ceiling::limits_for(std::string_view pipeline_slug) const {
  for (const auto& entry : overrides_) {
    if (pipeline_matches(entry.match, pipeline_slug)) return entry.limits;
  }
  return base_;
}

base::Result<Ceiling> load_ceiling(const OperatorPaths& paths, base::Diagnostics* diagnostics) {
  base::Diagnostics local("ceiling.yaml", "config_invalid");
  base::Diagnostics& report = diagnostics != nullptr ? *diagnostics : local;
  CR_ASSIGN(const auto file, check_operator_file(paths, "ceiling.yaml", ceiling_schema(), report));
  if (!file) return Ceiling();

  const JsonView root(&file->document.value, "");
  CeilingDecoder decoder(file->document, paths, report);
  const CeilingLimits base = decoder.decode(root, {});
  std::vector<Ceiling::Override> overrides;
  for (const auto& item : root["pipelines"].items()) {
    const std::string match = item["match"].text();
    if (!is_pipeline_pattern(match)) {
      report.error(file->document.position_of(item.path() + ".match"), item.path() + ".match",
                   std::string(kPipelinePatternRule));
    }
    overrides.push_back({match, decoder.decode(item, base)});
  }
  if (report.has_errors()) return base::fail(operator_file_error(file->path, report));
  return Ceiling(file->path, base, std::move(overrides));
}

base::Result<void> apply_ceiling(const CompiledPolicy& policy, const Ceiling& ceiling, std::string_view pipeline_slug) {
  const auto conflicts = ceiling_conflicts(policy, ceiling.limits_for(pipeline_slug));
  if (conflicts.empty()) return {};
  std::vector<std::string> lines;
  lines.reserve(conflicts.size());
  for (const auto& conflict : conflicts)
    lines.push_back(conflict.key_path + ": " + conflict.message);
  const std::string which = ceiling.file() ? "'" + ceiling.file()->string() + "'" : "the built-in ceiling";
  return base::fail(base::Error(base::Code::policy_denied, "policy_conflict",
                                fmt::format("cannot use this policy: it asks for more than {} allows\n{}", which,
                                            fmt::join(lines, "\n")))
                        .with_hint("ask less in cleanroom.yaml, or have the operator raise ceiling.yaml"));
}

}  // namespace cleanroom::policy
