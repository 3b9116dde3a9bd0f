#pragma once
// Stands in for src/image/ext4_writer.cpp when a target links recorder.cpp: an Ext4Writer that remembers the entries it
// is given and holds them against its contract, so that a tree can be judged without a file system being written.
#include "src/image/ext4_writer.h"

#include <string>
#include <vector>

namespace cleanroom::fuzz {

struct RecordedEntry {
  image::TreeEntry entry;
  std::uint32_t inode = 0;  // that of the first name, for a hardlink
  image::FileData data;     // first_block: 1 + index into Recording::contents
};

// Of the Ext4Writer that was created last.
struct Recording {
  std::vector<RecordedEntry> entries;
  std::vector<std::string> contents;
  std::vector<bool> discarded;  // of each content; a content that is discarded twice ends the process
};

Recording& recording();
// Ends the process when an entry's path leads anywhere but below the root, comes before its directory or comes twice.
void check_paths(const std::vector<RecordedEntry>& entries);

}  // namespace cleanroom::fuzz
