#include "src/base/os/fd_passing.h"

#include "src/base/os/io.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace cleanroom;

namespace {

constexpr std::array<std::byte, 1> kMark{};

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 256; ++fd)
    count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace

TEST_SUITE("base/fd_passing") {
  TEST_CASE("descriptors arrive in their order, as copies that close at exec") {
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
      int ends[2] = {-1, -1};
      REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
      const base::Fd here(ends[0]);
      const base::Fd there(ends[1]);
      auto pipe = base::make_pipe().value();
      const std::array<int, 2> fds{pipe.read.get(), pipe.write.get()};
      REQUIRE(base::send_with_fds(here.get(), kMark, fds).has_value());
      const auto received = base::receive_fds<2>(there).value();
      pipe = {};
      CHECK((::fcntl(received[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
      REQUIRE(base::write_all(received[1], "through the copies").has_value());
      std::array<std::byte, 64> bytes{};
      CHECK(base::as_text(std::span(bytes).first(base::read_some(received[0], bytes).value())) == "through the copies");
    }
  }

  TEST_CASE("another number of them is refused, and none stays open") {
    const auto pair = base::make_socket_pair().value();
    const auto before = open_descriptors();
    for (const std::size_t count : {std::size_t{1}, std::size_t{3}}) {
      const std::vector<int> fds(count, 0);
      REQUIRE(base::send_with_fds(pair.a.get(), kMark, fds).has_value());
      CHECK(base::receive_fds<2>(pair.b).error().code == base::Code::invalid_input);
      CHECK(open_descriptors() == before);
    }
    REQUIRE(base::write_all(pair.a, "x").has_value());
    CHECK(base::receive_fds<1>(pair.b).error().code == base::Code::invalid_input);
  }

  TEST_CASE("a peer that is gone, and too many") {
    auto pair = base::make_socket_pair().value();
    CHECK(base::send_with_fds(pair.a.get(), kMark, std::vector<int>(base::kMaxPassedFds + 1, 0)).error().code ==
          base::Code::invalid_input);
    pair.b.reset();
    CHECK(base::receive_fds<1>(pair.a).error().code == base::Code::unavailable);
    CHECK(base::send_with_fds(pair.a.get(), kMark, std::array<int, 1>{0}).error().code == base::Code::unavailable);
  }
}
