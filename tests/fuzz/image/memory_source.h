#pragma once
// Bytes in memory as the source of a tar or of a layer's blob, handed out in the pieces that `cut` says.
#include "src/image/tar_reader.h"
#include "tests/fuzz/support.h"

#include <cstring>
#include <random>

namespace cleanroom::fuzz {

class MemorySource final : public image::TarSource {
 public:
  // `bytes` is borrowed.
  MemorySource(std::string_view bytes, Cut cut)
      : left_(bytes),
        cut_(cut),
        random_(static_cast<unsigned>(std::hash<std::string_view>()(bytes))),
        longest_(random_() % 2 == 0 ? 40 : 4000) {}

  base::Result<std::size_t> read(std::span<std::byte> into) override {
    std::size_t size = std::min(left_.size(), into.size());
    if (cut_ == Cut::everywhere) size = std::min(size, 1 + left_.size() / kSlowAbove);
    if (cut_ == Cut::somewhere) size = std::min<std::size_t>(size, 1 + random_() % longest_);
    if (size > 0) std::memcpy(into.data(), left_.data(), size);
    left_.remove_prefix(size);
    return size;
  }

 private:
  std::string_view left_;
  Cut cut_;
  std::minstd_rand random_;
  std::size_t longest_;
};

// Errors reach terminals and logs: no control characters, whatever the bytes are that they speak of, and not without
// end.
inline void check_image_error(const base::Error& error) {
  FUZZ_CHECK(error.reason == "image_invalid" || error.reason == "image_limit");
  FUZZ_CHECK(error.message.size() < 2000);
  for (const char c : error.message)
    FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

}  // namespace cleanroom::fuzz
