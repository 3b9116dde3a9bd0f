#include "src/base/os/fd_passing.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cleanroom::base {
namespace {

// Room for a message's descriptors, aligned as its header must be.
struct Ancillary {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxPassedFds)> bytes{};
};

}  // namespace

Result<void> send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (fds.size() > kMaxPassedFds) return fail(Code::invalid_input, "too many descriptors for one message");
  // sendmsg(2) only reads what the iovec points to, whose type has no const.
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  Ancillary ancillary;
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.bytes.data();
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    if (sent < 0 && errno == EINTR) continue;
    return fail(Error(Code::unavailable, sent < 0 ? errno_error("pass", "a descriptor").message
                                                  : std::string("cannot pass a descriptor: no room for all of it")));
  }
}

namespace detail {

Result<void> receive_fds(const Fd& socket, std::span<Fd> into) {
  std::byte mark{};
  iovec piece{&mark, 1};
  Ancillary ancillary;
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.bytes.data();
  message.msg_controllen = ancillary.bytes.size();
  ssize_t received = 0;
  do
    received = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received <= 0) return fail(Code::unavailable, "cannot receive a descriptor: the other side is gone");
  std::size_t count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + CMSG_LEN(sizeof(int)) <= header->cmsg_len; at += sizeof(int), ++count) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + at, sizeof number);
      Fd fd(number);  // one too many is closed at once
      if (count < into.size()) into[count] = std::move(fd);
    }
  }
  if (count != into.size())
    return fail(Code::invalid_input, "cannot receive a descriptor: another number of them came");
  return {};
}

}  // namespace detail
}  // namespace cleanroom::base
