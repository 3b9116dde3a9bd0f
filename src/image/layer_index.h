#pragma once
// LayerIndex: what one layer of an image put into that image's file, so that another image with the same layer takes it
// from there instead of fetching and unpacking it again. A file of ours beside rootfs.ext4: the members in their order,
// and where their bytes stand, relative to the range of blocks that the layer's data fills. It ends with a SHA-256 over
// itself.
#include "src/base/net/sha256.h"
#include "src/base/os/fd.h"
#include "src/image/ext4_extents.h"
#include "src/image/tar_reader.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace cleanroom::image {

class LayerIndexWriter {
 public:
  // Makes the file. What is wrong with the disk shows at close().
  static base::Result<LayerIndexWriter> create(const std::filesystem::path& path);
  // `runs`: of the member's content, physical blocks relative to the layer's range.
  base::Result<void> add(const TarMember& member, const std::vector<Run>& runs);
  // `data`: the layer's range in its image; `checksum`: of the blocks in it.
  base::Result<void> close(BlockRange data, std::uint64_t checksum);

 private:
  explicit LayerIndexWriter(base::Fd file) : file_(std::move(file)) {}
  base::Result<void> flush();
  base::Fd file_;
  std::string pending_;
  std::string last_name_;
  base::Sha256 hash_;
};

class LayerIndexReader {
 public:
  // Reads all of it once to check it. image_invalid: damaged, or not such a file.
  static base::Result<LayerIndexReader> open(base::Fd file);
  BlockRange data() const { return data_; }
  std::uint64_t checksum() const { return checksum_; }
  // Whether `image` still has the bytes that were verified when the index was made: against bits that rot, not against
  // somebody who writes in the store. Reads the range.
  bool matches(const base::Fd& image) const;
  // False at the end.
  base::Result<bool> next(TarMember& member, std::vector<Run>& runs);

 private:
  LayerIndexReader(base::Fd file, std::uint64_t size) : file_(std::move(file)), left_(size) {}
  base::Result<void> fill();
  base::Result<std::uint64_t> number();
  base::Result<std::string> text();
  base::Result<void> bytes(char* into, std::size_t size);

  base::Fd file_;
  std::uint64_t left_;  // bytes of members not yet in buffer_
  std::uint64_t at_ = 0;
  std::string buffer_;
  std::size_t used_ = 0;
  std::string last_name_;
  BlockRange data_;
  std::uint64_t checksum_ = 0;
};

}  // namespace cleanroom::image
