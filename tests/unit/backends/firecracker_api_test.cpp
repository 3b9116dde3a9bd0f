// The other side is scripted, not Firecracker: what a broken or hostile VMM answers cannot be had from a real one. The
// real one's answers are seen in tests/e2e/firecracker_api_test.sh.
#include "src/backends/firecracker/api_client.h"
#include "src/base/os/io.h"

#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>

using namespace cleanroom;
using namespace cleanroom::backends::firecracker;
using namespace std::chrono_literals;
namespace asio = base::asio;

namespace {

using Socket = asio::local::stream_protocol::socket;

std::string answer(const std::string& status, const std::string& body) {
  return fmt::format(
      "HTTP/1.1 {}\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
      "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      status, body.size(), body);
}
const char* const kDone = "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";

ApiCall call_to(std::string path) {
  return {.method = Method::put, .path = std::move(path), .body = R"({"a":1})"};
}

// A peer that reads one request and writes one answer for each text, and then hangs up.
struct Peer {
  asio::io_context context;
  std::string requests;
  ApiClient client{Socket(context)};

  explicit Peer(std::vector<std::string> answers) {
    auto pair = base::make_socket_pair().value();
    Socket ours(context);
    ours.assign(asio::local::stream_protocol(), pair.a.release());
    Socket theirs(context);
    theirs.assign(asio::local::stream_protocol(), pair.b.release());
    client = ApiClient(std::move(ours));
    asio::co_spawn(context, play(*this, std::move(theirs), std::move(answers)), asio::detached);
  }
  static base::Awaitable<void> play(Peer& peer, Socket socket, std::vector<std::string> answers) {
    std::array<char, 4096> buffer{};
    for (const auto& text : answers) {
      auto [ec, n] = co_await socket.async_read_some(asio::buffer(buffer), base::kTuple);
      if (ec) co_return;
      peer.requests.append(buffer.data(), n);
      (void)co_await asio::async_write(socket, asio::buffer(text), base::kTuple);
    }
  }
  base::Result<void> call(ApiCall call, std::chrono::milliseconds limit = 20s) {
    std::optional<base::Result<void>> outcome;
    auto run = [](ApiClient& to, ApiCall what, base::Deadline deadline,
                  std::optional<base::Result<void>>& into) -> base::Awaitable<void> {
      into = co_await to.call(std::move(what), deadline);
    };
    asio::co_spawn(context, run(client, std::move(call), base::deadline_in(limit), outcome), asio::detached);
    context.restart();
    // The peer waits for another request meanwhile: its work never ends.
    while (!outcome && context.run_one_for(30s) > 0) {
    }
    REQUIRE(outcome.has_value());
    return *outcome;
  }
};

}  // namespace

TEST_SUITE("backends/firecracker_api") {
  TEST_CASE("requests go over one connection, with their JSON") {
    Peer peer({kDone, kDone});
    CHECK(peer.call(call_to("/vsock")).has_value());
    CHECK(peer.call({.method = Method::patch, .path = "/vm", .body = "{}"}).has_value());
    CHECK(peer.requests.starts_with("PUT /vsock HTTP/1.1\r\n"));
    CHECK(peer.requests.find("Content-Length: 7\r\n\r\n{\"a\":1}PATCH /vm HTTP/1.1\r\n") != std::string::npos);
  }

  TEST_CASE("a refusal names the request and Firecracker's own words, says what to do, and is not the end") {
    Peer peer({answer("400 ", R"({"fault_message":"Boot source error: The kernel file cannot be opened."})"), kDone});
    const auto refused = peer.call(call_to("/boot-source"));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().reason == "launch_failed");
    CHECK(refused.error().message ==
          "cannot start the VM: Firecracker refuses PUT /boot-source: Boot source error: The kernel file cannot be "
          "opened");
    CHECK(refused.error().hint.find("vmlinux") != std::string::npos);
    CHECK(peer.call(call_to("/entropy")).has_value());
  }

  TEST_CASE("what it says is escaped and cut before anyone sees it") {
    CHECK(fault_text("{\"fault_message\":\"a\\u001b[2Jb\"}").find('\x1b') == std::string::npos);
    CHECK(fault_text("no JSON at all\n") == "no JSON at all");
    CHECK(fault_text(R"({"fault_message":{"x":1}})") == R"({"fault_message":{"x":1}})");
    CHECK(fault_text(R"(["fault_message"])") == R"(["fault_message"])");
    CHECK(fault_text("").empty());
    CHECK(fault_text(std::string(100'000, 'x')).size() < kMaxFaultText + 10);
  }

  TEST_CASE("an answer that breaks HTTP or the limits ends the connection with one error") {
    const std::string long_head = "HTTP/1.1 204 \r\nX: " + std::string(kMaxAnswerHead, 'x') + "\r\n\r\n";
    for (const auto& text : {std::string("hello\r\n\r\n"), std::string("HTTP/1.1 200 OK\r\nContent-Le"), std::string(),
                             long_head, answer("400 ", std::string(kMaxAnswerBody + 1, 'x')),
                             std::string("HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n")}) {
      CAPTURE(text.substr(0, 40));
      Peer peer({text});
      const auto broken = peer.call(call_to("/machine-config"));
      REQUIRE_FALSE(broken.has_value());
      CHECK(broken.error().reason == "launch_failed");
      CHECK(broken.error().message.find("PUT /machine-config") != std::string::npos);
      CHECK_FALSE(peer.call(call_to("/entropy")).has_value());
    }
  }

  TEST_CASE("no answer within the deadline is launch_timeout") {
    // The first answer is for a request that never comes whole: the peer waits, and so would we.
    Peer peer({"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", kDone});
    const auto late = peer.call(call_to("/actions"), 50ms);
    REQUIRE_FALSE(late.has_value());
    CHECK(late.error().reason == "launch_timeout");
    CHECK(late.error().message.find("PUT /actions") != std::string::npos);
  }
}
