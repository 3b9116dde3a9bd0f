#pragma once
// Which QEMU is it, and is it one that may face a hostile guest?
#include "src/base/os/result.h"

#include <compare>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::backends::qemu {

struct QemuVersion {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned micro = 0;
  auto operator<=>(const QemuVersion&) const = default;
};
std::string to_string(const QemuVersion& version);

// Out of the first line of `qemu-system-x86_64 --version`: "QEMU emulator version 7.2.22 (Debian ...)".
std::optional<QemuVersion> parse_qemu_version(std::string_view text);

// Without the fix of CVE-2024-3446 a guest can write beyond virtio-serial's memory in QEMU. It came with 7.2.11, 8.2.3
// and 9.0; what else a distribution has patched cannot be seen.
bool has_virtio_fix(const QemuVersion& version);

// Runs the program with --version; blocks for some 30 ms. unavailable: it does not run, or says something else.
base::Result<QemuVersion> ask_qemu_version(const std::filesystem::path& qemu);

}  // namespace cleanroom::backends::qemu
