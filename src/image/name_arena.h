#pragma once
// NameArena: keeps many short strings without an allocation for each. They stay where they are until the arena goes.
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace cleanroom::image {

class NameArena {
 public:
  // `text` is at most 64 KiB.
  const char* keep(std::string_view text) {
    if (text.size() > left_) {
      chunks_.push_back(std::make_unique<char[]>(kChunk));
      at_ = chunks_.back().get();
      left_ = kChunk;
    }
    char* const kept = at_;
    if (!text.empty()) std::memcpy(kept, text.data(), text.size());
    at_ += text.size();
    left_ -= text.size();
    return kept;
  }

 private:
  static constexpr std::size_t kChunk = 64u << 10;
  std::vector<std::unique_ptr<char[]>> chunks_;
  char* at_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace cleanroom::image
