#include "src/policy/operator_file.h"

#include "src/base/os/io.h"
#include "src/base/text/yaml.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace cleanroom::policy {
namespace {

constexpr std::size_t kMaxOperatorFileBytes = 256 * 1024;
constexpr std::array kFileNames = {"config.yaml", "ceiling.yaml", "credentials.yaml"};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// From the user database; empty when the user has no entry.
std::string database_home(uid_t user) {
  std::array<char, 16384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return "";
  return found->pw_dir;
}

bool under_buildkite() {
  return variable("BUILDKITE") == "true";
}

base::Error insecure(const std::filesystem::path& path, std::string_view why, std::string hint) {
  return base::Error(base::Code::policy_denied, "config_insecure",
                     fmt::format("cannot trust {}: {}", base::quote_text(path.string(), 500), why))
      .with_hint(std::move(hint));
}

base::Error unusable_file(std::string message) {
  return {base::Code::invalid_input, "config_invalid", std::move(message)};
}

base::Result<void> check_owner(const std::filesystem::path& path, const struct stat& status, uid_t user) {
  if (status.st_uid != 0 && status.st_uid != user) {
    return base::fail(insecure(path, fmt::format("its owner is user {}", status.st_uid),
                               fmt::format("chown it to root or to the user that runs cleanroom ({})", user)));
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return base::fail(insecure(path, "its group or everyone may write it", "chmod go-w"));
  }
  return {};
}

bool is_below(const std::filesystem::path& path, const std::filesystem::path& root) {
  const auto [end, unused] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

base::Result<void> check_place(const std::filesystem::path& file, const OperatorPaths& paths) {
  std::error_code failure;
  const auto real = std::filesystem::canonical(file, failure);
  if (failure)
    return base::fail(unusable_file(fmt::format("cannot resolve '{}': {}", file.string(), failure.message())));
  for (const auto& root : paths.untrusted_roots) {
    const auto real_root = std::filesystem::canonical(root, failure);
    if (!failure && is_below(real, real_root)) {
      return base::fail(insecure(file, fmt::format("it is below '{}', where a build may write", root.string()),
                                 "keep operator files in /etc/cleanroom"));
    }
  }
  for (const auto& directory : {file.parent_path(), real.parent_path()}) {
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) return base::fail(base::errno_error("stat", directory.string()));
    CR_TRY(check_owner(directory, status, paths.user));
  }
  return {};
}

// Without O_NONBLOCK a FIFO would hang the caller.
base::Result<base::Fd> open_without_waiting(const std::filesystem::path& path) {
  return base::open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

base::Result<std::string> read_trusted(const base::Fd& fd, const std::filesystem::path& path,
                                       const OperatorPaths& paths, std::size_t max_bytes) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return base::fail(base::errno_error("stat", path.string()));
  if (!S_ISREG(status.st_mode))
    return base::fail(unusable_file(fmt::format("'{}' is not a regular file", path.string())));
  CR_TRY(check_owner(path, status, paths.user));
  CR_TRY(check_place(path, paths));
  auto text = base::read_all(fd, path.string(), max_bytes);
  if (!text) return base::fail(unusable_file(text.error().message));
  return text;
}

}  // namespace

std::filesystem::path operator_home() {
  const auto home = variable("HOME");
  return under_buildkite() || home.empty() ? database_home(::geteuid()) : home;
}

OperatorPaths OperatorPaths::from_environment() {
  OperatorPaths paths;
  paths.user = ::geteuid();
  const bool buildkite = under_buildkite();
  if (const auto chosen = variable("CLEANROOM_CONFIG_DIR"); !chosen.empty()) {
    paths.directories = {chosen};
    paths.from_variable = true;
  } else {
    paths.directories = {"/etc/cleanroom"};
    const auto xdg = buildkite ? std::string() : variable("XDG_CONFIG_HOME");
    const auto home = operator_home().string();
    // XDG base directory specification: a relative path is invalid and ignored.
    if (!xdg.empty() && xdg.front() == '/') {
      paths.directories.push_back(std::filesystem::path(xdg) / "cleanroom");
    } else if (!home.empty()) {
      paths.directories.push_back(std::filesystem::path(home) / ".config" / "cleanroom");
    }
  }
  if (!buildkite) return paths;
  for (const char* name : {"BUILDKITE_BUILD_CHECKOUT_PATH", "BUILDKITE_BUILD_PATH", "BUILDKITE_PLUGINS_PATH"}) {
    if (auto value = variable(name); !value.empty()) paths.untrusted_roots.emplace_back(std::move(value));
  }
  std::error_code failure;
  if (auto here = std::filesystem::current_path(failure); !failure && here != "/") {
    paths.untrusted_roots.push_back(std::move(here));
  }
  return paths;
}

base::Result<std::optional<OperatorFile>> read_operator_file(const OperatorPaths& paths, const std::string& name) {
  if (paths.from_variable) {
    const auto& chosen = paths.directories.front();
    const auto exists = [&](const char* file) { return ::access((chosen / file).c_str(), F_OK) == 0; };
    if (!chosen.is_absolute() || !std::any_of(kFileNames.begin(), kFileNames.end(), exists)) {
      return base::fail(unusable_file(
          fmt::format("cannot use CLEANROOM_CONFIG_DIR '{}': it is not an absolute path of a directory with {}",
                      chosen.string(), fmt::join(kFileNames, " or "))));
    }
  }
  for (const auto& directory : paths.directories) {
    const auto path = directory / name;
    auto fd = open_without_waiting(path);
    if (!fd && (fd.error().os_errno == ENOENT || fd.error().os_errno == ENOTDIR)) continue;
    // One that cannot be read is not one that is not there: the ceiling may be in it.
    if (!fd) return base::fail(unusable_file(fd.error().message));
    CR_ASSIGN(auto text, read_trusted(*fd, path, paths, kMaxOperatorFileBytes));
    return OperatorFile{path, std::move(text)};
  }
  return std::nullopt;
}

base::Result<std::string> read_trusted_file(const std::filesystem::path& path, const OperatorPaths& paths,
                                            std::size_t max_bytes) {
  auto fd = open_without_waiting(path);
  if (!fd) return base::fail(unusable_file(fd.error().message));
  return read_trusted(*fd, path, paths, max_bytes);
}

base::Result<std::optional<OperatorDocument>> check_operator_file(const OperatorPaths& paths, const std::string& name,
                                                                  const base::Schema& schema,
                                                                  base::Diagnostics& diagnostics) {
  CR_ASSIGN(auto file, read_operator_file(paths, name));
  if (!file) return std::nullopt;
  diagnostics.set_file(file->path.string());
  OperatorDocument out{file->path, {}};
  const auto root = base::parse_yaml(file->text, diagnostics, {.max_bytes = kMaxOperatorFileBytes});
  if (root) out.document = base::check_schema(*root, schema, diagnostics);
  return out;
}

base::Error operator_file_error(const std::filesystem::path& path, const base::Diagnostics& diagnostics) {
  return base::Error(base::Code::invalid_input, "config_invalid",
                     fmt::format("cannot use '{}': {} error{}\n{}", path.string(), diagnostics.error_count(),
                                 diagnostics.error_count() == 1 ? "" : "s", fmt::join(diagnostics.lines(), "\n")))
      .with_hint("docs/policy-reference.md lists the keys");
}

}  // namespace cleanroom::policy
