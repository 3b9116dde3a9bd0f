#include "src/egress/audit_sink.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/egress/audit_log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <csignal>
#include <sstream>
#include <thread>

using namespace cleanroom;
using namespace cleanroom::egress;

namespace {

constexpr auto kLong = std::chrono::seconds(60);

// A receiver on a Unix socket. `gate` closed: it accepts and reads nothing.
class Receiver {
 public:
  explicit Receiver(const std::filesystem::path& path) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.native().copy(name.sun_path, sizeof name.sun_path - 1);
    REQUIRE(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    REQUIRE(::listen(listener_.get(), 4) == 0);
  }
  ~Receiver() {
    if (thread_.joinable()) thread_.join();
  }
  // Reads one connection to its end, at most `limit` bytes of it.
  void start(std::size_t limit = SIZE_MAX) {
    thread_ = std::thread([this, limit] {
      base::Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      std::vector<char> buffer(64 * 1024);
      while (text.size() < limit) {
        const auto n = ::recv(peer.get(), buffer.data(), std::min(buffer.size(), limit - text.size()), 0);
        if (n <= 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(n));
      }
    });
  }
  void join() { thread_.join(); }
  std::string text;

 private:
  base::Fd listener_;
  std::thread thread_;
};

struct Counted {
  std::uint64_t events = 0;
  std::uint64_t gaps = 0;
  std::uint64_t lost = 0;  // as the gaps say
  bool in_order = true;
};
Counted count_lines(const std::string& text) {
  Counted counted;
  std::int64_t last = -1;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.at("event") == "gap") {
      ++counted.gaps;
      counted.lost += json.at("lost").get<std::uint64_t>();
      continue;
    }
    ++counted.events;
    const auto connection = json.at("connection").get<std::int64_t>();
    counted.in_order = counted.in_order && connection > last;
    last = connection;
  }
  return counted;
}

void write_events(AuditLog& log, std::uint64_t from, std::uint64_t to) {
  for (auto i = from; i < to; ++i)
    log.write(
        {.event = "connect", .action = "deny", .connection = i, .host = "evil.test", .reason = "host_not_allowed"});
}

struct Sinks {
  base::TempDir directory = *base::TempDir::create("/tmp", "sink-");
  std::filesystem::path path = directory.path() / "sink";
  std::unique_ptr<AuditLog> log = *AuditLog::open(directory.path() / "audit.jsonl", "run-1");
};

}  // namespace

TEST_SUITE("egress/audit_sink") {
  TEST_CASE("EGR-35 a hundred thousand events reach a file, each one line, none lost") {
    Sinks sinks;
    AuditSink sink({.kind = AuditSinkOptions::Kind::file, .path = sinks.path}, "run-1");
    REQUIRE(sink.opened().has_value());
    sinks.log->copy_to(sink);
    write_events(*sinks.log, 0, 100'000);
    const auto counters = sink.close(base::deadline_in(kLong));
    CHECK(counters.events == 100'000);
    CHECK(counters.written == 100'000);
    CHECK(counters.lost == 0);
    const auto counted = count_lines(*base::read_file(sinks.path, 64 << 20));
    CHECK(counted.events == 100'000);
    CHECK(counted.in_order);
    CHECK(counted.gaps == 0);
    struct stat info {};
    REQUIRE(::stat(sinks.path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("EGR-35 a hundred thousand events reach a socket that is read, none lost") {
    Sinks sinks;
    Receiver receiver(sinks.path);
    receiver.start();
    AuditSink::Counters counters;
    {
      AuditSink sink({.kind = AuditSinkOptions::Kind::socket, .path = sinks.path}, "run-1");
      REQUIRE(sink.opened().has_value());
      sinks.log->copy_to(sink);
      write_events(*sinks.log, 0, 100'000);
      counters = sink.close(base::deadline_in(kLong));
    }
    receiver.join();
    CHECK(counters.written == 100'000);
    CHECK(counters.lost == 0);
    const auto counted = count_lines(receiver.text);
    CHECK(counted.events == 100'000);
    CHECK(counted.in_order);
  }

  TEST_CASE("EGR-35 a stalled receiver costs counted lines, never time, and is told how many once it reads") {
    Sinks sinks;
    Receiver receiver(sinks.path);  // the kernel accepts, nobody reads
    AuditSink::Counters counters;
    std::uint64_t lost = 0;
    {
      AuditSink sink({.kind = AuditSinkOptions::Kind::socket, .path = sinks.path, .max_backlog = 1 << 20}, "run-1");
      sinks.log->copy_to(sink);
      write_events(*sinks.log, 0, 100'000);  // returns although nothing is taken
      lost = sink.counters().lost;
      CHECK(lost > 50'000);
      receiver.start();
      counters = sink.close(base::deadline_in(kLong));
    }
    receiver.join();
    CHECK(counters.events == 100'000);
    CHECK(counters.written + counters.lost == counters.events);
    CHECK(counters.lost == lost);
    const auto counted = count_lines(receiver.text);
    CHECK(counted.events == counters.written);
    CHECK(counted.lost == counters.lost);
    CHECK(counted.gaps >= 1);
    CHECK(counted.in_order);
    CHECK(sinks.log->counters().written == 100'000);  // the run's own log has all of them
  }

  TEST_CASE("a receiver that never reads is given up at the deadline, and what waited is lost") {
    Sinks sinks;
    Receiver receiver(sinks.path);
    AuditSink sink({.kind = AuditSinkOptions::Kind::socket, .path = sinks.path}, "run-1");
    sinks.log->copy_to(sink);
    write_events(*sinks.log, 0, 20'000);
    const auto counters = sink.close(base::deadline_in(std::chrono::milliseconds(1)));
    CHECK(counters.written + counters.lost == 20'000);
    CHECK(counters.lost > 0);
    write_events(*sinks.log, 20'000, 20'001);
    CHECK(sink.counters().lost == counters.lost + 1);
  }

  TEST_CASE("a receiver that comes late, goes away and comes back gets every line whole") {
    Sinks sinks;
    auto sink = std::make_unique<AuditSink>(
        AuditSinkOptions{
            .kind = AuditSinkOptions::Kind::socket, .path = sinks.path, .retry = std::chrono::milliseconds(5)},
        "run-1");
    CHECK_FALSE(sink->opened().has_value());
    sinks.log->copy_to(*sink);
    write_events(*sinks.log, 0, 10);
    auto first = std::make_unique<Receiver>(sinks.path);
    first->start(100);  // takes less than a line, then goes
    first->join();
    first.reset();
    std::filesystem::remove(sinks.path);
    Receiver second(sinks.path);
    second.start();
    write_events(*sinks.log, 10, 5000);
    const auto counters = sink->close(base::deadline_in(kLong));
    CHECK(counters.written == 5000);
    CHECK(counters.lost == 0);
    sink.reset();  // ends the connection
    second.join();
    CHECK(count_lines(second.text).events >= 4000);  // what the first one's socket took without a reader is its own
  }

  TEST_CASE("EGR-35 two runs that append to one file at a time do not mix their lines") {
    Sinks one;
    Sinks two;
    AuditSink sink_one({.kind = AuditSinkOptions::Kind::file, .path = one.path}, "run-1");
    AuditSink sink_two({.kind = AuditSinkOptions::Kind::file, .path = one.path}, "run-2");
    one.log->copy_to(sink_one);
    two.log->copy_to(sink_two);
    std::thread other([&] { write_events(*two.log, 0, 5000); });
    write_events(*one.log, 0, 5000);
    other.join();
    (void)sink_one.close(base::deadline_in(kLong));
    (void)sink_two.close(base::deadline_in(kLong));
    CHECK(count_lines(*base::read_file(one.path, 64 << 20)).events == 10'000);
  }

  TEST_CASE("a full disk delays the lines of a file, and none is torn or lost when there is room again") {
    Sinks sinks;
    AuditSink sink({.kind = AuditSinkOptions::Kind::file, .path = sinks.path, .retry = std::chrono::milliseconds(5)},
                   "run-1");
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const rlimit small{1000, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const std::string line = "{\"event\":\"connect\",\"connection\":";
    for (int i = 0; i < 100; ++i)
      sink.write(line + std::to_string(i) + "}\n");
    const auto stuck = [&] {
      struct stat info {};
      return ::stat(sinks.path.c_str(), &info) == 0 && info.st_size == 1000;
    };
    const auto deadline = base::deadline_in(kLong);
    while (!stuck() && base::SteadyClock::now() < deadline)
      std::this_thread::yield();
    CHECK(stuck());
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    const auto counters = sink.close(base::deadline_in(kLong));
    CHECK(counters.written == 100);
    CHECK(counters.lost == 0);
    // One piece stands alone, on a line of its own; every event has a whole line too.
    std::istringstream text(*base::read_file(sinks.path, 1 << 20));
    int whole = 0;
    int pieces = 0;
    for (std::string each; std::getline(text, each);)
      ++(nlohmann::json::accept(each) ? whole : pieces);
    CHECK(whole == 100);
    CHECK(pieces <= 1);
  }

  TEST_CASE("what is no file and no socket is refused at once") {
    Sinks sinks;
    const auto opens = [](AuditSinkOptions options) { return AuditSink(std::move(options), "r").opened().has_value(); };
    using Kind = AuditSinkOptions::Kind;
    CHECK_FALSE(opens({.kind = Kind::file, .path = sinks.directory.path()}));
    REQUIRE(::mkfifo(sinks.path.c_str(), 0600) == 0);
    CHECK_FALSE(opens({.kind = Kind::file, .path = sinks.path}));
    CHECK_FALSE(opens({.kind = Kind::socket, .path = sinks.path}));
    const auto link = sinks.directory.path() / "link";
    std::filesystem::create_symlink(sinks.directory.path() / "target", link);
    CHECK_FALSE(opens({.kind = Kind::file, .path = link}));
    CHECK_FALSE(std::filesystem::exists(sinks.directory.path() / "target"));
    CHECK_FALSE(opens({.kind = Kind::socket, .path = "/" + std::string(200, 'x')}));
  }
}
