#pragma once
// Descriptors across a Unix socket, as SCM_RIGHTS beside some bytes (unix(7)). Nothing here waits longer than the
// socket does.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <array>
#include <cstddef>
#include <span>

namespace cleanroom::base {

inline constexpr std::size_t kMaxPassedFds = 8;

// One message: at least one byte, and copies of `fds`, at most kMaxPassedFds. `socket` is a stream or seqpacket socket;
// unavailable: the peer is gone, or there is no room for all of it.
Result<void> send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds);

// The next message, of which one byte is taken; its descriptors close at exec. protocol error (invalid_input): it has
// another number of them. unavailable: there is none, and there will be none.
template <std::size_t N>
Result<std::array<Fd, N>> receive_fds(const Fd& socket);

namespace detail {
Result<void> receive_fds(const Fd& socket, std::span<Fd> into);
}

template <std::size_t N>
Result<std::array<Fd, N>> receive_fds(const Fd& socket) {
  static_assert(N <= kMaxPassedFds);
  std::array<Fd, N> fds;
  CR_TRY(detail::receive_fds(socket, fds));
  return fds;
}

}  // namespace cleanroom::base
