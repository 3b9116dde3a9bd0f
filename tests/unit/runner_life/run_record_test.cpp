#include "src/runner/run_record.h"

#include "src/base/text/json.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace cleanroom;
using namespace cleanroom::runner;

TEST_SUITE("runner/run_record") {
  TEST_CASE("run.json is one strict JSON object with a time for each step") {
    RunRecord record;
    record.run_id = "20260101-000000-00000000";
    record.image_digest = "sha256:" + std::string(64, 'a');
    record.timer.record("boot", 1234.56);
    record.network.push_back(
        {.host = "evil.test", .port = 443, .allowed = 0, .denied = 3, .reason = "host_not_allowed"});
    record.job_status = 2;
    record.message = "a \"quoted\"\nline\x1b";
    const auto json = base::parse_json(to_json(record), "run.json");
    REQUIRE(json.has_value());
    CHECK((*json)["boot_ms"] == 1234.5);
    CHECK((*json)["network"][0]["denied"] == 3);
    CHECK((*json)["job_status"] == 2);
    CHECK((*json)["job_signal"].is_null());
    CHECK((*json)["message"] == record.message);
    CHECK((*json)["outcome"] == "infrastructure");
  }

  TEST_CASE("the summary names what was allowed and what was denied, and says what emulation is") {
    RunRecord record;
    record.backend = "qemu";
    record.accelerator = "tcg";
    record.network.push_back({.host = "good.test", .port = 443, .allowed = 2, .denied = 0, .reason = {}});
    record.network.push_back(
        {.host = "evil.test", .port = 80, .allowed = 0, .denied = 5, .reason = "host_not_allowed"});
    std::string text;
    for (const auto& line : summary_lines(record))
      text += line + "\n";
    CHECK(text.find("allowed  good.test:443 (2)\n") != std::string::npos);
    CHECK(text.find("denied   evil.test:80 (5)\n") != std::string::npos);
    CHECK(text.find("not a security boundary") != std::string::npos);
  }
}
