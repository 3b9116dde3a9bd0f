// Holding credentials: one fetch for many, times, second tries, and what is said about them.
#include "tests/unit/credentials/support.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;
using namespace std::chrono_literals;

namespace {

// A source that counts its runs and prints token-<run>.
struct Rig : Fixture {
  base::asio::io_context context;
  base::BlockingPool pool{2};
  base::SteadyClock::time_point now = base::SteadyClock::now();
  std::vector<policy::SecretRequest> secrets;

  std::string counting_source(std::string_view after = "") {
    const auto program =
        write("mint",
              fmt::format("#!/bin/sh\necho run >> {0}/runs\nprintf 'token-%s\\n' \"$(grep -c . {0}/runs)\"\n{1}\n",
                          dir.path().string(), after),
              0700);
    return fmt::format("command: ['{}']", program.string());
  }
  std::size_t runs() {
    std::ifstream file(dir.path() / "runs");
    return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }
  Broker broker(Bindings bindings, JobIdentity job = {}) {
    return Broker(std::move(bindings), std::move(job), pool,
                  {.secrets = secrets, .host = host(), .clock = [this] { return now; }});
  }
  std::string value(Broker& from) {
    auto answer = find(context, from);
    if (!answer) return "!" + answer.error().describe();
    if (!answer->grant) return "-" + answer->why;
    return std::string(answer->grant->header_value.reveal());
  }
};

}  // namespace

TEST_CASE("I6 a lookup ends in none, out of scope, or a grant that names its binding and source") {
  Rig rig;
  auto broker = rig.broker(rig.binding_with(rig.counting_source(), ", scheme: bearer, pipelines: [local]"));
  const auto none = find(rig.context, broker, ask("a/b", "other.test"));
  REQUIRE(none);
  CHECK(none->kind == Choice::Kind::none);
  CHECK_FALSE(none->grant);
  const auto outside = find(rig.context, broker, ask("a/../b"));
  REQUIRE(outside);
  CHECK(outside->kind == Choice::Kind::out_of_scope);
  CHECK_FALSE(outside->grant);
  CHECK(rig.runs() == 0);
  const auto grant = find(rig.context, broker);
  REQUIRE(grant);
  CHECK(grant->kind == Choice::Kind::grant);
  REQUIRE(grant->grant);
  CHECK(grant->grant->binding_id == "tok");
  CHECK(grant->grant->source == SourceKind::command);
  CHECK(grant->grant->header_name == "Authorization");
  CHECK(grant->grant->header_value.reveal() == "Bearer token-1");
}

TEST_CASE("many who ask at once are one fetch") {
  Rig rig;
  auto broker = rig.broker(rig.binding_with(rig.counting_source(), ", scheme: bearer"));
  const auto answers = find_all(rig.context, broker, 20);
  for (const auto& answer : answers) {
    REQUIRE(answer);
    CHECK(answer->grant->header_value.reveal() == "Bearer token-1");
  }
  CHECK(rig.runs() == 1);
}

TEST_CASE("a credential is held for five minutes, or less when the policy or its source says so") {
  Rig rig;
  std::chrono::seconds hold = 300s;
  SUBCASE("as built in") {}
  SUBCASE("a policy's ttl_seconds") {
    hold = 60s;
    rig.secrets = {{.id = "tok", .target = "git", .allowed_hosts = {"git.test"}, .ttl_seconds = 60}};
  }
  SUBCASE("a policy cannot have it longer") {
    rig.secrets = {{.id = "tok", .target = "git", .allowed_hosts = {"git.test"}, .ttl_seconds = 86400}};
  }
  auto broker = rig.broker(rig.binding_with(rig.counting_source(), ", scheme: bearer"));
  CHECK(rig.value(broker) == "Bearer token-1");
  rig.now += hold - 1s;
  CHECK(rig.value(broker) == "Bearer token-1");
  rig.now += 1s;
  CHECK(rig.value(broker) == "Bearer token-2");
}

TEST_CASE("a failure is said again for ten seconds without asking the source") {
  Rig rig;
  auto broker = rig.broker(rig.binding_with(rig.counting_source("exit 4"), ", scheme: bearer"));
  const auto first = rig.value(broker);
  CHECK(first.find("exit status 4") != std::string::npos);
  CHECK(rig.value(broker) == first);
  CHECK(rig.runs() == 1);
  rig.now += 10s;
  CHECK(rig.value(broker) == first);
  CHECK(rig.runs() == 2);
}

TEST_CASE("what upstream refused is fetched anew once, not in a loop") {
  Rig rig;
  auto broker = rig.broker(rig.binding_with(rig.counting_source(), ", scheme: bearer"));
  CHECK_FALSE(broker.forget("unknown"));
  CHECK(rig.value(broker) == "Bearer token-1");
  CHECK(broker.forget("tok"));
  CHECK(broker.forget("tok"));  // another request that had the old one
  CHECK(rig.value(broker) == "Bearer token-2");
  CHECK_FALSE(broker.forget("tok"));
  CHECK(rig.value(broker) == "Bearer token-2");
  rig.now += 300s;
  CHECK(rig.value(broker) == "Bearer token-3");
  CHECK(broker.forget("tok"));
}

TEST_CASE("whoever waits longer than its deadline gets an error; the fetch serves the others") {
  Rig rig;
  // The source ends when the test lets it.
  const auto gate = rig.dir.path() / "gate";
  REQUIRE(::mkfifo(gate.c_str(), 0600) == 0);
  const auto program = rig.write("mint", fmt::format("#!/bin/sh\nexec cat {}\n", gate.string()), 0700);
  auto broker = rig.broker(rig.binding_with(fmt::format("command: ['{}']", program.string()), ", scheme: bearer"));
  const auto early = std::move(find_all(rig.context, broker, 1, ask(), 50ms).front());
  REQUIRE_FALSE(early);
  CHECK(early.error().code == base::Code::timeout);
  CHECK(early.error().reason == "credential_unavailable");
  CHECK(early.error().message.find("'tok'") != std::string::npos);
  std::ofstream(gate) << "late\n";
  CHECK(rig.value(broker) == "Bearer late");
}

TEST_CASE("a broker that goes while its source runs leaves nothing behind") {
  Rig rig;
  const auto gate = rig.dir.path() / "gate";
  REQUIRE(::mkfifo(gate.c_str(), 0600) == 0);
  const auto program = rig.write("mint", fmt::format("#!/bin/sh\nexec cat {}\n", gate.string()), 0700);
  {
    auto broker = rig.broker(rig.binding_with(fmt::format("command: ['{}']", program.string())));
    CHECK_FALSE(find_all(rig.context, broker, 1, ask(), 50ms).front());
  }
  std::ofstream(gate) << "late\n";
  rig.context.restart();
  rig.context.run();  // ends: no timer and no coroutine is left
}

TEST_CASE("GTW-10 the value is in no error, no reason and no other text of a lookup") {
  Rig rig;
  const std::string canary = "canary-93af0c11";
  const auto texts = [](const base::Result<Lookup>& answer) {
    if (!answer) return answer.error().describe() + answer.error().hint + answer.error().reason;
    return answer->why + (answer->grant ? answer->grant->binding_id + answer->grant->header_name : "");
  };
  const auto good = rig.write("good", fmt::format("#!/bin/sh\necho {}\n", canary), 0700);
  const auto noisy = rig.write("noisy", fmt::format("#!/bin/sh\necho {0}; echo {0} >&2; exit 1\n", canary), 0700);
  const auto lines = rig.write("lines", fmt::format("#!/bin/sh\necho {0}; echo {0}\n", canary), 0700);
  for (const auto& program : {good, noisy, lines}) {
    CAPTURE(program.filename().string());
    auto broker = rig.broker(rig.binding_with(fmt::format("command: ['{}']", program.string()), ", scheme: bearer"));
    const auto answer = find(rig.context, broker);
    CHECK(answer.has_value() == (program == good));
    CHECK_FALSE(texts(answer).empty());
    CHECK(texts(answer).find(canary) == std::string::npos);
    CHECK(texts(find(rig.context, broker, ask("a//b"))).find(canary) == std::string::npos);
  }
}
