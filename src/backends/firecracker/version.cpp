#include "src/backends/firecracker/version.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"
#include "src/base/text/utf8.h"

#include <sys/stat.h>

#include <charconv>
#include <chrono>

namespace cleanroom::backends::firecracker {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxOutput = 4096;
constexpr std::size_t kMaxVersionText = 32;
constexpr std::chrono::seconds kAskLimit{10};
constexpr std::string_view kMark = "Firecracker v";

// A decimal number at the start of `text`, which loses it.
bool take_number(std::string_view& text, std::uint32_t& into) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), into);
  if (ec != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}
bool take_dot(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

std::string key_of(const std::filesystem::path& binary) {
  struct stat program {};
  if (::stat(binary.c_str(), &program) != 0) return {};
  return fmt::format("firecracker-{:x}-{:x}-{:x}-{:x}", program.st_dev, program.st_ino, program.st_size,
                     program.st_mtim.tv_sec);
}

base::Error cannot_use(const std::filesystem::path& binary, std::string_view cause) {
  return base::Error(Code::failed_precondition, "vmm_unavailable",
                     fmt::format("cannot use Firecracker '{}': {}", binary.native(), cause))
      .with_hint("install Firecracker 1.14.4, 1.15.1 or newer, or set backends.firecracker.binary_path in config.yaml");
}

Result<std::string> ask(const std::filesystem::path& binary) {
  base::SpawnOptions options;
  options.argv = {binary.native(), "--version"};
  auto completed = base::run_process(std::move(options), base::deadline_in(kAskLimit), kMaxOutput);
  if (!completed) return base::fail(cannot_use(binary, completed.error().message));
  if (!completed->status.success())
    return base::fail(cannot_use(binary, "--version: " + base::to_string(completed->status)));
  return std::move(completed->output);
}

}  // namespace

Result<Version> parse_version(std::string_view output) {
  const auto invalid = [&output] {
    return base::fail(Code::invalid_input, fmt::format("'{}' is no version of Firecracker",
                                                       base::escape_for_display(output.substr(0, kMaxVersionText))));
  };
  if (!output.starts_with(kMark)) return invalid();
  std::string_view rest = output.substr(kMark.size());
  rest = rest.substr(0, rest.find_first_of(" \t\r\n"));
  Version version{.text = std::string(rest)};
  const bool is_version = take_number(rest, version.major) && take_dot(rest) && take_number(rest, version.minor) &&
                          take_dot(rest) && take_number(rest, version.patch);
  // A pre-release of the floor itself is not told apart: its numbers count.
  if (!is_version || !(rest.empty() || rest.starts_with('-') || rest.starts_with('+'))) return invalid();
  if (version.text.size() > kMaxVersionText) return invalid();
  version.text = base::escape_for_display(version.text);
  return version;
}

Result<void> check_version(const Version& version) {
  const auto numbers = std::tuple(version.major, version.minor, version.patch);
  const bool fits = version.major == 1 && version.minor == 14 ? version.patch >= 4 : numbers >= std::tuple(1U, 15U, 1U);
  if (fits) return {};
  return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable",
                                fmt::format("Firecracker {} has known holes (CVE-2026-5747)", version.text))
                        .with_hint("install Firecracker 1.14.4, 1.15.1 or newer"));
}

Result<Version> program_version(const std::filesystem::path& binary, const std::filesystem::path& cache_directory) {
  const std::string key = cache_directory.empty() ? std::string{} : key_of(binary);
  if (!key.empty()) {
    const auto kept = base::read_file(cache_directory / key, kMaxOutput);
    if (kept) {
      if (auto version = parse_version(*kept)) return version;
    }
  }
  CR_ASSIGN(const auto output, ask(binary));
  auto version = parse_version(output);
  if (!version) return base::fail(cannot_use(binary, version.error().message));
  // A cache that cannot be written just saves no time.
  if (!key.empty() && base::make_private_directories(cache_directory))
    (void)base::write_file_atomically(cache_directory / key, output);
  return version;
}

}  // namespace cleanroom::backends::firecracker
