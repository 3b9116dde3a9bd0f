#include "src/egress/audit_log.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/egress/limits.h"
#include "src/egress/pacer.h"
#include "src/egress/summary.h"
#include "tests/unit/egress/keep_audit.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <sstream>

using namespace cleanroom;
using namespace cleanroom::egress;

namespace {

std::vector<nlohmann::json> read_lines(const std::filesystem::path& path) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(*base::read_file(path, 64 << 20));
  for (std::string line; std::getline(text, line);)
    lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

TEST_SUITE("egress/audit_log") {
  TEST_CASE("LOG-08 hostile fields make one valid JSON line, escaped and cut") {
    const auto directory = *base::TempDir::create("/tmp", "audit-");
    const auto path = directory.path() / "audit.jsonl";
    auto log = *AuditLog::open(path, "run-1");
    const std::string hostile[] = {"a\nb\r\"c\"",          "\x1b]52;c;x\x07",         "\xff\xfe\xc0\xaf",
                                   std::string("\0x", 2),  std::string(1 << 20, 'A'), std::string(1 << 20, '\xff'),
                                   "</script>\xe2\x80\xa8"};
    for (const auto& text : hostile)
      log->write({.event = "connect",
                  .action = "deny",
                  .host = text,
                  .address = text,
                  .reason = "invalid_host",
                  .rule = text,
                  .detail = text,
                  .sni = text});
    testing::keep_audit(path);
    const auto lines = read_lines(path);
    REQUIRE(lines.size() == std::size(hostile));
    CHECK(lines[0]["host"] == "a\\x0ab\\x0d\"c\"");
    CHECK(lines[2]["sni"] == "\\xff\\xfe\\xc0\\xaf");
    for (const auto& line : lines) {
      for (const auto* key : {"host", "address", "rule", "detail", "sni"}) {
        const auto value = line.at(key).get<std::string>();
        CHECK(value.size() <= kMaxAuditFieldBytes + 3);
        for (const char c : value)
          CHECK((c >= 0x20 && c < 0x7f));
      }
    }
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("EGR-35 ten thousand events are ten thousand lines") {
    const auto directory = *base::TempDir::create("/tmp", "audit-");
    auto log = *AuditLog::open(directory.path() / "audit.jsonl", "run-1");
    for (std::uint64_t i = 0; i < 10'000; ++i)
      log->write(
          {.event = "connect", .action = "deny", .connection = i, .host = "evil.test", .reason = "host_not_allowed"});
    const auto lines = read_lines(directory.path() / "audit.jsonl");
    REQUIRE(lines.size() == 10'000);
    CHECK(lines[9'999]["connection"] == 9'999);
    CHECK(log->counters().written == 10'000);
    CHECK(log->counters().lost == 0);
  }

  TEST_CASE("EGR-35 what cannot be written is counted, and the file says so once it can") {
    const auto directory = *base::TempDir::create("/tmp", "audit-");
    const auto path = directory.path() / "audit.jsonl";
    auto log = *AuditLog::open(path, "run-1");
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const rlimit small{1000, old.rlim_max};
    const AuditEvent event{
        .event = "connect", .action = "deny", .host = std::string(400, 'x'), .reason = "host_not_allowed"};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    constexpr std::uint64_t kEvents = 5000;
    for (std::uint64_t i = 0; i < kEvents; ++i)
      log->write(event);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    const auto lost = log->counters().lost;
    CHECK(lost > 0);
    log->write(event);
    const auto counters = log->counters();
    CHECK(counters.events == kEvents + 1);
    CHECK(counters.written + counters.lost == counters.events);
    CHECK(counters.lost == lost);
    testing::keep_audit(path);
    const auto lines = read_lines(path);  // each line parses: none was torn
    CHECK(lines.size() == counters.written + 1);
    CHECK(lines[lines.size() - 2]["event"] == "gap");
    CHECK(lines[lines.size() - 2]["lost"] == lost);
  }

  TEST_CASE("a gateway request and a credential use have their fields, escaped like all others") {
    const auto directory = *base::TempDir::create("/tmp", "audit-");
    const auto path = directory.path() / "audit.jsonl";
    auto log = *AuditLog::open(path, "run-1");
    log->write({.event = "gateway",
                .action = "allow",
                .connection = 1,
                .host = "git.example.com",
                .port = 443,
                .reason = "allowed",
                .service = "git",
                .method = "POST",
                .path = "/acme/web.git/git-upload-pack",
                .status = 200,
                .cache = "miss",
                .binding = "git-read"});
    log->write({.event = "credential",
                .action = "allow",
                .connection = 1,
                .host = "git.example.com",
                .reason = "allowed",
                .service = "git",
                .method = "git-read",
                .path = "/acme\n",
                .binding = "git-read",
                .source = "env"});
    testing::keep_audit(path);
    const auto lines = read_lines(path);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0]["status"] == 200);
    CHECK(lines[0]["cache"] == "miss");
    CHECK(lines[1]["path"] == "/acme\\x0a");
    CHECK(lines[1]["source"] == "env");
    CHECK_FALSE(lines[1].contains("cache"));
  }

  TEST_CASE("a log that cannot be opened is an error") {
    CHECK_FALSE(AuditLog::open("/nonexistent/audit.jsonl", "r").has_value());
  }

  TEST_CASE("the summary counts everything and lists a bounded part") {
    Tally tally;
    for (std::size_t i = 0; i < kMaxSummaryEntries + 10; ++i)
      tally.count(fmt::format("h{}.test", i), 443, model::Reason::host_not_allowed, "");
    CHECK(tally.count("h0.test", 443, model::Reason::host_not_allowed, "") == 2);
    CHECK(tally.count("h0.test", 443, model::Reason::allowed, "r") > 1);
    const auto summary = tally.summary();
    CHECK(summary.denied.size() == kMaxSummaryEntries);
    CHECK(summary.denied_total == kMaxSummaryEntries + 11);
    CHECK(summary.not_listed == 11);
  }

  TEST_CASE("a pacer lets a burst through and then keeps the rate") {
    Pacer pacer(10, 5);
    const auto now = base::SteadyClock::now();
    for (int i = 0; i < 5; ++i)
      CHECK(pacer.reserve(now) <= now);
    CHECK(pacer.reserve(now) > now);
    const auto third_late = (pacer.reserve(now), pacer.reserve(now));
    CHECK(third_late - now > std::chrono::milliseconds(250));
    CHECK(third_late - now < std::chrono::milliseconds(350));
    CHECK(pacer.reserve(now + std::chrono::seconds(10)) <= now + std::chrono::seconds(10));
  }

  TEST_CASE("EGR-29 new names a minute are counted, known names and later minutes are not held back") {
    DistinctNames names(2, 3);
    const auto now = base::SteadyClock::now();
    CHECK(names.admit("a", now));
    CHECK(names.admit("b", now));
    CHECK_FALSE(names.admit("c", now));
    CHECK(names.admit("a", now));
    CHECK(names.admit("c", now + std::chrono::seconds(61)));
    CHECK_FALSE(names.admit("d", now + std::chrono::seconds(200)));
  }
}
