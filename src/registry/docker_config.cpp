#include "src/registry/docker_config.h"

#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/base/os/secret_io.h"
#include "src/credentials/sources.h"
#include "src/model/image_reference.h"
#include "src/policy/operator_config.h"
#include "src/registry/docker_auths.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace cleanroom::registry {
namespace {

namespace fs = std::filesystem;
using base::Code;
using base::Result;
using base::Secret;

constexpr std::string_view kNotFound = "credentials not found in native keychain";  // docker-credential-helpers
constexpr const char* kDockerHubServer = "https://index.docker.io/v1/";

base::Error unavailable(std::string_view what, std::string_view cause) {
  return {Code::failed_precondition, "credential_unavailable", fmt::format("cannot use {}: {}", what, cause)};
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct ReadFile {
  Secret text;
  bool everybody_reads = false;
};

// nullopt: there is none.
Result<std::optional<ReadFile>> read_config(const fs::path& path, const std::string& shown, uid_t user) {
  // O_NONBLOCK: a FIFO would hang the thread.
  const auto fd = base::open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd && (fd.error().os_errno == ENOENT || fd.error().os_errno == ENOTDIR)) return std::optional<ReadFile>();
  if (!fd) return base::fail(unavailable(shown, std::string(::strerror(fd.error().os_errno))));
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return base::fail(unavailable(shown, "it cannot be looked at"));
  if (!S_ISREG(status.st_mode)) return base::fail(unavailable(shown, "it is not a regular file"));
  if (status.st_uid != 0 && status.st_uid != user) {
    return base::fail(unavailable(shown, "its owner is neither root nor the user that runs cleanroom"));
  }
  // It names programs that we run.
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return base::fail(unavailable(shown, "its group or everyone may write it").with_hint("chmod go-w"));
  }
  auto text = base::read_secret(*fd, "file", kMaxDockerConfigBytes);
  if (!text && text.error().code == Code::invalid_input) {
    return base::fail(unavailable(shown, fmt::format("it is longer than {} bytes", kMaxDockerConfigBytes)));
  }
  if (!text) return base::fail(unavailable(shown, "it cannot be read"));
  return std::optional(ReadFile{std::move(*text), (status.st_mode & S_IROTH) != 0});
}

bool is_helper_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return base::is_ascii_alnum(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string_view trimmed(std::string_view text) {
  const auto end = text.find_last_not_of(" \t\r\n");
  return end == std::string_view::npos ? std::string_view{} : text.substr(0, end + 1);
}

// nullopt: it says that it has none. What it says else is not shown: it may quote the credential.
Result<std::optional<Login>> ask_helper(const DockerConfigOptions& options, const std::string& name,
                                        const std::string& registry) {
  if (!is_helper_name(name)) return base::fail(unavailable("Docker's credential helper", "its name is not one"));
  const auto program = "docker-credential-" + name;
  const auto path = base::find_program(program, options.program_path);
  if (!path) return base::fail(unavailable(program, "it is not in PATH"));
  base::SpawnOptions spawn{
      .argv = {path->string(), "get"}, .environment = options.environment, .working_directory = "/"};
  const std::string server = registry == model::kDockerHub ? kDockerHubServer : registry;
  const auto done =
      base::run_for_secret(std::move(spawn), server, base::deadline_in(options.time_limit), kMaxHelperOutputBytes);
  if (!done && done.error().code == Code::timeout) {
    return base::fail(unavailable(program, fmt::format("it still ran after {} ms", options.time_limit.count())));
  }
  if (!done && done.error().code == Code::invalid_input) {
    return base::fail(unavailable(program, fmt::format("it printed more than {} bytes", kMaxHelperOutputBytes)));
  }
  if (!done) return base::fail(unavailable(program, "it cannot be run"));
  if (!done->status.success()) {
    if (trimmed(done->output.reveal()) == kNotFound) return std::optional<Login>();
    return base::fail(unavailable(program, "it ended with " + base::to_string(done->status)));
  }
  const auto answer = SecretJson::parse(trimmed(done->output.reveal()), kMaxHelperOutputBytes);
  if (!answer) return base::fail(unavailable(program, "its answer is not JSON as it should be"));
  const auto user = answer->text(answer->root(), "Username");
  const auto secret = answer->text(answer->root(), "Secret");
  if (!answer->root().is_object() || !user || !secret) {
    return base::fail(unavailable(program, "its answer is not JSON as it should be"));
  }
  auto login = login_of_pair(user->reveal(), secret->reveal());
  if (!login) return base::fail(unavailable(program, "its user name or secret is too long or cannot be sent"));
  if (*login) (*login)->from = program;
  return login;
}

Result<std::optional<Login>> find_in(const DockerConfigOptions& options, const fs::path& path,
                                     const std::string& registry, const std::string& repository) {
  const auto shown = fmt::format("'{}'", path.string());
  CR_ASSIGN(const auto file, read_config(path, shown, options.user));
  if (!file) return std::optional<Login>();
  const auto auths = DockerAuths::parse(file->text.reveal(), kMaxDockerConfigBytes);
  if (!auths) return base::fail(unavailable(shown, auths.error().message));
  const auto match = auths->match(registry, repository);
  if (!match.helper.empty() && !match.entry_is_more_specific) {
    auto login = ask_helper(options, match.helper, registry);
    // A store that does not work is nobody's fault where nothing says that it has this registry's login: most images of
    // a registry that wants a token are public.
    if (login ? login->has_value() : match.listed) return login;
  }
  if (match.entry == nullptr) return std::optional<Login>();
  auto login = auths->login_of(*match.entry);
  if (!login) return base::fail(unavailable(shown, login.error().message));
  if (!*login) return login;
  if (file->everybody_reads) {
    return base::fail(unavailable(shown, "it has a login, and everyone may read it").with_hint("chmod 600"));
  }
  (*login)->from = path.string();
  return login;
}

}  // namespace

DockerConfigOptions DockerConfigOptions::from_process(const credentials::JobIdentity& job) {
  DockerConfigOptions options{.user = ::geteuid(), .fork = job.fork};
  const auto home = policy::operator_home();
  const bool buildkite = !job.pipeline.empty();
  const auto add = [&](const fs::path& directory, const char* name) {
    if (directory.is_absolute()) options.files.push_back(directory / name);
  };
  if (buildkite) {
    options.program_path = credentials::operator_program_path();
    options.environment = {"PATH=" + options.program_path, "HOME=" + home.string(), "LANG=C.UTF-8"};
    add(home, ".docker/config.json");
    return options;
  }
  options.program_path = variable("PATH");
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry)
    options.environment.emplace_back(*entry);
  if (const fs::path chosen = variable("REGISTRY_AUTH_FILE"); chosen.is_absolute()) options.files.push_back(chosen);
  const auto docker = variable("DOCKER_CONFIG");
  add(docker.empty() ? home / ".docker" : fs::path(docker), "config.json");
  add(variable("XDG_RUNTIME_DIR"), "containers/auth.json");
  return options;
}

Result<std::optional<Login>> DockerConfigLogins::find(const std::string& registry, const std::string& repository) {
  if (options_.fork) return std::optional<Login>();
  for (const auto& path : options_.files) {
    auto login = find_in(options_, path, registry, repository);
    if (!login || *login) return login;
  }
  return std::optional<Login>();
}

std::string DockerConfigLogins::withheld(const std::string&, const std::string&) const {
  return options_.fork ? "builds of forks get no login of Docker's files" : "";
}

}  // namespace cleanroom::registry
