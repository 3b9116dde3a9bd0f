#include "src/policy/compile.h"

#include "src/base/os/ascii.h"
#include "src/base/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace cleanroom::policy {
namespace {

bool is_word(std::string_view text, std::string_view extra) {
  const auto allowed = [&](char c) { return base::is_ascii_alnum(c) || extra.find(c) != std::string_view::npos; };
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), allowed);
}

// `owner/name` or `owner/*`, more segments where a host nests groups. No `..`: these end in URLs.
bool is_repository_pattern(std::string_view text) {
  std::size_t segments = 0;
  while (true) {
    const std::size_t slash = text.find('/');
    const std::string_view segment = text.substr(0, slash);
    const bool last = slash == std::string_view::npos;
    ++segments;
    const bool star = last && segment == "*" && segments > 1;
    const bool dots = segment == "." || segment == "..";
    if (!star && (dots || segment.substr(0, 1) == "-" || !is_word(segment, "._-"))) return false;
    if (last) return segments >= 2;
    text.remove_prefix(slash + 1);
  }
}

bool is_relative_path(std::string_view text) {
  while (true) {
    const std::size_t slash = text.find('/');
    const std::string_view segment = text.substr(0, slash);
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

class Compiler {
 public:
  Compiler(const PolicyFile& file, const base::CheckedDocument& document, base::Diagnostics& diagnostics)
      : file_(file), document_(document), diagnostics_(diagnostics) {}

  std::optional<CompiledPolicy> run() {
    compile_project();
    compile_image();
    compile_network();
    compile_git();
    compile_registries();
    compile_secrets();
    compile_buildkite();
    if (diagnostics_.has_errors()) return std::nullopt;
    warn();
    return CompiledPolicy(std::move(values_), std::move(rules_));
  }

 private:
  void error(const std::string& key_path, std::string message) {
    diagnostics_.error(document_.position_of(key_path), key_path, std::move(message));
  }
  void error(const std::string& key_path, const base::Error& cause) {
    error(key_path, cause.hint.empty() ? cause.message : cause.message + "; " + cause.hint);
  }

  // A list in which nothing may stand twice.
  template <class Convert>
  std::vector<std::string> compile_list(const std::vector<std::string>& list, const std::string& key_path,
                                        Convert convert) {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string item_path = fmt::format("{}[{}]", key_path, i);
      const std::optional<std::string> value = convert(list[i], item_path);
      if (value && !seen.insert(*value).second)
        error(item_path, fmt::format("{} is listed twice", base::quote_text(*value)));
    }
    return {seen.begin(), seen.end()};
  }

  std::optional<std::string> compile_name(const std::string& text, const std::string& key_path) {
    const auto host = model::HostName::parse(text);
    if (!host) {
      error(key_path, host.error());
    } else if (host->is_ip()) {
      error(key_path, fmt::format("expected a host name, found the address {}", host->text()));
    } else {
      return host->text();
    }
    return std::nullopt;
  }

  std::vector<std::string> compile_names(const std::vector<std::string>& names, const std::string& key_path) {
    return compile_list(names, key_path,
                        [this](const std::string& text, const std::string& path) { return compile_name(text, path); });
  }

  void check_printable(const std::string& text, const std::string& key_path) {
    std::string_view rest = text;
    while (!rest.empty()) {
      const auto decoded = base::decode_utf8(rest);
      if (decoded.length == 0 || base::is_invisible_or_control(decoded.value)) {
        error(key_path, fmt::format("control or invisible character in {}", base::quote_text(text)));
        return;
      }
      rest.remove_prefix(decoded.length);
    }
  }

  void compile_project() {
    check_printable(file_.project_name, "project.name");
    values_.project_name = file_.project_name;
    for (const auto& [key, value] : file_.metadata) {
      if (!is_word(key, "._-"))
        error("metadata", fmt::format("key {} is not letters, digits, '.', '_', '-'", base::quote_text(key)));
      check_printable(value, "metadata." + key);
    }
    values_.metadata = file_.metadata;
  }

  void compile_image() {
    values_.resources = {file_.vcpus, file_.memory_mib, file_.disk_mib};
    if (file_.ttl_minutes) values_.ttl = std::chrono::minutes(*file_.ttl_minutes);
    values_.docker_required = file_.docker_required;
    compile_image_keys();
    if (!file_.image_ref) return;
    const std::string path = "sandbox.image.ref";
    auto reference = model::ImageReference::parse(*file_.image_ref);
    if (!reference) {
      error(path, reference.error());
    } else if (!reference->pinned()) {
      error(path, fmt::format("{} has no digest, and a tag may change under a job; write {}@sha256:...",
                              base::quote_text(*file_.image_ref), reference->to_string()));
    } else {
      values_.image = std::move(*reference);
    }
  }

  void compile_image_keys() {
    auto& keys = values_.image_keys;
    for (const auto& [path, pem] : file_.image_keys) {
      auto key = base::PublicKey::parse_pem(pem);
      if (!key) {
        error(path, key.error());
      } else if (std::find(keys.begin(), keys.end(), *key) != keys.end()) {
        error(path, "this key is listed twice");
      } else {
        keys.push_back(std::move(*key));
      }
    }
    std::sort(keys.begin(), keys.end(),
              [](const base::PublicKey& a, const base::PublicKey& b) { return a.fingerprint() < b.fingerprint(); });
  }

  std::vector<NetworkRuleSpec> rule_specs(const std::vector<PolicyFile::NetworkRule>& rules) {
    std::vector<NetworkRuleSpec> specs;
    for (const auto& rule : rules) {
      check_printable(rule.reason, rule.key_path + ".reason");
      specs.push_back({.host = rule.host,
                       .ports = rule.ports,
                       .tls = rule.tls == "opaque" ? TlsMode::opaque : TlsMode::sni,
                       .http = rule.http == "opaque" ? HttpMode::opaque : HttpMode::host,
                       .reason = rule.reason,
                       .key_path = rule.key_path});
    }
    return specs;
  }

  void compile_network() {
    const auto ech = file_.ech == "deny" ? EchMode::deny : EchMode::allow;
    auto rules = NetworkRules::build(rule_specs(file_.allow), rule_specs(file_.deny), ech);
    if (rules) {
      rules_ = std::move(*rules);
      return;
    }
    for (const auto& problem : rules.error()) {
      error(problem.key_path, problem.hint.empty() ? problem.message : problem.message + "; " + problem.hint);
    }
  }

  void compile_git() {
    std::set<std::string> hosts;
    for (const auto& rule : file_.git) {
      if (rule.host.empty()) continue;
      const auto host = compile_name(rule.host, rule.key_path + ".host");
      if (host && !hosts.insert(*host).second)
        error(rule.key_path + ".host", fmt::format("'{}' has a rule already", *host));
      auto repositories =
          compile_list(rule.repositories, rule.key_path + ".repositories",
                       [this](const std::string& text, const std::string& path) -> std::optional<std::string> {
                         if (is_repository_pattern(text)) return text;
                         error(path, fmt::format("expected owner/name or owner/*, found {}", base::quote_text(text)));
                         return std::nullopt;
                       });
      values_.git.push_back({host.value_or(""), std::move(repositories), rule.push, rule.lfs});
    }
    std::sort(values_.git.begin(), values_.git.end(),
              [](const GitRule& a, const GitRule& b) { return a.host < b.host; });
  }

  void compile_registries() {
    values_.registry_cache_offline = file_.registry_cache_mode == "offline";
    for (const auto& [name, registry] : file_.registries) {
      const std::string path = "registries." + name;
      auto lockfiles = compile_list(
          registry.lockfiles, path + ".lockfile_enforcement.lockfiles",
          [this](const std::string& text, const std::string& item_path) -> std::optional<std::string> {
            check_printable(text, item_path);
            if (is_relative_path(text)) return text;
            error(item_path, fmt::format("expected a path below the checkout, found {}", base::quote_text(text)));
            return std::nullopt;
          });
      values_.registries[name] = {.enable = registry.enable,
                                  .allowed_hosts = compile_names(registry.allowed_hosts, path + ".allowed_hosts"),
                                  .fallback_allow = registry.fallback == "allow",
                                  .min_release_age_hours = registry.min_release_age_hours,
                                  .lockfile_enabled = registry.lockfile_enabled,
                                  .lockfile_mode = registry.lockfile_mode,
                                  .lockfiles = std::move(lockfiles)};
    }
  }

  void compile_secrets() {
    std::set<std::string> ids;
    for (const auto& secret : file_.secrets) {
      if (!secret.id.empty() && !is_word(secret.id, "._-")) {
        error(secret.key_path + ".id",
              fmt::format("{} is not letters, digits, '.', '_', '-'", base::quote_text(secret.id)));
      }
      if (!secret.id.empty() && !ids.insert(secret.id).second) {
        error(secret.key_path + ".id", fmt::format("{} is asked for twice", base::quote_text(secret.id)));
      }
      values_.secrets.push_back({secret.id, secret.target,
                                 compile_names(secret.allowed_hosts, secret.key_path + ".allowed_hosts"),
                                 secret.ttl_seconds});
    }
    std::sort(values_.secrets.begin(), values_.secrets.end(),
              [](const SecretRequest& a, const SecretRequest& b) { return a.id < b.id; });
  }

  void compile_buildkite() {
    values_.buildkite_commands =
        compile_list(file_.buildkite_commands, "buildkite.commands",
                     [](const std::string& text, const std::string&) { return std::optional(text); });
  }

  void warning(const std::string& key_path, std::string message) {
    diagnostics_.warning(document_.position_of(key_path), key_path, std::move(message));
  }

  // What is valid and yet probably not meant.
  void warn() {
    for (const auto& rule : file_.git) {
      const auto host = model::HostName::parse(rule.host);
      if (!host) continue;
      const Verdict verdict = rules_.judge(*host, 443);
      if (!verdict.allowed) continue;
      warning(rule.key_path + ".host",
              fmt::format("'{}' is also open by {}: a job can go past the gateway and its repository rules",
                          host->text(), verdict.rule));
    }
    for (const auto& rule : rules_.allow()) {
      const auto host = model::HostName::parse(rule.host);
      if (!host || rule.ports.empty()) continue;
      const Verdict verdict = rules_.judge(*host, rule.ports.front());
      if (verdict.reason == model::Reason::host_denied) {
        warning(rule.key_path, fmt::format("'{}' never applies on port {}: {} denies it", rule.host, rule.ports.front(),
                                           verdict.rule));
      }
    }
  }

  const PolicyFile& file_;
  const base::CheckedDocument& document_;
  base::Diagnostics& diagnostics_;
  PolicyValues values_;
  NetworkRules rules_;
};

}  // namespace

std::optional<CompiledPolicy> compile_policy(const PolicyFile& file, const base::CheckedDocument& document,
                                             base::Diagnostics& diagnostics) {
  return Compiler(file, document, diagnostics).run();
}

}  // namespace cleanroom::policy
