// The monitor of a real QEMU is in tests/e2e/template_vm_test; here its lines are scripted, so that it can say what a
// real one does not.
#include "src/backends/qemu/qmp_client.h"

#include "src/base/os/io.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::backends::qemu;

namespace {

struct Monitor {
  base::asio::io_context context;
  base::SocketPair pair = base::make_socket_pair().value();
  QmpClient client{[this] {
    channel::StreamSocket socket(context);
    socket.assign(base::asio::local::stream_protocol(), pair.a.release());
    return socket;
  }()};

  void says(std::string_view text) { REQUIRE(base::write_all(pair.b, text).has_value()); }
  base::Result<void> run(base::Awaitable<base::Result<void>> work) {
    std::optional<base::Result<void>> outcome;
    base::asio::co_spawn(context, std::move(work), [&outcome](std::exception_ptr, base::Result<void> result) {
      outcome.emplace(std::move(result));
    });
    context.restart();
    context.run_for(std::chrono::seconds(20));
    REQUIRE(outcome.has_value());
    return std::move(*outcome);
  }
};

}  // namespace

TEST_SUITE("backends/qmp_client") {
  TEST_CASE("answers are counted, and events between them are kept") {
    Monitor monitor;
    monitor.says("{\"QMP\": {\"version\": {}}}\r\n{\"return\": {}}\r\n{\"event\": \"RESUME\"}\r\n{\"return\": {}}\r\n");
    CHECK(monitor.run(monitor.client.answers(2)).has_value());
    CHECK(monitor.run(monitor.client.event("RESUME", "", "")).has_value());
  }

  TEST_CASE("a refusal carries QEMU's own words") {
    Monitor monitor;
    monitor.says("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}}\n");
    const auto refused = monitor.run(monitor.client.answers(1));
    CHECK(refused.error().code == base::Code::unavailable);
    CHECK(refused.error().message.find("no such thing") != std::string::npos);
  }

  TEST_CASE("a migration that failed is told from one that is under way") {
    Monitor monitor;
    monitor.says("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"active\"}}\n");
    monitor.says("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}\n");
    CHECK_FALSE(monitor.run(monitor.client.event("MIGRATION", "completed", "failed")).has_value());
  }

  TEST_CASE("a monitor that ends, floods or does not speak JSON is an error") {
    for (const auto& text :
         {std::string(), std::string(100'000, 'x'), std::string("{\"return\"\n"), std::string("[1]\n")}) {
      Monitor monitor;
      monitor.says(text);
      monitor.pair.b.reset();
      CHECK(monitor.run(monitor.client.answers(1)).error().code != base::Code::internal);
    }
  }
}
