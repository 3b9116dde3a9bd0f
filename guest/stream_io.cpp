#include "guest/stream_io.h"

#include <algorithm>
#include <cerrno>

namespace cleanroom::guest {

bool StreamWriter::push(std::vector<std::byte> bytes) {
  waiting_ = std::move(bytes);
  return push_more();
}

bool StreamWriter::push_more() {
  const std::size_t taken = session_.write(stream_, waiting_);
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  return waiting_.empty();
}

void StreamToFd::open(base::Fd fd) {
  fd_ = std::move(fd);
  loop_.watch(fd_.get(), 0, [this](std::uint32_t) { write_some(); });
}

void StreamToFd::push(std::span<const std::byte> bytes) {
  if (!fd_) return session_.consumed(stream_, bytes.size());
  waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
  unconsumed_ += bytes.size();
  write_some();
}

void StreamToFd::end(std::vector<std::byte> last) {
  ended_ = true;
  if (!fd_) return;
  waiting_.insert(waiting_.end(), last.begin(), last.end());
  write_some();
}

void StreamToFd::write_some() {
  while (!waiting_.empty()) {
    const ssize_t n = ::write(fd_.get(), waiting_.data(), waiting_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return loop_.change(fd_.get(), EPOLLOUT);
    if (n <= 0) return close();  // its reader is gone
    const auto size = static_cast<std::size_t>(n);
    waiting_.erase(waiting_.begin(), waiting_.begin() + n);
    const std::size_t counted = std::min(size, unconsumed_);
    unconsumed_ -= counted;
    session_.consumed(stream_, counted);
  }
  loop_.change(fd_.get(), 0);
  if (ended_) close();
}

void StreamToFd::close() {
  if (!fd_) return;
  loop_.forget(fd_.get());
  fd_.reset();
  waiting_.clear();
  session_.consumed(stream_, std::exchange(unconsumed_, 0));
}

}  // namespace cleanroom::guest
