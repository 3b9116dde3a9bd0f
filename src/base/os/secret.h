#pragma once
// Secret: text that must not be printed, logged or left in memory. Move-only, wiped when it goes; there is no way to
// format, stream, compare or copy it by accident. reveal() is the one way out: its callers are what a review looks at.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace cleanroom::base {

class Secret {
 public:
  Secret() = default;
  // Copies, and wipes `text`: the caller's buffer holds nothing afterwards.
  explicit Secret(std::string&& text);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  // Valid while this object lives and is not assigned to.
  std::string_view reveal() const { return {bytes_.get(), size_}; }
  // A second owner, said aloud.
  Secret clone() const;

 private:
  void wipe() noexcept;
  // Not std::string: its short form is copied on moves and would stay behind.
  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

// Overwrites the characters and clears; the compiler may not drop it.
void wipe(std::string& text) noexcept;

template <class Stream>
Stream& operator<<(Stream&, const Secret&) = delete;

}  // namespace cleanroom::base
