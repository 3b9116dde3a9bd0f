#pragma once
// What the image tests share.
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"
#include "src/image/ext4_writer.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <chrono>
#include <cstring>
#include <string>

namespace cleanroom::image::testing {

class TextReader final : public ContentReader {
 public:
  explicit TextReader(std::string text) : text_(std::move(text)) {}
  base::Result<std::size_t> read(std::span<std::byte> into) override {
    const std::size_t n = std::min({into.size(), text_.size() - at_, std::size_t{70'001}});
    if (n > 0) std::memcpy(into.data(), text_.data() + at_, n);
    at_ += n;
    return n;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

inline base::TempDir temp_dir() {
  // Every stored image is synced; memory makes that cheap.
  auto made = base::TempDir::create(std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp", "cleanroom-image-");
  REQUIRE(made.has_value());
  return std::move(*made);
}

// What a Result's error says, for INFO.
template <class T>
std::string failure_of(const base::Result<T>& result) {
  return result ? std::string("ok") : result.error().describe() + " [" + result.error().reason + "]";
}

// Runs e2fsck -fn; its output is the message when it finds anything.
void check_clean(const std::filesystem::path& image);

}  // namespace cleanroom::image::testing
