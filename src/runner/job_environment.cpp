#include "src/runner/job_environment.h"

#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/base/text/diagnostic.h"
#include "src/base/text/json.h"
#include "src/runner/environment_rules.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <algorithm>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::size_t kMaxEnvFileBytes = 4 * 1024 * 1024;
constexpr std::string_view kEnvironmentRefused = "environment_refused";

bool is_variable_name(std::string_view name) {
  const auto letter = [](char c) { return base::is_ascii_letter(c) || c == '_'; };
  if (name.empty() || name.size() > 256 || !letter(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || base::is_ascii_digit(c); });
}

std::string_view why(VariableKind kind) {
  switch (kind) {
    case VariableKind::agent_owned:
      return "it belongs to the agent";
    case VariableKind::host_owned:
      return "it belongs to the host";
    case VariableKind::credential:
      return "it looks like a credential";
    case VariableKind::ordinary:
    case VariableKind::build_fact:
      break;
  }
  return "it is not on the list";
}

// Fills JobEnvironment step by step; what was requested is never replaced by what is passed by default.
class Builder {
 public:
  Builder(const Environment& host, const JobEnvironmentOptions& options)
      : host_(host), options_(options), redacted_(redacted_patterns(host)) {}

  Result<void> add_requested() {
    for (const EnvironmentRequest& request : options_.requested) {
      const VariableKind kind = kind_of_variable(request.name, redacted_);
      CR_TRY(judge(request, kind));
      if (request.value) {
        if (kind == VariableKind::credential && !operator_allows(request.name))
          note(Note::Level::warning, "'{}' looks like a credential, and its value is written in the pipeline",
               request.name);
        CR_TRY(set_requested(request.name, *request.value));
      } else if (const auto found = host_.find(request.name); found != host_.end()) {
        CR_TRY(set_requested(request.name, guest_value(request.name, found->second)));
      } else {
        note(Note::Level::warning, "'{}' is to be passed, but it is not set on the host", request.name);
      }
    }
    return {};
  }

  void add_defaults() {
    for (const auto& [name, value] : host_) {
      if (result_.variables.contains(name) || !is_variable_name(name)) continue;
      const bool from_step = options_.propagate_step_environment && options_.step_names.contains(name);
      const VariableKind kind = kind_of_variable(name, redacted_);
      const bool allowed = kind == VariableKind::build_fact || (kind == VariableKind::ordinary && from_step) ||
                           (kind == VariableKind::credential && from_step && operator_allows(name));
      // What Buildkite itself puts into a job's env file is no choice of the pipeline: it needs no warning.
      const bool buildkites = name.starts_with("BUILDKITE");
      if (!allowed || (buildkites && kind != VariableKind::build_fact)) {
        if (from_step && !buildkites)
          note(Note::Level::warning, "the step's variable '{}' stays on the host: {}", name, why(kind));
        continue;
      }
      if (name.size() + 1 + value.size() > kMaxVariableBytes) {
        note(Note::Level::warning, "'{}' stays on the host: it is longer than {} bytes", name, kMaxVariableBytes);
        continue;
      }
      result_.variables.emplace(name, guest_value(name, value));
      note(Note::Level::debug, "'{}' is passed ({})", name, from_step ? "env of the step" : "build fact");
    }
  }

  Result<JobEnvironment> finish() && {
    std::size_t total = 0;
    for (const auto& [name, value] : result_.variables)
      total += name.size() + value.size() + 2;
    if (total > kMaxEnvironmentBytes)
      return fail(Code::invalid_input, std::string(kEnvironmentRefused),
                  fmt::format("cannot pass the environment: {} bytes, the limit is {}", total, kMaxEnvironmentBytes));
    return std::move(result_);
  }

 private:
  bool operator_allows(std::string_view name) const {
    return std::any_of(options_.operator_allowed.begin(), options_.operator_allowed.end(),
                       [name](const std::string& pattern) {
                         if (pattern == name) return true;
                         // A lone "*" would list everything at once; a prefix has to say something.
                         return pattern.size() > 2 && pattern.ends_with("_*") &&
                                name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
                       });
  }

  Result<void> judge(const EnvironmentRequest& request, VariableKind kind) const {
    const bool literal = request.value.has_value();
    const bool guarded = kind == VariableKind::credential || kind == VariableKind::host_owned;
    if (kind != VariableKind::agent_owned && (literal || !guarded || operator_allows(request.name))) return {};
    base::Error error(Code::policy_denied, std::string(kEnvironmentRefused),
                      fmt::format("cannot pass '{}' into the guest: {}", request.name, why(kind)));
    if (kind == VariableKind::credential)
      return fail(std::move(error).with_hint("the operator of this host can list it; better, let the gateway use it"));
    if (kind == VariableKind::host_owned)
      return fail(std::move(error).with_hint(fmt::format("give it a value of its own: {}=VALUE", request.name)));
    return fail(std::move(error));
  }

  std::string guest_value(std::string_view name, const std::string& value) const {
    if (name == "BUILDKITE_BUILD_CHECKOUT_PATH") return options_.guest_checkout;
    if (name.starts_with("BUILDKITE_") && (name.ends_with("REPO") || name.ends_with("_URL")))
      return without_userinfo(value);
    return value;
  }

  Result<void> set_requested(const std::string& name, std::string value) {
    if (name.size() + 1 + value.size() > kMaxVariableBytes)
      return fail(Code::invalid_input, std::string(kEnvironmentRefused),
                  fmt::format("cannot pass '{}': it is longer than {} bytes", name, kMaxVariableBytes));
    result_.variables.insert_or_assign(name, std::move(value));
    note(Note::Level::debug, "'{}' is passed (asked for)", name);
    return {};
  }

  template <class... Args>
  void note(Note::Level level, fmt::format_string<Args...> format, Args&&... args) {
    result_.notes.push_back({level, fmt::format(format, std::forward<Args>(args)...)});
  }

  const Environment& host_;
  const JobEnvironmentOptions& options_;
  std::vector<std::string> redacted_;
  JobEnvironment result_;
};

}  // namespace

Environment environment_from(const char* const* envp) {
  Environment environment;
  for (; envp != nullptr && *envp != nullptr; ++envp) {
    const std::string_view entry = *envp;
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    environment.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return environment;
}

const std::string& value_of(const Environment& environment, std::string_view name) {
  static const std::string kUnset;
  const auto found = environment.find(name);
  return found == environment.end() ? kUnset : found->second;
}

Result<EnvironmentRequest> parse_environment_request(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  if (!is_variable_name(name)) {
    base::Error error(Code::invalid_input, std::string(kEnvironmentRefused),
                      fmt::format("cannot pass {}: not a variable's name", base::quote_text(name)));
    if (name.find('*') != std::string_view::npos) error.hint = "name each variable; there are no wildcards";
    return fail(std::move(error));
  }
  if (text.find('\0') != std::string_view::npos)
    return fail(Code::invalid_input, std::string(kEnvironmentRefused),
                fmt::format("cannot pass '{}': it holds a NUL", name));
  EnvironmentRequest request{std::string(name), std::nullopt};
  if (equals != std::string_view::npos) request.value = std::string(text.substr(equals + 1));
  return request;
}

Result<JobEnvironment> job_environment(const Environment& host, const JobEnvironmentOptions& options) {
  Builder builder(host, options);
  CR_TRY(builder.add_requested());
  builder.add_defaults();
  return std::move(builder).finish();
}

Result<std::set<std::string, std::less<>>> step_variable_names(const Environment& host) {
  for (const std::string_view variable : {"BUILDKITE_ENV_JSON_FILE", "BUILDKITE_ENV_FILE"}) {
    const auto found = host.find(variable);
    if (found == host.end() || found->second.empty()) continue;
    CR_ASSIGN(const base::Fd file, base::open_file(found->second, O_RDONLY | O_NONBLOCK));
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) return fail(base::errno_error("read", found->second));
    if (!S_ISREG(status.st_mode))
      return fail(Code::invalid_input, std::string(kEnvironmentRefused),
                  fmt::format("cannot read {}: ${} is not a regular file", base::quote_text(found->second), variable));
    CR_ASSIGN(const std::string text, base::read_all(file, found->second, kMaxEnvFileBytes));
    if (variable == "BUILDKITE_ENV_FILE") return names_in_env_file(text);
    return names_in_env_json(text);
  }
  return std::set<std::string, std::less<>>{};
}

Result<std::set<std::string, std::less<>>> names_in_env_json(std::string_view text) {
  const auto bad = [] {
    return fail(Code::invalid_input, std::string(kEnvironmentRefused),
                "cannot read the agent's env file: not a JSON object");
  };
  auto json = base::parse_json(text, "the agent's env file",
                               {.max_bytes = kMaxEnvFileBytes, .max_depth = 2, .max_values = 20'000});
  if (!json) {
    // Its text would quote a value of the file.
    return bad();
  }
  if (!json->is_object()) return bad();
  std::set<std::string, std::less<>> names;
  for (const auto& [name, value] : json->items()) {
    if (value.is_string() && is_variable_name(name)) names.insert(name);
  }
  return names;
}

std::set<std::string, std::less<>> names_in_env_file(std::string_view text) {
  std::set<std::string, std::less<>> names;
  while (!text.empty()) {
    const std::size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos && is_variable_name(line.substr(0, equals)))
      names.emplace(line.substr(0, equals));
    text = newline == std::string_view::npos ? std::string_view{} : text.substr(newline + 1);
  }
  return names;
}

std::string without_userinfo(std::string_view url) {
  const std::size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) return std::string(url);
  const std::string_view scheme = url.substr(0, scheme_end);
  const std::size_t start = scheme_end + 3;
  // '\\' ends the authority too: some clients read it as '/'.
  const std::size_t end = std::min(url.find_first_of("/?#\\", start), url.size());
  const std::size_t at = url.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < start) return std::string(url);
  const std::string_view user = url.substr(start, at - start);
  const bool web = matches_pattern("http", scheme) || matches_pattern("https", scheme);
  const std::string_view kept = web ? std::string_view{} : user.substr(0, user.find(':'));
  return fmt::format("{}{}{}{}", url.substr(0, start), kept, kept.empty() ? "" : "@", url.substr(at + 1));
}

}  // namespace cleanroom::runner
