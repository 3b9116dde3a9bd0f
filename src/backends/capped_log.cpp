#include "src/backends/capped_log.h"

#include "src/base/os/io.h"

#include <boost/asio/buffer.hpp>
#include <fcntl.h>

#include <algorithm>

namespace cleanroom::backends {

namespace asio = base::asio;

base::Result<std::shared_ptr<CappedLog>> CappedLog::create(const std::filesystem::path& file) {
  CR_ASSIGN(base::Fd fd, base::open_file(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  return std::shared_ptr<CappedLog>(new CappedLog(std::move(fd)));
}

void CappedLog::append(std::string_view text) {
  const auto room = kMaxConsoleFile - std::min(kMaxConsoleFile, written_);
  if (room > 0) {
    // A full disk must not end the job over its console.
    (void)base::write_all(file_, text.substr(0, room));
    written_ += std::min(room, text.size());
    if (written_ == kMaxConsoleFile) (void)base::write_all(file_, "\n[the rest is dropped]\n");
  }
  tail_.append(text);
  if (tail_.size() > kConsoleTail) tail_.erase(0, tail_.size() - kConsoleTail);
}

void CappedLog::drain(const asio::any_io_executor& executor, base::Fd from) {
  auto pump = [](std::shared_ptr<CappedLog> log, asio::posix::stream_descriptor source) -> base::Awaitable<void> {
    std::string buffer(4096, '\0');
    for (;;) {
      auto [ec, n] = co_await source.async_read_some(asio::buffer(buffer), base::kTuple);
      if (ec) co_return;
      log->append(std::string_view(buffer).substr(0, n));
    }
  };
  asio::co_spawn(executor, pump(shared_from_this(), asio::posix::stream_descriptor(executor, from.release())),
                 asio::detached);
}

std::string CappedLog::tail(std::size_t max_bytes) const {
  std::string text;
  for (const char c : std::string_view(tail_).substr(tail_.size() - std::min(max_bytes, tail_.size()))) {
    if (c == '\n' || c == '\t' || (c >= ' ' && c <= '~')) text += c;
  }
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

}  // namespace cleanroom::backends
