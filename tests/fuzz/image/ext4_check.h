#pragma once
// What e2fsck -fn says of an ext4 file system as to blocks, inodes and counts, in process and in a millisecond.
#include <filesystem>

namespace cleanroom::fuzz {

// Ends the process when two things use one block, when a bitmap, a count of a group or of the superblock, or a count of
// names does not agree with what the inodes and directories say, or when a checksum of a group is wrong.
void check_ext4(const std::filesystem::path& image);

}  // namespace cleanroom::fuzz
