// Real clients (openssl s_client, curl) and a real TLS server on the two sides of an EgressServer.
#include "src/base/os/process.h"
#include "tests/unit/egress/rig.h"

#include <thread>

using namespace cleanroom;
using namespace std::chrono_literals;
using namespace cleanroom::egress;
using namespace cleanroom::egress::testing;

namespace {

// What the guest's agent does: a listener whose connections become CONNECT tunnels to `authority`.
class Bridge {
 public:
  Bridge(Rig& rig, std::string authority)
      : rig_(rig), authority_(std::move(authority)), acceptor_(rig.context, {asio::ip::address_v4::loopback(), 0}) {
    asio::co_spawn(rig.context, loop(*this), asio::detached);
  }
  std::string address() const { return fmt::format("127.0.0.1:{}", acceptor_.local_endpoint().port()); }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void stop() {
    base::ErrorCode ignored;
    acceptor_.close(ignored);
  }

 private:
  struct Joined {
    tcp::socket socket;
    channel::H2Stream stream;
  };
  static Awaitable<void> loop(Bridge& self) {
    for (;;) {
      auto [ec, socket] = co_await self.acceptor_.async_accept(kTuple);
      if (ec) co_return;
      auto answer = co_await connect(self.rig_, self.authority_);
      if (answer.status != "200") continue;
      auto joined = std::make_shared<Joined>(Joined{std::move(socket), std::move(*answer.stream)});
      asio::co_spawn(self.rig_.context, up(joined), asio::detached);
      asio::co_spawn(self.rig_.context, down(joined), asio::detached);
    }
  }
  static Awaitable<void> up(std::shared_ptr<Joined> joined) {
    std::vector<std::byte> buffer(16384);
    for (;;) {
      auto [ec, n] = co_await joined->socket.async_read_some(asio::buffer(buffer), kTuple);
      if (ec) break;
      if (!co_await joined->stream.write_all(std::span<const std::byte>(buffer).first(n))) break;
    }
    joined->stream.finish();
  }
  static Awaitable<void> down(std::shared_ptr<Joined> joined) {
    std::vector<std::byte> buffer(16384);
    base::ErrorCode ignored;
    for (;;) {
      const auto n = co_await joined->stream.read(buffer);
      if (!n || *n == 0) break;
      co_await asio::async_write(joined->socket, asio::buffer(buffer.data(), *n), kTuple);
    }
    joined->socket.close(ignored);
  }
  Rig& rig_;
  std::string authority_;
  tcp::acceptor acceptor_;
};

// Runs a program beside the event loop.
base::CompletedProcess run_beside(Rig& rig, Bridge& bridge, std::vector<std::string> argv) {
  base::CompletedProcess completed;
  std::thread runner([&] {
    auto result =
        base::run_process({.argv = std::move(argv), .environment = {"PATH=/usr/bin:/bin"}}, base::deadline_in(30s));
    if (result) completed = std::move(*result);
    asio::post(rig.context, [&] {
      bridge.stop();
      rig.guest->close();
    });
  });
  rig.context.run_for(60s);
  runner.join();
  return completed;
}

// `openssl s_server -www` with a certificate of its own.
struct TlsServer {
  base::TempDir directory = *base::TempDir::create("/tmp", "egress-tls-");
  std::optional<base::Process> process;
  std::uint16_t port = 0;

  TlsServer() {
    const auto key = (directory.path() / "key.pem").string();
    const auto certificate = (directory.path() / "cert.pem").string();
    const auto made =
        base::run_process({.argv = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                    "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj",
                                    "/CN=allowed.test", "-addext", "subjectAltName=DNS:allowed.test"},
                           .environment = {"PATH=/usr/bin:/bin"}},
                          base::deadline_in(30s));
    REQUIRE(made.has_value());
    REQUIRE(made->status.success());
    auto output = *base::make_pipe();
    process.emplace(*base::Process::spawn(
        {.argv = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-key", key, "-cert", certificate, "-www"},
         .environment = {"PATH=/usr/bin:/bin"},
         .fds = {{1, &output.write}}}));
    output.write.reset();
    // "ACCEPT 127.0.0.1:41234"
    std::string text;
    std::array<std::byte, 256> buffer{};
    while (text.find('\n', text.find("ACCEPT ") + 1) == std::string::npos ||
           text.find("ACCEPT ") == std::string::npos) {
      const auto n = base::read_some(output.read, buffer);
      REQUIRE(n.has_value());
      REQUIRE(*n > 0);
      text.append(base::as_text(std::span<const std::byte>(buffer).first(*n)));
    }
    const auto line = text.substr(text.find("ACCEPT "));
    port = static_cast<std::uint16_t>(std::stoi(line.substr(line.rfind(':', line.find('\n')) + 1)));
  }
  std::string certificate() const { return (directory.path() / "cert.pem").string(); }
};

}  // namespace

TEST_SUITE("egress/real clients") {
  TEST_CASE("EGR-19 curl speaks TLS through a tunnel, and with another server name it is cut off") {
    TlsServer server;
    SUBCASE("the allowed name") {
      Rig rig(rules({rule("allowed.test")}));
      rig.dialer.upstream_port = server.port;
      Bridge bridge(rig, "allowed.test:443");
      const auto done = run_beside(rig, bridge,
                                   {"curl", "-sS", "--cacert", server.certificate(), "--connect-to",
                                    "allowed.test:443:" + bridge.address(), "https://allowed.test/"});
      CAPTURE(done.errors);
      CHECK(done.status.success());
      CHECK(done.output.find("s_server") != std::string::npos);
      CHECK(rig.audit_lines()[1]["sni"] == "allowed.test");
    }
    SUBCASE("another name") {
      Rig rig(rules({rule("allowed.test")}));
      rig.dialer.upstream_port = server.port;
      Bridge bridge(rig, "allowed.test:443");
      const auto done = run_beside(
          rig, bridge, {"curl", "-sSk", "--connect-to", "evil.test:443:" + bridge.address(), "https://evil.test/"});
      CHECK_FALSE(done.status.success());
      CHECK(done.errors.find("access denied") != std::string::npos);
      REQUIRE(rig.denials.size() == 1);
      CHECK(to_string(rig.denials[0].reason) == "sni_mismatch");
    }
    SUBCASE("no name") {
      Rig rig(rules({rule("allowed.test")}));
      rig.dialer.upstream_port = server.port;
      Bridge bridge(rig, "allowed.test:443");
      const auto done = run_beside(rig, bridge, {"openssl", "s_client", "-noservername", "-connect", bridge.address()});
      CHECK_FALSE(done.status.success());
      REQUIRE(rig.denials.size() == 1);
      CHECK(to_string(rig.denials[0].reason) == "sni_missing");
    }
  }
}
