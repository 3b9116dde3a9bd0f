#pragma once
// The files of an image store, for the parts of ImageStore.
#include "src/base/os/result.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace cleanroom::image {

inline constexpr const char* kRootfs = "rootfs.ext4";
inline constexpr const char* kRecord = "image.json";
inline constexpr const char* kLayers = "layers";

// Directories of builds under way or killed, and of entries on their way out.
inline std::string build_prefix(const std::string& hex) {
  return ".build-" + hex + "-";
}
inline std::string removed_prefix(const std::string& hex) {
  return ".removed-" + hex + "-";
}

// Removes what starts with `prefix`, `except` apart; what cannot be removed stays for the next sweep.
void sweep(const std::filesystem::path& root, const std::string& prefix, const std::filesystem::path& except = {});
// Removes what killed builds and removals left that is older than `age`, of digests that nobody builds now; how many.
std::size_t sweep_leftovers(const std::filesystem::path& root, std::chrono::seconds age, bool dry_run);
// Of the builds that were killed or failed, the one with the most finished layers for the next one; empty: none has
// any.
std::filesystem::path most_finished(const std::filesystem::path& root, const std::string& prefix);
std::uint64_t disk_bytes_of(const std::filesystem::path& entry);
std::chrono::system_clock::time_point last_use_of(const std::filesystem::path& entry);

}  // namespace cleanroom::image
