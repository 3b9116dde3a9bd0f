#include "src/credentials/sources.h"

#include "src/base/net/base64.h"
#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/base/os/secret_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace cleanroom::credentials {
namespace {

using base::Code;
using base::Result;
using base::Secret;

constexpr const char* kProgramPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// What `buildkite-agent secret get` needs; with the Job API it has the agent redact the value in the job's log as well.
constexpr std::array kAgentVariables = {"BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_AGENT_ENDPOINT", "BUILDKITE_JOB_ID",
                                        "BUILDKITE_AGENT_JOB_API_SOCKET", "BUILDKITE_AGENT_JOB_API_TOKEN"};

base::Error unavailable(std::string cause) {
  return {Code::unavailable, "credential_unavailable", std::move(cause)};
}

// A line feed, or the pair that Windows writes, ends a file's or a program's only line.
std::string_view without_line_end(std::string_view text) {
  if (!text.ends_with('\n')) return text;
  text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

Secret copy_of(std::string_view text) {
  return Secret(std::string(text));
}

// The value becomes part of a header line: one more line in it would be a header of its own.
Result<void> check_token(std::string_view token) {
  if (token.empty()) return base::fail(unavailable("it is empty"));
  if (token.size() > kMaxTokenBytes)
    return base::fail(unavailable(fmt::format("it is longer than {} bytes", kMaxTokenBytes)));
  if (!base::is_ascii_printable(token)) return base::fail(unavailable("it has bytes that are not printable ASCII"));
  if (token.front() == ' ' || token.back() == ' ') return base::fail(unavailable("it begins or ends with a blank"));
  return {};
}

Secret user_and_token(std::string_view user, std::string_view token) {
  std::string plain;
  plain.reserve(user.size() + 1 + token.size());
  plain.append(user).append(":").append(token);
  return Secret(std::move(plain));
}

Secret basic_header(std::string_view plain) {
  std::string header;
  header.reserve(6 + base::base64_size(plain.size()) + 1);
  header.append("Basic ");
  base::append_base64(header, plain);
  return Secret(std::move(header));
}

Secret bearer_header(std::string_view token) {
  std::string header;
  header.reserve(7 + token.size());
  header.append("Bearer ").append(token);
  return Secret(std::move(header));
}

// `key=value` lines, git-credential(1).
std::string_view git_value(std::string_view output, std::string_view key) {
  while (!output.empty()) {
    const auto end = output.find('\n');
    const auto line = output.substr(0, end);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=')
      return line.substr(key.size() + 1);
    output = end == std::string_view::npos ? std::string_view{} : output.substr(end + 1);
  }
  return {};
}

// nullopt: it does not say.
std::optional<std::chrono::seconds> git_validity(std::string_view expiry) {
  std::int64_t seconds = 0;
  const auto parsed = std::from_chars(expiry.data(), expiry.data() + expiry.size(), seconds);
  if (expiry.empty() || parsed.ec != std::errc()) return std::nullopt;
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  return std::chrono::seconds(seconds) - now;
}

}  // namespace

std::string operator_program_path() {
  const char* const bin = std::getenv("BUILDKITE_BIN_PATH");
  return bin != nullptr && bin[0] == '/' ? fmt::format("{}:{}", kProgramPath, bin) : kProgramPath;
}

HostEnvironment HostEnvironment::from_process() {
  HostEnvironment host;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) host.variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  host.home = policy::operator_home();
  host.program_path = operator_program_path();
  host.user = ::geteuid();
  return host;
}

Sources::Sources(const Bindings& bindings, HostEnvironment host, std::chrono::milliseconds time_limit)
    : home_(std::move(host.home)),
      program_path_(std::move(host.program_path)),
      user_(host.user),
      time_limit_(time_limit) {
  const auto keep = [&](std::string_view name) {
    const auto found = host.variables.find(name);
    if (found != host.variables.end() && !found->second.empty()) variables_.emplace(name, copy_of(found->second));
  };
  for (const auto& binding : bindings.entries) {
    if (binding.source.kind == SourceKind::env) keep(binding.source.name);
    if (binding.source.kind != SourceKind::agent_secret) continue;
    for (const char* name : kAgentVariables)
      keep(name);
  }
  for (auto& [name, value] : host.variables)
    base::wipe(value);
}

Result<FetchedHeader> Sources::fetch(const Binding& binding) const {
  CR_ASSIGN(auto login, fetch_login(binding));
  switch (binding.scheme) {
    case Scheme::basic:
      return FetchedHeader{basic_header(login.value.reveal()), login.valid};
    case Scheme::bearer:
      return FetchedHeader{bearer_header(login.value.reveal()), login.valid};
    case Scheme::header:
      break;
  }
  return FetchedHeader{std::move(login.value), login.valid};
}

Result<FetchedLogin> Sources::fetch_login(const Binding& binding) const {
  const auto refuse = [&](base::Error cause) {
    cause.reason = "credential_unavailable";
    cause.message =
        fmt::format("cannot use credential '{}' ({}): {}", binding.id, to_string(binding.source.kind), cause.message);
    return base::fail(std::move(cause));
  };
  auto token = read(binding);
  if (!token) return refuse(std::move(token).error());
  const auto value = token->value.reveal();
  if (auto fine = check_token(value); !fine) return refuse(std::move(fine).error());
  if (token->valid && token->valid->count() <= 0) return refuse(unavailable("it has expired"));
  const auto given = token->username.reveal();
  if (!base::is_ascii_printable(given) || given.find(':') != std::string_view::npos) {
    return refuse(unavailable("its user name is not printable ASCII without ':'"));
  }
  if (binding.scheme != Scheme::basic) return FetchedLogin{std::move(token->value), token->valid};
  const std::string_view otherwise = given.empty() ? kDefaultUsername : given;
  const std::string_view user = binding.username.empty() ? otherwise : std::string_view(binding.username);
  return FetchedLogin{user_and_token(user, value), token->valid};
}

Result<Sources::Token> Sources::read(const Binding& binding) const {
  switch (binding.source.kind) {
    case SourceKind::env:
      return read_variable(binding.source);
    case SourceKind::file:
      return read_file(binding.source);
    case SourceKind::command:
      return run_command(binding.source);
    case SourceKind::git_credential:
      return ask_git(binding);
    case SourceKind::agent_secret:
      break;
  }
  return ask_agent(binding.source);
}

Result<Sources::Token> Sources::read_variable(const Source& source) const {
  const auto found = variables_.find(source.name);
  if (found == variables_.end()) return base::fail(unavailable("the variable is not set"));
  return Token{{}, found->second.clone(), std::nullopt};
}

Result<Sources::Token> Sources::read_file(const Source& source) const {
  // O_NONBLOCK: a FIFO would hang the thread. The path stays out of messages, which a job's log shows.
  const auto fd = base::open_file(source.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!fd && fd.error().os_errno == ELOOP) return base::fail(unavailable("the file is a symbolic link"));
  if (!fd) return base::fail(unavailable("the file cannot be opened: " + std::string(::strerror(fd.error().os_errno))));
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return base::fail(unavailable("the file cannot be looked at"));
  if (!S_ISREG(status.st_mode)) return base::fail(unavailable("it is not a regular file"));
  if (status.st_uid != 0 && status.st_uid != user_) {
    return base::fail(unavailable("the file's owner is neither root nor the user that runs cleanroom"));
  }
  if ((status.st_mode & (S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
    return base::fail(unavailable("others may read the file or its group may write it").with_hint("chmod g-w,o-rw"));
  }
  auto text = base::read_secret(*fd, "file", kMaxSourceBytes);
  if (!text)
    return base::fail(unavailable(fmt::format("the file cannot be read, or is longer than {} bytes", kMaxSourceBytes)));
  return Token{{}, copy_of(without_line_end(text->reveal())), std::nullopt};
}

Result<Secret> Sources::run(std::vector<std::string> argv, std::vector<std::string> extra_environment,
                            std::string_view input) const {
  base::SpawnOptions options{.argv = std::move(argv), .working_directory = "/"};
  options.environment = {"PATH=" + program_path_, "HOME=" + home_.string(), "LANG=C.UTF-8"};
  for (auto& entry : extra_environment)
    options.environment.push_back(std::move(entry));
  auto done = base::run_for_secret(std::move(options), input, base::deadline_in(time_limit_), kMaxSourceBytes);
  if (!done && done.error().code == Code::timeout) {
    return base::fail(unavailable(fmt::format("its program still ran after {} ms", time_limit_.count())));
  }
  if (!done && done.error().code == Code::invalid_input) {
    return base::fail(unavailable(fmt::format("its program printed more than {} bytes", kMaxSourceBytes)));
  }
  if (!done) {
    const int number = done.error().os_errno;
    return base::fail(unavailable(
        fmt::format("its program cannot be run: {}", number != 0 ? ::strerror(number) : "it is not there")));
  }
  // What it says on stderr is not shown: it may quote the credential.
  if (!done->status.success()) {
    return base::fail(unavailable("its program ended with " + base::to_string(done->status)));
  }
  return std::move(done->output);
}

Result<Sources::Token> Sources::run_command(const Source& source) const {
  CR_ASSIGN(const auto output, run(source.command, {}, ""));
  return Token{{}, copy_of(without_line_end(output.reveal())), std::nullopt};
}

Result<Sources::Token> Sources::ask_git(const Binding& binding) const {
  const auto git = base::find_program("git", program_path_);
  if (!git) return base::fail(unavailable("there is no git on this host"));
  // The operator's host and path, never the request's: helpers have been tricked by what they are asked for.
  std::string input = "protocol=https\nhost=" + binding.host.text();
  if (binding.port != 443) input = "protocol=https\nhost=" + binding.host.with_port(binding.port);
  if (binding.paths.size() == 1 && binding.paths.front().find('*') == std::string::npos) {
    input += "\npath=" + binding.paths.front();
  }
  // Nobody is there to be asked.
  CR_ASSIGN(const auto output, run({git->string(), "credential", "fill"},
                                   {"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false"}, input + "\n\n"));
  return Token{copy_of(git_value(output.reveal(), "username")), copy_of(git_value(output.reveal(), "password")),
               git_validity(git_value(output.reveal(), "password_expiry_utc"))};
}

Result<Sources::Token> Sources::ask_agent(const Source& source) const {
  std::vector<std::string> environment;
  for (const char* name : kAgentVariables) {
    const auto found = variables_.find(name);
    if (found != variables_.end()) environment.push_back(fmt::format("{}={}", name, found->second.reveal()));
  }
  if (variables_.count("BUILDKITE_AGENT_ACCESS_TOKEN") == 0 || variables_.count("BUILDKITE_JOB_ID") == 0) {
    return base::fail(unavailable("Buildkite secrets exist only within a job of Buildkite"));
  }
  const auto agent = base::find_program("buildkite-agent", program_path_);
  if (!agent) return base::fail(unavailable("there is no buildkite-agent on this host"));
  std::vector<std::string> argv = {agent->string(), "secret", "get"};
  // It refuses to print what it cannot have redacted. We print nothing of it.
  if (variables_.count("BUILDKITE_AGENT_JOB_API_SOCKET") == 0) argv.emplace_back("--skip-redaction");
  argv.push_back(source.name);
  CR_ASSIGN(const auto output, run(std::move(argv), std::move(environment), ""));
  return Token{{}, copy_of(without_line_end(output.reveal())), std::nullopt};
}

}  // namespace cleanroom::credentials
