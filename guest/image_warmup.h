#pragma once
// What nearly every command reads first is read before READY, so that a template has it in memory and commands do not
// wait for the image's disk: the user database, the shell, and what the shell is linked with.
//
// A convenience: whatever an image holds, the worst is that nothing is read ahead. Nothing of the image is run.
#include "src/base/os/fd.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::guest {

struct LinkedWith {
  std::string loader;                  // PT_INTERP
  std::vector<std::string> libraries;  // DT_NEEDED
};
// Of a 64-bit little-endian ELF program or library, of which `file` is the whole or the beginning (elf(5)). nullopt: it
// is none, is linked statically, or what it says is not in `file`.
std::optional<LinkedWith> read_linkage(std::span<const std::byte> file);

// `root` is the job's root. At most kMaxWarmBytes are read.
inline constexpr std::size_t kMaxWarmBytes = 16 << 20;
void warm_image(const base::Fd& root);

}  // namespace cleanroom::guest
