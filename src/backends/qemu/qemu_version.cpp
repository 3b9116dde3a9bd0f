#include "src/backends/qemu/qemu_version.h"

#include "src/base/os/process.h"

#include <charconv>

namespace cleanroom::backends::qemu {

using base::Result;

namespace {

constexpr std::chrono::seconds kLimit{10};
constexpr std::string_view kMark = "QEMU emulator version ";

}  // namespace

std::string to_string(const QemuVersion& version) {
  return fmt::format("{}.{}.{}", version.major, version.minor, version.micro);
}

std::optional<QemuVersion> parse_qemu_version(std::string_view text) {
  if (!text.starts_with(kMark)) return std::nullopt;
  QemuVersion version;
  const char* at = text.data() + kMark.size();
  const char* const end = text.data() + text.size();
  for (unsigned* part : {&version.major, &version.minor, &version.micro}) {
    const auto [after, error] = std::from_chars(at, end, *part);
    if (error != std::errc{}) return std::nullopt;
    at = after;
    if (part != &version.micro && (at == end || *at++ != '.')) return std::nullopt;
  }
  return version;
}

bool has_virtio_fix(const QemuVersion& version) {
  if (version.major == 7) return version >= QemuVersion{7, 2, 11};
  if (version.major == 8) return version >= QemuVersion{8, 2, 3};
  return version.major >= 9;
}

Result<QemuVersion> ask_qemu_version(const std::filesystem::path& qemu) {
  base::SpawnOptions options{.argv = {qemu, "--version"}};
  CR_ASSIGN(const auto completed, base::run_process(std::move(options), base::deadline_in(kLimit)));
  const auto version = parse_qemu_version(completed.output);
  if (!completed.status.success() || !version) {
    return base::fail(base::Code::unavailable, fmt::format("cannot ask '{}' for its version: {}", qemu.native(),
                                                           base::to_string(completed.status)));
  }
  return *version;
}

}  // namespace cleanroom::backends::qemu
