#pragma once
// Fd: the one owner of a file descriptor. Move-only; the destructor closes.
#include <unistd.h>

#include <utility>

namespace cleanroom::base {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int raw) : raw_(raw) {}
  Fd(Fd&& other) noexcept : raw_(std::exchange(other.raw_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      raw_ = std::exchange(other.raw_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return raw_; }
  bool valid() const { return raw_ >= 0; }
  explicit operator bool() const { return valid(); }
  int release() { return std::exchange(raw_, -1); }
  // Closes now. Errors of close() are lost on purpose: whoever needs them (files being written) syncs first.
  void reset() {
    if (raw_ >= 0) ::close(std::exchange(raw_, -1));
  }

 private:
  int raw_ = -1;
};

}  // namespace cleanroom::base
