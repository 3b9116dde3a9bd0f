#include "src/policy/load.h"

#include "src/base/os/io.h"
#include "src/base/text/yaml.h"
#include "src/policy/compile.h"
#include "src/policy/policy_schema.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

namespace cleanroom::policy {
namespace {

constexpr std::string_view kPolicyInvalid = "policy_invalid";
constexpr const char* kFileName = "cleanroom.yaml";
constexpr const char* kDirectoryName = ".buildkite";

enum class Links { follow, refuse };

base::Error unreadable(std::string_view name, std::string_view why) {
  return {base::Code::invalid_input, std::string(kPolicyInvalid),
          fmt::format("cannot read policy {}: {}", base::quote_text(name, 500), why)};
}

base::Error missing(std::string_view name) {
  return base::Error(base::Code::invalid_input, "policy_missing",
                     fmt::format("cannot read policy {}: no such file", base::quote_text(name, 500)))
      .with_hint("write a cleanroom.yaml (docs/policy-reference.md), or name one with --policy");
}

// nullopt: there is no such file. Never blocks: a FIFO is opened without waiting and then refused.
base::Result<std::optional<base::Fd>> open_policy(const base::Fd& directory, const std::string& name,
                                                  std::string_view shown, Links links) {
  const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | (links == Links::refuse ? O_NOFOLLOW : 0);
  auto fd = base::open_at(directory, name, flags);
  if (!fd) {
    const int error_number = fd.error().os_errno;
    if (error_number == ENOENT || error_number == ENOTDIR) return std::nullopt;
    if (error_number == ELOOP) return base::fail(unreadable(shown, "it is a symbolic link"));
    return base::fail(unreadable(shown, fmt::format("{}", base::errno_error("open", shown, error_number).message)));
  }
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return base::fail(base::errno_error("stat", shown));
  if (!S_ISREG(status.st_mode)) return base::fail(unreadable(shown, "it is not a regular file"));
  return std::optional(std::move(*fd));
}

base::Result<LoadedPolicy> load_open_file(const base::Fd& fd, const std::filesystem::path& path,
                                          base::Diagnostics* diagnostics, std::string shadowed) {
  base::Diagnostics local(path.string(), std::string(kPolicyInvalid));
  base::Diagnostics& report = diagnostics != nullptr ? *diagnostics : local;
  report.set_file(path.string());
  if (!shadowed.empty()) report.warning({}, {}, fmt::format("'{}' is there too and does not count", shadowed));
  auto text = base::read_all(fd, path.string(), kMaxPolicyBytes);
  if (!text) {
    // Of a regular file nothing but its length makes this invalid_input.
    const bool too_long = text.error().code == base::Code::invalid_input;
    const std::string why =
        too_long ? fmt::format("the file is longer than {} bytes", kMaxPolicyBytes) : text.error().message;
    report.error({}, {}, why);
    return base::fail(unreadable(path.string(), why));
  }
  auto loaded = load_policy_text(*text, path.string(), &report);
  if (loaded) loaded->file = path;
  return loaded;
}

}  // namespace

base::Result<LoadedPolicy> load_policy_text(std::string_view text, std::string_view name,
                                            base::Diagnostics* diagnostics) {
  base::Diagnostics local{std::string(name), std::string(kPolicyInvalid)};
  base::Diagnostics& report = diagnostics != nullptr ? *diagnostics : local;
  std::optional<CompiledPolicy> compiled;
  if (const auto root = base::parse_yaml(text, report, {.max_bytes = kMaxPolicyBytes})) {
    const auto document = base::check_schema(*root, policy_schema(), report);
    compiled = compile_policy(decode_policy_file(document), document, report);
  }
  if (compiled) return LoadedPolicy{std::string(name), std::move(*compiled), report};
  const std::size_t count = report.error_count();
  return base::fail(
      base::Error(base::Code::invalid_input, std::string(kPolicyInvalid),
                  fmt::format("cannot use policy {}: {} error{}\n{}", base::quote_text(name, 500), count,
                              count == 1 ? "" : "s", fmt::join(report.lines(), "\n")))
          .with_hint("docs/policy-reference.md lists the keys; 'cleanroom policy validate' checks a file"));
}

base::Result<LoadedPolicy> load_policy_file(const std::filesystem::path& file, base::Diagnostics* diagnostics) {
  // An absolute or working-directory-relative path: the directory descriptor plays no part in it.
  CR_ASSIGN(auto here, base::open_file(".", O_RDONLY | O_DIRECTORY));
  CR_ASSIGN(auto fd, open_policy(here, file.string(), file.string(), Links::follow));
  if (!fd) return base::fail(missing(file.string()));
  return load_open_file(*fd, file, diagnostics, {});
}

base::Result<LoadedPolicy> load_policy_from_checkout(const std::filesystem::path& checkout,
                                                     base::Diagnostics* diagnostics) {
  CR_ASSIGN(auto root, base::open_file(checkout, O_RDONLY | O_DIRECTORY));
  const auto root_path = (checkout / kFileName).lexically_normal();
  const auto nested_path = (checkout / kDirectoryName / kFileName).lexically_normal();
  CR_ASSIGN(auto in_root, open_policy(root, kFileName, root_path.string(), Links::refuse));

  std::optional<base::Fd> nested;
  auto directory = base::open_at(root, kDirectoryName, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (directory) {
    auto opened = open_policy(*directory, kFileName, nested_path.string(), Links::refuse);
    // Behind a root policy the second file plays no part, so neither does what is wrong with it.
    if (!opened && !in_root) return base::Failure(std::move(opened).error());
    if (opened) nested = std::move(*opened);
  } else if (directory.error().os_errno != ENOENT && !in_root) {
    return base::fail(unreadable(nested_path.string(), "'.buildkite' is not a directory that can be opened"));
  }
  if (in_root) return load_open_file(*in_root, root_path, diagnostics, nested ? nested_path.string() : "");
  if (nested) return load_open_file(*nested, nested_path, diagnostics, {});
  return base::fail(missing(root_path.string()));
}

}  // namespace cleanroom::policy
