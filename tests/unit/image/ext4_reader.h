#pragma once
// Reads an ext4 image back with libext2fs, as a judge that shares no code with the writer.
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace cleanroom::image::testing {

struct ReadEntry {
  std::uint32_t inode = 0;
  std::uint32_t mode = 0;  // with type bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t links = 0;
  std::int64_t mtime = 0;
  std::uint32_t mtime_ns = 0;
  std::uint64_t size = 0;
  std::uint64_t sectors = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::string target;
  std::string content_sha256;
  std::map<std::string, std::string> xattrs;
};

// Every path ("" is the root). Throws std::runtime_error: this is test code.
std::map<std::string, ReadEntry> read_ext4(const std::filesystem::path& image);
std::string read_ext4_file(const std::filesystem::path& image, const std::string& path);

}  // namespace cleanroom::image::testing
