#pragma once
// Decompressor: the bytes of a layer's tar out of the bytes of its blob, for each compression that OCI and Docker use.
// gzip by ISA-L (RFC 1952, concatenated members), zstd by libzstd (RFC 8878, concatenated and skippable frames).
//
// Verdicts where programs differ: what follows a gzip stream and is no gzip member is left alone; what follows a zstd
// frame and is no frame is refused, and so is a window above 128 MiB.
#include "src/base/os/result.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace cleanroom::image {

enum class Compression { none, gzip, zstd };
std::string_view to_string(Compression compression);

// By the magic numbers; what has none is taken to be uncompressed.
Compression compression_by_magic(std::span<const std::byte> start);

class Decompressor {
 public:
  struct Progress {
    std::size_t consumed = 0;  // of the input
    std::size_t produced = 0;  // of the output
    bool ended = false;        // nothing more comes, whatever follows in the input
  };

  static std::unique_ptr<Decompressor> create(Compression compression);
  virtual ~Decompressor() = default;
  // Goes as far as input and output allow; makes progress whenever both have at least 2 bytes. `last`: no input follows
  // this; a stream that stops short is then image_invalid, as is one that is damaged.
  virtual base::Result<Progress> run(std::span<const std::byte> input, std::span<std::byte> output, bool last) = 0;
};

}  // namespace cleanroom::image
