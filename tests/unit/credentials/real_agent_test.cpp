// agent-secret with the real buildkite-agent against a stand-in for its API.
#include "src/base/os/process.h"
#include "tests/unit/credentials/support.h"

#include <poll.h>
#include <sys/inotify.h>

#include <array>
#include <cstdlib>

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;

namespace {

std::optional<fs::path> real_agent() {
  if (const char* chosen = std::getenv("BUILDKITE_AGENT_BIN"); chosen != nullptr) return chosen;
  auto found = base::find_program("buildkite-agent");
  return found ? std::optional(*found) : std::nullopt;
}

// The text of `name` in `directory` once it is renamed into place.
std::string wait_for_file(const base::Fd& watch, const fs::path& directory, const char* name) {
  const auto deadline = base::deadline_in(std::chrono::seconds(30));
  while (!fs::exists(directory / name)) {
    pollfd entry{watch.get(), POLLIN, 0};
    REQUIRE(::poll(&entry, 1, static_cast<int>(base::time_left(deadline).count())) == 1);
    std::array<char, 4096> events{};
    REQUIRE(::read(watch.get(), events.data(), events.size()) > 0);
  }
  std::ifstream file(directory / name);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

TEST_CASE("agent-secret: the real agent's `secret get`; a key it does not know is an error without details") {
  const auto agent = real_agent();
  if (!agent) {
    fmt::print("skip: needs BUILDKITE_AGENT_BIN, the path of a buildkite-agent (there is none in PATH)\n");
    return;
  }
  Fixture f;
  fs::create_directory(f.dir.path() / "bin");
  fs::create_symlink(*agent, f.dir.path() / "bin/buildkite-agent");
  f.write("api/secrets.json", R"({"deploy_key": "t0ken"})");
  const base::Fd watch(::inotify_init1(IN_CLOEXEC));
  REQUIRE(::inotify_add_watch(watch.get(), (f.dir.path() / "api").c_str(), IN_MOVED_TO) >= 0);
  const auto api = base::Process::spawn(
      {.argv = {std::string(CLEANROOM_SOURCE_DIR) + "/tests/support/fake_agent_api", (f.dir.path() / "api").string()},
       .environment = {"PATH=/usr/bin:/bin"}});
  REQUIRE(api);
  const auto port = wait_for_file(watch, f.dir.path() / "api", "port");

  auto host = f.host();
  host.variables = {{"BUILDKITE_AGENT_ACCESS_TOKEN", "job-token-0123456789"},
                    {"BUILDKITE_AGENT_ENDPOINT", "http://127.0.0.1:" + port},
                    {"BUILDKITE_JOB_ID", "01900000-0000-4000-8000-000000000001"},
                    {"BUILDKITE_AGENT_JOB_API_SOCKET", (f.dir.path() / "api/job-api").string()},
                    {"BUILDKITE_AGENT_JOB_API_TOKEN", "job-api-token"}};
  const auto fetch = [&](std::string_view key) {
    const auto bindings = f.binding_with(fmt::format("agent-secret: {}", key), ", scheme: bearer");
    return Sources(bindings, host).fetch(bindings.entries[0]);
  };
  const auto known = fetch("deploy_key");
  if (!known) FAIL(known.error().describe());
  CHECK(known->value.reveal() == "Bearer t0ken");
  std::ifstream requests(f.dir.path() / "api/requests");
  const std::string asked(std::istreambuf_iterator<char>(requests), {});
  CHECK(asked.find("POST /api/current-job/v0/redactions") != std::string::npos);
  const auto unknown = fetch("other_key");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().reason == "credential_unavailable");
  CHECK(unknown.error().message.starts_with("cannot use credential 'tok' (agent-secret): its program ended with exit"));
}
