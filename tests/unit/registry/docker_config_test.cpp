// Docker's and Podman's files for real: modes, owners, keys of all ages, and programs that answer for a key ring.
#include "src/registry/docker_config.h"

#include "src/base/net/base64.h"
#include "tests/unit/registry/support.h"

#include <sys/stat.h>

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::registry::testing;
using namespace std::chrono_literals;

namespace {

std::string encoded(std::string_view text) {
  std::string out;
  base::append_base64(out, text);
  return out;
}

struct Rig {
  Fixture f;
  DockerConfigOptions options{.files = {f.dir.path() / "config.json"},
                              .program_path = (f.dir.path() / "bin").string(),
                              .environment = {"PATH=/usr/bin:/bin", "HOME=" + f.dir.path().string()},
                              .user = ::geteuid()};

  std::string show(const std::string& registry, const std::string& repository = "acme/web") {
    DockerConfigLogins logins(options);
    auto text = testing::show(logins, registry, repository);
    // What is ours of a path is the same in each run.
    for (auto at = text.find(f.dir.path().string()); at != std::string::npos; at = text.find(f.dir.path().string()))
      text.replace(at, f.dir.path().string().size(), "DIR");
    return text;
  }
  // Of a file with this text.
  std::string show_of(std::string_view text, const std::string& registry, const std::string& repository = "acme/web") {
    f.write("config.json", text);
    return show(registry, repository);
  }
  void helper(const std::string& name, std::string_view body) {
    f.write("bin/docker-credential-" + name, fmt::format("#!/bin/sh\n{}\n", body), 0700);
  }
  std::string asked() {
    std::ifstream in(f.dir.path() / "asked");
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

std::string auths(std::string_view key, std::string_view user_and_password = "bob:pw") {
  return fmt::format(R"({{"auths":{{"{}":{{"auth":"{}"}}}}}})", key, encoded(user_and_password));
}

// A helper that answers with this user and secret and notes what it was asked.
std::string answering(std::string_view user, std::string_view secret) {
  return fmt::format(
      "printf '%s ' \"$1\" >> \"$HOME/asked\"; cat >> \"$HOME/asked\"; echo >> \"$HOME/asked\"\n"
      "printf '{{\"ServerURL\":\"x\",\"Username\":\"%s\",\"Secret\":\"%s\"}}\\n' '{}' '{}'",
      user, secret);
}

constexpr const char* kBob = "DIR/config.json: basic bob:pw";

}  // namespace

TEST_CASE("no file, an empty one, one of other registries: no login") {
  Rig rig;
  CHECK(rig.show("r.test") == "none");
  for (const char* text : {"", "{}", R"({"auths":{}})", R"({"auths":null,"credHelpers":null,"credsStore":null})",
                           R"({"auths":{"r.test":{}}})", R"({"auths":{"r.test":{"auth":"","identitytoken":""}}})",
                           R"({"HttpHeaders":{"X":"y"},"proxies":{"default":{"httpProxy":"x"}},"credsStore":""})"}) {
    CAPTURE(std::string(text));
    CHECK(rig.show_of(text, "r.test") == "none");
  }
  CHECK(rig.show_of(auths("other.test"), "r.test") == "none");
}

TEST_CASE("what an entry can have: user and password, an identity token, a registry token") {
  Rig rig;
  const auto entry = [&](const std::string& fields) {
    return rig.show_of(fmt::format(R"({{"auths":{{"r.test":{{{}}}}}}})", fields), "r.test");
  };
  CHECK(entry(R"("auth":"Ym9iOnB3")") == kBob);
  CHECK(entry(R"("auth":")" + encoded("bob:p:w=") + "\"") == "DIR/config.json: basic bob:p:w=");
  CHECK(entry(R"("auth":")" + encoded(std::string("bob:pw") + std::string(2, '\0')) + "\"") == kBob);
  CHECK(entry(R"("auth":")" + encoded("bob:p\xc3\xa4ss") + "\"") == "DIR/config.json: basic bob:p\xc3\xa4ss");
  CHECK(entry(R"("username":"bob","password":"pw")") == kBob);
  CHECK(entry(R"("auth":"Ym9iOnB3","identitytoken":"idt")") == "DIR/config.json: basic bob:pw refresh idt");
  CHECK(entry(R"("auth":")" + encoded("0000-:") + R"(","identitytoken":"idt")") == "DIR/config.json: refresh idt");
  CHECK(entry(R"("registrytoken":"rt")") == "DIR/config.json: bearer rt");
  CHECK(entry(R"("auth":"Ym9iOnB3\u003d")").starts_with("!"));  // "...=" is not padded as base64
  CHECK(entry(R"("auth":")" + encoded("<token>:idt") + "\"") == "DIR/config.json: refresh idt");
}

TEST_CASE("keys of all ages: plain, with a scheme, with an API path; Docker Hub under its names") {
  Rig rig;
  for (const char* key :
       {"r.test:5000", "R.Test:5000", "r.test:5000/", "r.test:5000/v1/", "r.test:5000/v2/", "https://r.test:5000",
        "http://r.test:5000/", "https://r.test:5000/v1/", "https://r.test:5000/v2", "https://r.test:5000/some/api"}) {
    CAPTURE(std::string(key));
    CHECK(rig.show_of(auths(key), "r.test:5000") == kBob);
    CHECK(rig.show_of(auths(key), "r.test") == "none");
    CHECK(rig.show_of(auths(key), "r.test:5001") == "none");
    CHECK(rig.show_of(auths(key), "x.r.test:5000") == "none");
  }
  for (const char* key : {"https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io",
                          "https://registry-1.docker.io/v2/", "index.docker.io/v1/"}) {
    CAPTURE(std::string(key));
    CHECK(rig.show_of(auths(key), "docker.io", "library/debian") == kBob);
    CHECK(rig.show_of(auths(key), "docker.com") == "none");
  }
  // Docker Desktop's own tokens are no logins of a registry.
  CHECK(rig.show_of(auths("https://index.docker.io/v1/access-token"), "docker.io") == "none");
  CHECK(rig.show_of(auths("https://index.docker.io/v1/refresh-token"), "docker.io") == "none");
}

TEST_CASE("I6 a namespaced key is for its namespace alone, and the longest counts") {
  Rig rig;
  const auto text = fmt::format(R"({{"auths":{{"r.test/acme":{{"auth":"{}"}},"r.test":{{"auth":"{}"}},)"
                                R"("r.test/acme/web":{{"auth":"{}"}},"https://r.test/v1/":{{"auth":"{}"}}}}}})",
                                encoded("acme:1"), encoded("all:2"), encoded("web:3"), encoded("old:4"));
  const auto who = [&](const char* repository) { return rig.show_of(text, "r.test", repository); };
  CHECK(who("acme/web") == "DIR/config.json: basic web:3");
  CHECK(who("acme/web/sub") == "DIR/config.json: basic web:3");
  CHECK(who("acme/webx") == "DIR/config.json: basic acme:1");
  CHECK(who("acme") == "DIR/config.json: basic acme:1");
  CHECK(who("acmex/web") == "DIR/config.json: basic all:2");
  CHECK(who("other") == "DIR/config.json: basic all:2");
  CHECK(rig.show_of(auths("r.test/acme"), "r.test", "other/acme") == "none");
  CHECK(rig.show_of(auths("docker.io/library"), "docker.io", "library/debian") == kBob);
}

TEST_CASE("the first file that knows the registry counts") {
  Rig rig;
  rig.options.files = {rig.f.dir.path() / "gone/config.json", rig.f.dir.path() / "a.json", rig.f.dir.path() / "b.json"};
  rig.f.write("a.json", auths("a.test", "amy:1"));
  rig.f.write("b.json",
              fmt::format(R"({{"auths":{{"a.test":{{"auth":"{0}"}},"b.test":{{"auth":"{0}"}}}}}})", encoded("bob:2")));
  CHECK(rig.show("a.test") == "DIR/a.json: basic amy:1");
  CHECK(rig.show("b.test") == "DIR/b.json: basic bob:2");
  CHECK(rig.show("c.test") == "none");
  rig.f.write("a.json", "{");
  CHECK(has(rig.show("b.test"), "!cannot use 'DIR/a.json'"));
}

TEST_CASE(
    "GTW-10 a file that is malformed, too long or of the wrong shape: one error with its name, nothing that is in it") {
  Rig rig;
  const std::string canary = kCanary;
  const std::string bad = encoded(canary);  // no colon
  for (const auto& text :
       {canary, "{\"auths\":\"" + canary + "\"}", "{\"auths\":{\"r.test\":\"" + canary + "\"}}",
        "{\"auths\":{\"r.test\":{\"auth\":\"" + canary + "\"}}}", "{\"auths\":{\"r.test\":{\"auth\":\"" + bad + "\"}}}",
        "{\"auths\":{\"r.test\":{\"auth\":\"" + canary + "\\x\"}}}",
        "{\"auths\":{\"r.test\":{\"identitytoken\":\"" + canary + " x\"}}}",
        "{\"auths\":{\"r.test\":{\"registrytoken\":\"" + canary + "\\r\\nX: y\"}}}",
        "{\"auths\":{\"r.test\":{\"username\":\"a:b\",\"password\":\"" + canary + "\"}}}",
        "{\"auths\":{\"r.test\":{\"username\":\"a\",\"password\":\"" + canary + "\\n\"}}}",
        "{\"auths\":{\"r.test\":{\"identitytoken\":\"" + canary + std::string(9000, 'x') + "\"}}}",
        "{\"auths\":{\"r.test\":{\"username\":\"a\",\"password\":\"" + canary + std::string(9000, 'x') + "\"}}}",
        "{\"credHelpers\":{\"r.test\":[\"" + canary + "\"]}}", "{\"credsStore\":[\"" + canary + "\"]}",
        "[\"" + canary + "\"]", "{\"auths\":{\"r.test\":{\"auth\":\"" + canary, "{\"a\":\"" + canary + "\",\"a\":1}"}) {
    CAPTURE(text);
    const auto shown = rig.show_of(text, "r.test");
    CHECK(shown.starts_with("!cannot use 'DIR/config.json': "));
    CHECK(shown.find(bad) == std::string::npos);
    CHECK(shown.find('\n') == std::string::npos);
  }
  CHECK(has(rig.show_of("{\"x\":\"" + std::string(kMaxDockerConfigBytes, 'x') + "\"}", "r.test"),
            "!cannot use 'DIR/config.json': it is longer than 1048576 bytes"));
}

TEST_CASE("a file of others' making is refused: owner, modes, kinds") {
  Rig rig;
  const auto path = rig.f.write("config.json", auths("r.test", fmt::format("bob:{}", kCanary)));
  CHECK(has(rig.show("r.test"), kCanary));
  for (const mode_t mode : {0400U, 0440U, 0640U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(has(rig.show("r.test"), kCanary));
  }
  for (const mode_t mode : {0602U, 0620U, 0666U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(has(rig.show("r.test"), "its group or everyone may write it"));
  }
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
  CHECK(has(rig.show("r.test"), "it has a login, and everyone may read it"));
  CHECK(rig.show("other.test") == "none");  // nothing secret is used
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  SUBCASE("a link to a file of ours is fine") {
    fs::rename(path, rig.f.dir.path() / "dotfile");
    fs::create_symlink(rig.f.dir.path() / "dotfile", path);
    CHECK(has(rig.show("r.test"), kCanary));
  }
  SUBCASE("FIFO") {
    fs::remove(path);
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(has(rig.show("r.test"), "not a regular file"));
  }
  SUBCASE("directory") {
    fs::remove(path);
    fs::create_directory(path);
    CHECK(has(rig.show("r.test"), "not a regular file"));
  }
  SUBCASE("another user's") {
    if (::geteuid() == 0)
      REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
    else
      rig.options.user = ::geteuid() + 1;
    CHECK(has(rig.show("r.test"), "owner"));
  }
}

TEST_CASE("helpers: the registry's own, else the store; what they are asked and what they answer") {
  Rig rig;
  rig.helper("own", answering("amy", "1"));
  rig.helper("store", answering("bob", "2"));
  rig.helper("id", answering("\\u003ctoken\\u003e", "idt"));
  const std::string text =
      R"({"credsStore":"store","credHelpers":{"own.test:5000":"own","https://id.test/":"id","file.test":""},)"
      R"("auths":{"file.test":{"auth":"Ym9iOnB3"},"own.test:5000":{"auth":"Ym9iOnB3"}}})";
  CHECK(rig.show_of(text, "own.test:5000") == "docker-credential-own: basic amy:1");
  CHECK(rig.show_of(text, "other.test") == "docker-credential-store: basic bob:2");
  CHECK(rig.show_of(text, "docker.io") == "docker-credential-store: basic bob:2");
  CHECK(rig.show_of(text, "id.test") == "docker-credential-id: refresh idt");
  CHECK(rig.show_of(text, "file.test") == kBob);  // "": the file itself
  CHECK(rig.asked() == "get own.test:5000\nget other.test\nget https://index.docker.io/v1/\nget id.test\n");
}

TEST_CASE("helpers: one that knows none leaves the file's entry; a namespace's entry comes before any helper") {
  Rig rig;
  rig.helper("none", "echo credentials not found in native keychain; exit 1");
  rig.helper("empty", answering("", ""));
  for (const char* name : {"none", "empty"}) {
    CAPTURE(std::string(name));
    const auto text =
        fmt::format(R"({{"credsStore":"{}","auths":{{"r.test":{{"auth":"Ym9iOnB3"}},"e.test":{{}}}}}})", name);
    CHECK(rig.show_of(text, "r.test") == kBob);
    CHECK(rig.show_of(text, "e.test") == "none");
    CHECK(rig.show_of(text, "other.test") == "none");
    CHECK(rig.show_of(fmt::format(R"({{"credHelpers":{{"r.test":"{}"}}}})", name), "r.test") == "none");
  }
  rig.helper("store", answering("amy", "1"));
  CHECK(rig.show_of(R"({"credsStore":"store","auths":{"r.test/acme":{"auth":"Ym9iOnB3"}}})", "r.test") == kBob);
}

TEST_CASE("GTW-10 helpers that fail: an error that names the program and nothing that it said") {
  Rig rig;
  const auto run = [&](std::string_view body) {
    rig.helper("bad", body);
    return rig.show_of(R"({"credHelpers":{"r.test":"bad"}})", "r.test");
  };
  CHECK(has(run(fmt::format("echo {0}; echo {0} >&2; exit 3", kCanary)),
            "!cannot use docker-credential-bad: it ended with exit status 3"));
  CHECK(has(run(fmt::format("echo {}; kill -9 $$", kCanary)), "signal 9"));
  CHECK(has(run(fmt::format("while echo {}; do :; done", kCanary)), "more than 65536 bytes"));
  CHECK(has(run(fmt::format("echo {}", kCanary)), "not JSON as it should be"));
  CHECK(has(run(fmt::format("echo '[\"{}\"]'", kCanary)), "not JSON as it should be"));
  CHECK(has(run(fmt::format(R"(echo '{{"Username":"\\q","Secret":"{}"}}')", kCanary)), "not JSON as it should be"));
  CHECK(has(run(answering("a:b", kCanary)), "cannot be sent"));
  CHECK(has(run(answering("a", std::string(kCanary) + "\\n")), "cannot be sent"));
  CHECK(has(run(":"), "not JSON as it should be"));
  rig.options.time_limit = 200ms;
  CHECK(has(run(fmt::format("echo {}; exec sleep 600", kCanary)), "still ran after 200 ms"));
}

TEST_CASE("a store that fails matters only where the file names the registry") {
  Rig rig;
  const char* const text = R"({"credsStore":"gone","auths":{"r.test":{}}})";
  CHECK(has(rig.show_of(text, "r.test"), "!cannot use docker-credential-gone: it is not in PATH"));
  CHECK(rig.show_of(text, "other.test") == "none");
}

TEST_CASE("GIT-07 no helper by a path, and none outside the list of directories") {
  Rig rig;
  rig.helper("ok", answering("amy", "1"));
  for (const char* name : {"../bin/docker-credential-ok", "/bin/sh", ".", "..", "a b", "ok\\n", "$(id)", "ok;id",
                           "\\ud800", "caf\xc3\xa9", "x/../ok"}) {
    CAPTURE(std::string(name));
    CHECK(
        has(rig.show_of(fmt::format(R"({{"credHelpers":{{"r.test":"{}"}}}})", name), "r.test"), "its name is not one"));
  }
  rig.options.program_path = "bin:.::" + (rig.f.dir.path() / "elsewhere").string();
  const auto here = fs::current_path();
  fs::current_path(rig.f.dir.path());
  CHECK(has(rig.show_of(R"({"credHelpers":{"r.test":"ok"}})", "r.test"), "it is not in PATH"));
  fs::current_path(here);
}

TEST_CASE("a helper has the environment that it was given, and nothing of ours") {
  Rig rig;
  rig.helper("env",
             R"sh(printf '{"Username":"u","Secret":"%s|%s"}' "$(pwd)" "$(env | cut -d= -f1 | sort | tr '\n' ,)")sh");
  REQUIRE(::setenv("CLEANROOM_TEST_SECRET", kCanary, 1) == 0);
  CHECK(rig.show_of(R"({"credHelpers":{"r.test":"env"}})", "r.test") ==
        "docker-credential-env: basic u:/|HOME,PATH,PWD,");
  ::unsetenv("CLEANROOM_TEST_SECRET");
}

TEST_CASE("I6 builds of forks get nothing of Docker's, and say so") {
  Rig rig;
  rig.options.fork = true;
  CHECK(rig.show_of(auths("r.test"), "r.test") == "withheld: builds of forks get no login of Docker's files");
  CHECK(rig.show_of("{", "r.test").starts_with("withheld"));  // it is not even read
}
