#include "src/credentials/bindings.h"

#include "src/base/os/ascii.h"
#include "src/credentials/path_pattern.h"
#include "src/policy/json_view.h"
#include "src/policy/operator_file.h"
#include "src/policy/operator_schema.h"
#include "src/policy/pipeline_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace cleanroom::credentials {
namespace {

using policy::JsonView;

constexpr std::array kMethodNames = {"git-read", "git-push", "http-get", "registry-pull"};
constexpr std::array kSourceNames = {"env", "file", "command", "git-credential", "agent-secret"};
// Headers that frame or route a request are not a place for a token.
constexpr std::array kReservedHeaders = {"connection", "content-length", "expect",           "host", "keep-alive", "te",
                                         "trailer",    "upgrade",        "transfer-encoding"};

bool is_word(std::string_view text, std::string_view more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return base::is_ascii_alnum(c) || more.find(c) != std::string_view::npos;
  });
}
class BindingsDecoder {
 public:
  BindingsDecoder(const base::CheckedDocument& document, base::Diagnostics& diagnostics)
      : document_(document), diagnostics_(diagnostics) {}

  // nullopt only with an error reported.
  std::optional<Binding> decode(const JsonView& view) {
    const auto host = model::HostName::parse(view["host"].text());
    if (!host) {
      if (view["host"].present()) error(view["host"], host.error().message);
      return std::nullopt;
    }
    Binding binding{.host = *host};
    decode_id(view["id"], binding);
    binding.port = view["port"].integer<std::uint16_t>().value_or(443);
    decode_methods(view["methods"], binding);
    for (const auto& item : view["paths"].items()) {
      const auto text = item.text();
      const auto pattern = binding.for_registry() ? std::string_view(text) : without_dot_git(text);
      if (!is_path_pattern(pattern)) error(item, std::string(kPathPatternRule));
      binding.paths.emplace_back(pattern);
    }
    decode_jobs(view, binding);
    decode_source(view["source"], binding);
    decode_scheme(view, binding);
    if (binding.for_registry()) check_registry(view, binding);
    return binding;
  }

 private:
  void error(const JsonView& where, std::string message) {
    diagnostics_.error(document_.position_of(where.path()), where.path(), std::move(message));
  }

  void decode_id(const JsonView& view, Binding& binding) {
    binding.id = view.text();
    if (!view.present()) return;
    if (!is_word(binding.id, "._-")) error(view, "expected letters, digits, '.', '_', '-'");
    if (!ids_.insert(binding.id).second) error(view, "another binding has this id");
  }

  void decode_methods(const JsonView& view, Binding& binding) {
    for (const auto& item : view.items()) {
      const auto* found = std::find(kMethodNames.begin(), kMethodNames.end(), item.text());
      if (found != kMethodNames.end()) binding.methods.push_back(static_cast<Method>(found - kMethodNames.begin()));
    }
    // What the schema refused is absent here, and has its error already.
    if (binding.methods.empty()) binding.methods.push_back(Method::git_read);
    const bool registry = std::count(binding.methods.begin(), binding.methods.end(), Method::registry_pull) > 0;
    if (registry && binding.methods.size() > 1) {
      error(view, "registry-pull stands alone: its paths are those of images; write two bindings");
    }
  }

  // A registry's token service wants a name and a password, or the registry a token: not a header line.
  void check_registry(const JsonView& view, const Binding& binding) {
    if (binding.scheme == Scheme::header) error(view["scheme"], "a registry takes basic or bearer");
    if (binding.scheme == Scheme::basic && binding.username.empty() &&
        binding.source.kind != SourceKind::git_credential) {
      error(view["username"], "registry-pull with scheme basic needs it");
    }
    const auto& host = binding.host.text();
    if (host == "index.docker.io" || host == "registry-1.docker.io") {
      error(view["host"], "write docker.io, as image references name it");
    }
  }

  void decode_jobs(const JsonView& view, Binding& binding) {
    for (const auto& item : view["pipelines"].items()) {
      if (item.text() != "local" && !policy::is_pipeline_pattern(item.text())) {
        error(item, fmt::format("{}; or local", policy::kPipelinePatternRule));
      }
      binding.pipelines.push_back(item.text());
    }
    for (const auto& item : view["branches"].items()) {
      if (!is_path_pattern(item.text())) error(item, std::string(kPathPatternRule));
      binding.branches.push_back(item.text());
    }
    binding.forks = view["forks"].boolean(false);
    if (binding.forks && !binding.branches.empty()) {
      error(view["forks"], "the author of a fork names its branch, so branches do not limit it; write two bindings");
    }
  }

  void decode_source(const JsonView& view, Binding& binding) {
    if (!view.present()) return;
    std::vector<SourceKind> given;
    for (std::size_t i = 0; i < kSourceNames.size(); ++i) {
      if (view[kSourceNames[i]].present()) given.push_back(static_cast<SourceKind>(i));
    }
    // What the schema refused is absent here, and has its error already.
    if (given.size() != 1)
      return error(view, "expected exactly one of env, file, command, git-credential, agent-secret");
    binding.source.kind = given.front();
    const auto value = view[kSourceNames[static_cast<std::size_t>(given.front())]];
    binding.source.name = value.text();
    binding.source.command = value.texts();
    if (auto fault = source_fault(binding.source, value); !fault.empty()) error(value, std::move(fault));
  }

  // Empty when there is none.
  static std::string source_fault(const Source& source, const JsonView& value) {
    const std::string& name = source.name;
    switch (source.kind) {
      case SourceKind::env:
        if (!is_word(name, "_") || base::is_ascii_digit(name.front()))
          return "expected the name of an environment variable";
        // The agent's own tokens are in there, and a pipeline's `env:` reaches some of them.
        if (name.starts_with("BUILDKITE_") || name.starts_with("CLEANROOM_")) {
          return "variables of Buildkite and of cleanroom are not credentials for another host";
        }
        return "";
      case SourceKind::file:
        return std::filesystem::path(name).is_absolute() ? "" : "expected an absolute path";
      case SourceKind::command:
        return !source.command.empty() && source.command.front().starts_with('/')
                   ? ""
                   : "expected an absolute path of a program, then its arguments";
      case SourceKind::git_credential:
        return value.boolean(false) ? "" : "expected true";
      case SourceKind::agent_secret:
        return is_word(name, "_") && base::is_ascii_letter(name.front())
                   ? ""
                   : "expected a letter, then letters, digits, '_'";
    }
    return "";
  }

  void decode_scheme(const JsonView& view, Binding& binding) {
    const auto scheme = view["scheme"].text("basic");
    binding.scheme = scheme == "bearer" ? Scheme::bearer : scheme == "header" ? Scheme::header : Scheme::basic;
    const auto username = view["username"];
    const auto header = view["header_name"];
    binding.username = username.text();
    if (username.present() && binding.scheme != Scheme::basic) error(username, "only scheme basic has a user name");
    if (!base::is_ascii_printable(binding.username) || binding.username.find(':') != std::string::npos) {
      error(username, "expected printable ASCII without ':'");
    }
    if (binding.scheme != Scheme::header) {
      if (header.present()) error(header, "only scheme header has one");
      return;
    }
    if (!header.present()) return error(header, "scheme header needs it");
    binding.header_name = header.text();
    if (!is_word(binding.header_name, "-_") ||
        std::count(kReservedHeaders.begin(), kReservedHeaders.end(), base::ascii_lower(binding.header_name)) > 0) {
      error(header, "expected the name of a header that carries a credential");
    }
  }

  const base::CheckedDocument& document_;
  base::Diagnostics& diagnostics_;
  std::set<std::string> ids_;
};

}  // namespace

std::string_view to_string(Method method) {
  return kMethodNames.at(static_cast<std::size_t>(method));
}

std::string_view to_string(SourceKind kind) {
  return kSourceNames.at(static_cast<std::size_t>(kind));
}

base::Result<Bindings> load_bindings(const policy::OperatorPaths& paths, base::Diagnostics* diagnostics) {
  base::Diagnostics local("credentials.yaml", "config_invalid");
  base::Diagnostics& report = diagnostics != nullptr ? *diagnostics : local;
  CR_ASSIGN(const auto file,
            policy::check_operator_file(paths, "credentials.yaml", policy::credentials_schema(), report));
  if (!file) return Bindings();
  Bindings bindings{.file = file->path};
  const JsonView root(&file->document.value, "");
  BindingsDecoder decoder(file->document, report);
  for (const auto& item : root["bindings"].items()) {
    if (auto binding = decoder.decode(item)) bindings.entries.push_back(std::move(*binding));
  }
  if (report.has_errors()) return base::fail(policy::operator_file_error(file->path, report));
  return bindings;
}

base::Result<void> check_requested(const Bindings& bindings, const std::vector<policy::SecretRequest>& secrets) {
  for (const auto& secret : secrets) {
    if (secret.target != "git") continue;
    const auto has_id = [&](const Binding& binding) { return binding.id == secret.id; };
    if (std::any_of(bindings.entries.begin(), bindings.entries.end(), has_id)) continue;
    return base::fail(
        base::Error(base::Code::failed_precondition, "credential_unavailable",
                    fmt::format("cannot use this policy: no binding of credentials.yaml is called '{}'", secret.id))
            .with_hint("correct the id under secrets in cleanroom.yaml, or have the operator bind it"));
  }
  return {};
}

}  // namespace cleanroom::credentials
