#include "src/base/os/secret.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cleanroom::base {

void wipe(std::string& text) noexcept {
  ::explicit_bzero(text.data(), text.capacity());
  text.clear();
}

Secret::Secret(std::string&& text) : bytes_(std::make_unique<char[]>(text.size())), size_(text.size()) {
  std::copy(text.begin(), text.end(), bytes_.get());
  base::wipe(text);
}

Secret::Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  bytes_ = std::move(other.bytes_);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

Secret::~Secret() {
  wipe();
}

Secret Secret::clone() const {
  return Secret(std::string(reveal()));
}

void Secret::wipe() noexcept {
  if (bytes_) ::explicit_bzero(bytes_.get(), size_);
  bytes_.reset();
  size_ = 0;
}

}  // namespace cleanroom::base
