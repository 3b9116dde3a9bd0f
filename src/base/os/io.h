#pragma once
// Blocking file and descriptor helpers. EINTR is retried; every read has a cap; everything opened is O_CLOEXEC.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace cleanroom::base {

// open(2) with O_CLOEXEC added. `mode` counts only with O_CREAT.
Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0600);
// openat(2) with O_CLOEXEC added; `name` is used as given.
Result<Fd> open_at(const Fd& directory, const std::string& name, int flags, unsigned mode = 0600);

// Reads at most span.size() bytes, once. 0 = end of file.
Result<std::size_t> read_some(const Fd& fd, std::span<std::byte> into);
// Writes all of it; on a non-blocking descriptor EAGAIN is an error (`unavailable`).
Result<void> write_all(const Fd& fd, std::span<const std::byte> bytes);
Result<void> write_all(const Fd& fd, std::string_view text);
Result<void> pwrite_all(const Fd& fd, std::span<const std::byte> bytes, std::uint64_t offset);
// Reads exactly span.size() bytes at `offset`; a shorter file is invalid_input.
Result<void> pread_exact(const Fd& fd, std::span<std::byte> into, std::uint64_t offset);

// The whole of a file, refused (invalid_input) when it is longer than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes);
Result<std::string> read_all(const Fd& fd, std::string_view name, std::size_t max_bytes);

struct PipeEnds {
  Fd read;
  Fd write;
};
Result<PipeEnds> make_pipe(int flags = 0);  // O_CLOEXEC is added
struct SocketPair {
  Fd a;
  Fd b;
};
Result<SocketPair> make_socket_pair(int type_flags = 0);  // AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | type_flags
Result<void> set_nonblocking(const Fd& fd, bool on);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace cleanroom::base
