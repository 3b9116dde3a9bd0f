// Each source for real: files with modes, programs, git's own credential helper, the agent.
#include "tests/unit/credentials/support.h"

#include <sys/stat.h>

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;
using namespace std::chrono_literals;

namespace {

constexpr const char* kCanary = "canary-5be1c7d0";

// The header's value, or "!" and the error's whole text. An error never has the canary, and always the binding.
std::string fetch(const Bindings& bindings, HostEnvironment host, std::chrono::milliseconds limit = kSourceTimeLimit) {
  const Sources sources(bindings, std::move(host), limit);
  auto fetched = sources.fetch(bindings.entries.at(0));
  if (fetched) return std::string(fetched->value.reveal());
  const auto& error = fetched.error();
  CHECK(error.reason == "credential_unavailable");
  const auto text = error.describe() + " " + error.hint;
  CHECK(text.find(kCanary) == std::string::npos);
  CHECK(text.find("'tok' (" + std::string(to_string(bindings.entries[0].source.kind)) + ")") != std::string::npos);
  return "!" + text;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

fs::path script(Fixture& f, const fs::path& name, std::string_view body) {
  return f.write(name, fmt::format("#!/bin/sh\n{}\n", body), 0700);
}

std::string command(const fs::path& program, std::string_view more = "") {
  return fmt::format("command: ['{}'{}]", program.string(), more);
}

}  // namespace

TEST_CASE("schemes: basic with its user names, bearer, a header of its own") {
  Fixture f;
  auto host = f.host();
  host.variables = {{"T", "t0ken"}};
  CHECK(fetch(f.binding_with("env: T"), host) == "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4=");  // x-access-token:t0ken
  CHECK(fetch(f.binding_with("env: T", ", username: oauth2"), host) == "Basic b2F1dGgyOnQwa2Vu");
  CHECK(fetch(f.binding_with("env: T", ", scheme: bearer"), host) == "Bearer t0ken");
  CHECK(fetch(f.binding_with("env: T", ", scheme: header, header_name: PRIVATE-TOKEN"), host) == "t0ken");
}

TEST_CASE("a login before it becomes a header: user and token, or the bare token") {
  Fixture f;
  auto host = f.host();
  host.variables = {{"T", "t0ken"}};
  const auto login = [&](std::string_view more) {
    const auto bindings = f.binding_with("env: T", more);
    const Sources sources(bindings, host);
    const auto fetched = sources.fetch_login(bindings.entries.at(0));
    return fetched ? std::string(fetched->value.reveal()) : "!" + fetched.error().message;
  };
  CHECK(login("") == "x-access-token:t0ken");
  CHECK(login(", methods: [registry-pull], username: bob") == "bob:t0ken");
  CHECK(login(", scheme: bearer") == "t0ken");
  host.variables = {{"T", std::string(kCanary) + "\n\n"}};
  CHECK(login("").find(kCanary) == std::string::npos);
  CHECK(login("").starts_with("!cannot use credential 'tok' (env)"));
}

TEST_CASE("I6 a value that would break a header line is refused") {
  Fixture f;
  auto host = f.host();
  const std::string canary = kCanary;
  for (const auto& value :
       {canary + "\r\nX-Evil: 1", canary + "\nx", canary + "\r", canary + "\x01", canary + "\x7f", canary + "\xc3\xa9",
        canary + " ", " " + canary, canary + std::string(kMaxTokenBytes, 'x')}) {
    host.variables = {{"T", value}};
    CHECK(fetch(f.binding_with("env: T"), host).starts_with("!"));
  }
  host.variables = {{"T", ""}};
  CHECK(has(fetch(f.binding_with("env: T"), host), "not set"));
  const auto nul = f.write("nul", std::string(kCanary) + std::string(1, '\0') + "x");
  CHECK(has(fetch(f.binding_with("file: " + nul.string()), host), "not printable"));
}

TEST_CASE("a file: its one line, of an owner and with a mode that keep it secret") {
  Fixture f;
  const auto path = f.write("token", std::string(kCanary) + "\n");
  const auto bindings = f.binding_with("file: " + path.string(), ", scheme: bearer");
  CHECK(fetch(bindings, f.host()) == std::string("Bearer ") + kCanary);
  for (const mode_t mode : {0400U, 0440U, 0640U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(fetch(bindings, f.host()) == std::string("Bearer ") + kCanary);
  }
  for (const mode_t mode : {0604U, 0620U, 0602U, 0666U, 0660U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(has(fetch(bindings, f.host()), "others may read the file or its group may write it"));
  }
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  SUBCASE("Windows line end") {
    f.write("token", "t0ken\r\n");
    CHECK(fetch(bindings, f.host()) == "Bearer t0ken");
  }
  SUBCASE("two lines") {
    f.write("token", std::string(kCanary) + "\n\n");
    CHECK(has(fetch(bindings, f.host()), "not printable"));
  }
  SUBCASE("empty") {
    f.write("token", "\n");
    CHECK(has(fetch(bindings, f.host()), "it is empty"));
  }
  SUBCASE("too long") {
    f.write("token", std::string(kMaxSourceBytes + 1, 'x'));
    CHECK(has(fetch(bindings, f.host()), "longer than 65536 bytes"));
  }
  SUBCASE("gone") {
    fs::remove(path);
    CHECK(has(fetch(bindings, f.host()), "No such file"));
  }
  SUBCASE("link") {
    fs::rename(path, f.dir.path() / "elsewhere");
    fs::create_symlink(f.dir.path() / "elsewhere", path);
    CHECK(has(fetch(bindings, f.host()), "symbolic link"));
  }
  SUBCASE("FIFO") {
    fs::remove(path);
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(has(fetch(bindings, f.host()), "not a regular file"));
  }
  SUBCASE("another user's") {
    auto host = f.host();
    if (::geteuid() == 0)
      REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
    else
      host.user = ::geteuid() + 1;
    CHECK(has(fetch(bindings, host), "owner"));
  }
}

TEST_CASE("a command: argv without a shell, a minimal environment, nothing of its output in an error") {
  Fixture f;
  const auto fine =
      script(f, "mint", "printf '%s|%s|%s' \"$1\" \"$(pwd)\" \"$(env | cut -d= -f1 | sort | tr '\\n' ,)\"");
  const auto bindings = f.binding_with(command(fine, ", '$(id) a'"), ", scheme: header, header_name: X-A");
  auto host = f.host();
  host.variables = {{"SECRET_OF_THE_HOST", kCanary}};
  CHECK(fetch(bindings, host) == "$(id) a|/|HOME,LANG,PATH,PWD,");
  const auto run = [&](std::string_view body, std::chrono::milliseconds limit = kSourceTimeLimit) {
    return fetch(f.binding_with(command(script(f, "mint", body))), f.host(), limit);
  };
  CHECK(has(run(fmt::format("echo {0}; echo {0} >&2; exit 3", kCanary)), "exit status 3"));
  CHECK(has(run(fmt::format("echo {}; kill -9 $$", kCanary)), "signal 9"));
  CHECK(has(run(fmt::format("echo {}; exec sleep 600", kCanary), 200ms), "still ran after 200 ms"));
  CHECK(has(run(fmt::format("while echo {}; do :; done", kCanary)), "more than 65536 bytes"));
  CHECK(has(run(":"), "it is empty"));
  CHECK(has(run(fmt::format("echo {0}; echo {0}", kCanary)), "not printable"));
  CHECK(has(fetch(f.binding_with("command: [/nowhere/mint]"), f.host()), "cannot be run: No such file"));
}

TEST_CASE("git-credential: a real helper of the user's own configuration, asked for the operator's host only") {
  Fixture f;
  f.write(".gitconfig", fmt::format("[credential]\n\thelper = store --file={0}/store\n\tuseHttpPath = true\n"
                                    "[credential]\n\thelper = \"!f() {{ cat >> {0}/asked; }}; f\"\n",
                                    f.dir.path().string()));
  f.write("store", "https://bot:t0ken@git.test/acme/web\nhttps://bot:other@git.test:8443\nhttps://x:y@evil.test\n");
  const auto exact = [&](std::string_view more) {
    return f.bindings({fmt::format("id: tok, host: git.test, source: {{git-credential: true}}{}", more)});
  };
  CHECK(fetch(exact(", paths: [acme/web.git]"), f.host()) == "Basic Ym90OnQwa2Vu");  // bot:t0ken
  CHECK(fetch(exact(", paths: [acme/web], scheme: bearer"), f.host()) == "Bearer t0ken");
  CHECK(fetch(exact(", paths: [acme/web], username: me"), f.host()) == "Basic bWU6dDBrZW4=");
  CHECK(fetch(exact(", paths: ['acme/*'], port: 8443"), f.host()) == "Basic Ym90Om90aGVy");
  // Nothing stored: git would ask a person, and ends instead.
  CHECK(has(fetch(exact(", paths: [acme/other]"), f.host()), "exit status 128"));
  std::ifstream asked(f.dir.path() / "asked");
  const std::string questions(std::istreambuf_iterator<char>(asked), {});
  CHECK(has(questions, "host=git.test"));
  CHECK_FALSE(has(questions, "evil"));
}

TEST_CASE("git-credential: an expiry date is kept to (a stand-in for git: 2.39 does not pass the date on)") {
  Fixture f;
  const auto with_expiry = [&](std::string_view when) {
    script(
        f, "bin/git",
        fmt::format("cat > /dev/null; echo username=u; echo password={}; echo password_expiry_utc={}", kCanary, when));
    const auto bindings = f.binding_with("git-credential: true");
    return Sources(bindings, f.host()).fetch(bindings.entries[0]);
  };
  const auto past = with_expiry("1000000000");
  REQUIRE_FALSE(past);
  CHECK(past.error().message.ends_with("it has expired"));
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  const auto later = with_expiry(std::to_string(now.count() + 1000));
  REQUIRE(later);
  REQUIRE(later->valid);
  CHECK(later->valid->count() <= 1000);
  CHECK(later->valid->count() > 500);
  const auto silent = with_expiry("");
  REQUIRE(silent);
  CHECK_FALSE(silent->valid);
}

TEST_CASE("agent-secret: a stand-in for buildkite-agent gets the agent's variables and the key, nothing else") {
  Fixture f;
  script(f, "bin/buildkite-agent", "printf '%s/%s/%s' \"$*\" \"$BUILDKITE_JOB_ID\" \"$(env | grep -c .)\"");
  const auto bindings = f.binding_with("agent-secret: deploy_key", ", scheme: header, header_name: X-A");
  CHECK(has(fetch(bindings, f.host()), "only within a job of Buildkite"));
  auto host = f.host();
  host.variables = {{"BUILDKITE_AGENT_ACCESS_TOKEN", kCanary}, {"BUILDKITE_JOB_ID", "job-1"}, {"OTHER", "x"}};
  CHECK(fetch(bindings, host) == "secret get --skip-redaction deploy_key/job-1/6");
  host.variables["BUILDKITE_AGENT_JOB_API_SOCKET"] = "/tmp/s";
  CHECK(fetch(bindings, host) == "secret get deploy_key/job-1/7");
  script(f, "bin/buildkite-agent", fmt::format("echo {} >&2; exit 1", kCanary));
  CHECK(has(fetch(bindings, host), "exit status 1"));
}

TEST_CASE("programs of this process: a fixed PATH, the agent's directory, the user's home under Buildkite") {
  const auto host = HostEnvironment::from_process();
  CHECK(host.program_path.starts_with("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
  CHECK(host.home.is_absolute());
  CHECK(host.user == ::geteuid());
  CHECK(host.variables.count("PATH") == 1);
}
