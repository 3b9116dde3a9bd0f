#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

namespace cleanroom::base {

Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  int raw = -1;
  do
    raw = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (raw < 0 && errno == EINTR);
  if (raw < 0) return fail(errno_error((flags & O_CREAT) ? "create" : "open", path.native()));
  return Fd(raw);
}

Result<Fd> open_at(const Fd& directory, const std::string& name, int flags, unsigned mode) {
  int raw = -1;
  do
    raw = ::openat(directory.get(), name.c_str(), flags | O_CLOEXEC, mode);
  while (raw < 0 && errno == EINTR);
  if (raw < 0) return fail(errno_error((flags & O_CREAT) ? "create" : "open", name));
  return Fd(raw);
}

Result<std::size_t> read_some(const Fd& fd, std::span<std::byte> into) {
  for (;;) {
    const ssize_t n = ::read(fd.get(), into.data(), into.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return fail(errno_error("read", fmt::format("fd {}", fd.get())));
  }
}

Result<void> write_all(const Fd& fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error("write", fmt::format("fd {}", fd.get())));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> write_all(const Fd& fd, std::string_view text) {
  return write_all(fd, as_bytes(text));
}

Result<void> pwrite_all(const Fd& fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error("write", fmt::format("fd {}", fd.get())));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<void> pread_exact(const Fd& fd, std::span<std::byte> into, std::uint64_t offset) {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error("read", fmt::format("fd {}", fd.get())));
    }
    if (n == 0) return fail(Code::invalid_input, fmt::format("cannot read fd {}: the file ends early", fd.get()));
    into = into.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<std::string> read_all(const Fd& fd, std::string_view name, std::size_t max_bytes) {
  std::string text;
  std::array<std::byte, 16384> buffer;
  for (;;) {
    CR_ASSIGN(const std::size_t n, read_some(fd, buffer));
    if (n == 0) return text;
    if (text.size() + n > max_bytes) {
      return fail(Code::invalid_input, fmt::format("cannot read '{}': it is larger than {} bytes", name, max_bytes));
    }
    text.append(as_text(std::span(buffer).first(n)));
  }
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  CR_ASSIGN(const Fd fd, open_file(path, O_RDONLY));
  auto text = read_all(fd, path.native(), max_bytes);
  if (!text && text.error().os_errno != 0) return fail(errno_error("read", path.native(), text.error().os_errno));
  return text;
}

Result<PipeEnds> make_pipe(int flags) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), flags | O_CLOEXEC) != 0) return fail(errno_error("create", "pipe"));
  return PipeEnds{Fd(ends[0]), Fd(ends[1])};
}

Result<SocketPair> make_socket_pair(int type_flags) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0, ends.data()) != 0) {
    return fail(errno_error("create", "socket pair"));
  }
  return SocketPair{Fd(ends[0]), Fd(ends[1])};
}

Result<void> set_nonblocking(const Fd& fd, bool on) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) != 0) {
    return fail(errno_error("set flags of", fmt::format("fd {}", fd.get())));
  }
  return {};
}

}  // namespace cleanroom::base
