#pragma once
// What an image may cost at most. Beyond any of these: `image_limit`.
#include <cstddef>
#include <cstdint>

namespace cleanroom::image {

struct Limits {
  std::size_t layers = 256;
  std::size_t document_bytes = 4u << 20;  // one JSON document
  std::size_t entries = 1'000'000;        // tar members of all layers together
  std::size_t depth = 256;                // path components
  std::size_t path_bytes = 4096;
  std::size_t name_bytes = 255;                // one component
  std::size_t text_bytes = 96u << 20;          // names, link targets and attributes of all members together
  std::uint64_t expanded_bytes = 64ull << 30;  // decompressed layers together
  std::uint64_t ratio = 200;                   // decompressed : compressed of one layer, judged past ratio_grace_bytes
  std::uint64_t ratio_grace_bytes = 256ull << 20;
  std::uint64_t disk_reserve_bytes = 1ull << 30;  // stays free on the store's file system
};

}  // namespace cleanroom::image
