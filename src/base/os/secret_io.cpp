#include "src/base/os/secret_io.h"

#include "src/base/os/defer.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <array>
#include <cerrno>

namespace cleanroom::base {
namespace {

// Room for one byte more than is accepted, allocated once: a buffer that grew would leave copies behind.
class WipedBuffer {
 public:
  explicit WipedBuffer(std::size_t max_bytes) : bytes_(max_bytes + 1, '\0') {}
  WipedBuffer(const WipedBuffer&) = delete;
  WipedBuffer& operator=(const WipedBuffer&) = delete;
  ~WipedBuffer() { wipe(bytes_); }

  // False at the end of the stream.
  Result<bool> fill(const Fd& from) {
    const auto free = std::as_writable_bytes(std::span(bytes_).subspan(used_));
    CR_ASSIGN(const auto n, read_some(from, free));
    used_ += n;
    return n > 0;
  }
  bool overflown() const { return used_ == bytes_.size(); }
  Secret take() {
    bytes_.resize(used_);
    return Secret(std::move(bytes_));
  }

 private:
  std::string bytes_;
  std::size_t used_ = 0;
};

Error too_long(std::string_view name, std::size_t max_bytes) {
  return {Code::invalid_input, fmt::format("cannot read '{}': it is longer than {} bytes", name, max_bytes)};
}

bool would_block(const Error& error) {
  return error.os_errno == EAGAIN || error.os_errno == EWOULDBLOCK;
}

}  // namespace

Result<Secret> read_secret(const Fd& fd, std::string_view name, std::size_t max_bytes) {
  WipedBuffer buffer(max_bytes);
  for (;;) {
    CR_ASSIGN(const bool open, buffer.fill(fd));
    if (buffer.overflown()) return fail(too_long(name, max_bytes));
    if (!open) return buffer.take();
  }
}

Result<SecretOutput> run_for_secret(SpawnOptions options, std::string_view input, Deadline deadline,
                                    std::size_t max_bytes) {
  const std::string name = options.argv.at(0);
  const Defer wipe_environment([&options] {
    for (auto& entry : options.environment)
      wipe(entry);
  });
  if (input.size() > kMaxSecretProgramInput) return fail(too_long("input of " + name, kMaxSecretProgramInput));
  CR_ASSIGN(auto in, make_pipe());
  CR_ASSIGN(auto out, make_pipe());
  CR_TRY(write_all(in.write, input));
  in.write.reset();
  CR_TRY(set_nonblocking(out.read, true));
  options.fds.push_back({0, &in.read});
  options.fds.push_back({1, &out.write});
  CR_ASSIGN(auto process, Process::spawn(options));
  in.read.reset();
  out.write.reset();

  WipedBuffer buffer(max_bytes);
  bool ended = false;
  for (;;) {
    std::array<pollfd, 2> entries{pollfd{out.read.get(), POLLIN, 0}, pollfd{process.pidfd().get(), POLLIN, 0}};
    const int ready = ::poll(entries.data(), entries.size(), static_cast<int>(time_left(deadline).count()));
    if (ready == 0) return fail(Code::timeout, fmt::format("'{}' still runs at its deadline", name));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail(errno_error("wait for", name));
    // The order matters: what it wrote before it ended is in the pipe when the pidfd says that it ended.
    ended = entries[1].revents != 0;
    const auto more = buffer.fill(out.read);
    if (!more && !would_block(more.error())) return fail(more.error());
    if (buffer.overflown()) return fail(too_long("output of " + name, max_bytes));
    if (more && !*more) break;
    if (!more && ended) break;
  }
  CR_ASSIGN(const auto status, process.wait(deadline));
  return SecretOutput{status, buffer.take()};
}

Result<void> forbid_core_dumps() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail(errno_error("forbid", "core files"));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail(errno_error("forbid", "core dumps"));
  return {};
}

}  // namespace cleanroom::base
