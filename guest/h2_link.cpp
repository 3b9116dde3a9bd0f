#include "guest/h2_link.h"

#include "src/base/os/io.h"

#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kLinkReadSize = 64 * 1024;
constexpr int kReadsPerTurn = 64;  // a virtio-serial port gives one page a read
constexpr std::size_t kOutSize = 128 * 1024;

}  // namespace

H2Link::H2Link(Loop& loop, base::Fd fd, channel::Role role, const channel::H2Limits& limits,
               channel::H2Session::Handler& handler, std::function<void(std::string)> on_lost)
    : loop_(loop), fd_(std::move(fd)), session_(role, limits, handler), on_lost_(std::move(on_lost)) {
  loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t events) { on_events(events); });
  loop_.after_each_turn([this] { flush(); });
}

H2Link::~H2Link() {
  if (!lost_) loop_.forget(fd_.get());
}

void H2Link::on_events(std::uint32_t events) {
  if ((events & EPOLLIN) != 0) read();
  if (!lost_ && (events & (EPOLLHUP | EPOLLERR)) != 0) lose("the host closed it");
}

void H2Link::read() {
  static std::byte buffer[kLinkReadSize];
  for (int i = 0; i < kReadsPerTurn && !lost_; ++i) {
    const ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return lose(n == 0 ? "the host closed it" : "read error");
    if (auto read = session_.receive({buffer, static_cast<std::size_t>(n)}); !read) return lose(read.error().message);
  }
}

void H2Link::flush() {
  if (lost_) return;
  for (;;) {
    if (!write_some() || lost_) return;
    out_.clear();
    sent_ = 0;
    if (auto pulled = session_.pull(out_, kOutSize); !pulled) return lose(pulled.error().message);
    if (out_.empty()) break;
  }
  loop_.change(fd_.get(), EPOLLIN);
  if (session_.is_finished()) lose("the HTTP/2 session ended");
}

bool H2Link::write_some() {
  while (sent_ < out_.size()) {
    const ssize_t n = ::write(fd_.get(), out_.data() + sent_, out_.size() - sent_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      loop_.change(fd_.get(), EPOLLIN | EPOLLOUT);
      return false;
    }
    if (n <= 0) {
      lose("write error");
      return false;
    }
    sent_ += static_cast<std::size_t>(n);
  }
  return true;
}

void H2Link::lose(std::string why) {
  if (std::exchange(lost_, true)) return;
  loop_.forget(fd_.get());
  on_lost_(std::move(why));
}

}  // namespace cleanroom::guest
