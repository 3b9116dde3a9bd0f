#pragma once
// CappedLog drains descriptors that a guest can fill (its console, the VMM's own output) into one file that cannot grow
// without bound, and keeps the end of it in memory. Draining never stops, so the writer never blocks on us.
#include "src/base/async/asio.h"
#include "src/base/os/fd.h"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <filesystem>
#include <memory>
#include <string>

namespace cleanroom::backends {

inline constexpr std::size_t kMaxConsoleFile = 1 << 20;
inline constexpr std::size_t kConsoleTail = 8 * 1024;

class CappedLog : public std::enable_shared_from_this<CappedLog> {
 public:
  static base::Result<std::shared_ptr<CappedLog>> create(const std::filesystem::path& file);
  // Drains `from` until its end; keeps this object alive meanwhile.
  void drain(const base::asio::any_io_executor& executor, base::Fd from);
  // Printable, last lines only.
  std::string tail(std::size_t max_bytes) const;

 private:
  explicit CappedLog(base::Fd file) : file_(std::move(file)) {}
  void append(std::string_view text);
  base::Fd file_;
  std::size_t written_ = 0;
  std::string tail_;
};

}  // namespace cleanroom::backends
