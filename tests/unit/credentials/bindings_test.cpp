// credentials.yaml: what is read, and what is refused with its place.
#include "tests/unit/credentials/support.h"

#include <sys/stat.h>

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;

TEST_CASE("no file binds nothing") {
  Fixture f;
  const auto loaded = load_bindings(f.paths);
  REQUIRE(loaded);
  CHECK_FALSE(loaded->file);
  CHECK(loaded->entries.empty());
}

TEST_CASE("a file with everything, and the defaults of a short one") {
  Fixture f;
  const auto loaded = f.load(R"(
bindings:
  - id: github
    host: GitHub.com
    port: 8443
    paths: [acme/*, acme/web.git]
    methods: [git-read, git-push, http-get]
    pipelines: [acme/web, "other/*", local]
    branches: [main, release/*]
    source: {command: [/usr/local/bin/token, --scope, acme]}
    scheme: header
    header_name: PRIVATE-TOKEN
  - {id: short, host: git.test, paths: ["**"], forks: true, source: {git-credential: true}}
)");
  REQUIRE(loaded);
  CHECK(loaded->file == f.dir.path() / "etc/credentials.yaml");
  REQUIRE(loaded->entries.size() == 2);
  const auto& full = loaded->entries[0];
  CHECK(full.host.text() == "github.com");
  CHECK(full.port == 8443);
  CHECK(full.paths == std::vector<std::string>{"acme/*", "acme/web"});
  CHECK(full.methods == std::vector{Method::git_read, Method::git_push, Method::http_get});
  CHECK(full.pipelines == std::vector<std::string>{"acme/web", "other/*", "local"});
  CHECK(full.branches == std::vector<std::string>{"main", "release/*"});
  CHECK_FALSE(full.forks);
  CHECK(full.source.kind == SourceKind::command);
  CHECK(full.source.command == std::vector<std::string>{"/usr/local/bin/token", "--scope", "acme"});
  CHECK(full.scheme == Scheme::header);
  CHECK(full.header_name == "PRIVATE-TOKEN");
  const auto& brief = loaded->entries[1];
  CHECK(brief.port == 443);
  CHECK(brief.methods == std::vector{Method::git_read});
  CHECK(brief.pipelines.empty());
  CHECK(brief.branches.empty());
  CHECK(brief.forks);
  CHECK(brief.source.kind == SourceKind::git_credential);
  CHECK(brief.scheme == Scheme::basic);
  CHECK(brief.header_name == "Authorization");
}

TEST_CASE("a binding for a registry: its own rules for user names and paths") {
  Fixture f;
  const auto bindings = f.bindings(
      {"id: a, host: r.test, port: 5000, paths: ['acme/**', acme/web.git], methods: [registry-pull], "
       "username: bob, source: {env: T}",
       "id: b, host: docker.io, paths: ['library/*'], methods: [registry-pull], scheme: bearer, source: {env: T}",
       "id: c, host: ghcr.io, paths: ['**'], methods: [registry-pull], source: {git-credential: true}",
       "id: d, host: git.test, paths: ['**'], source: {env: T}"});
  CHECK(bindings.entries[0].for_registry());
  CHECK(bindings.entries[0].paths == std::vector<std::string>{"acme/**", "acme/web.git"});
  CHECK(bindings.entries[0].username == "bob");
  CHECK(bindings.entries[1].for_registry());
  CHECK(bindings.entries[2].for_registry());
  CHECK_FALSE(bindings.entries[3].for_registry());
}

TEST_CASE("one wrong value is one error that names its key") {
  struct Case {
    const char* entry;  // in place of a good one's keys
    const char* says;
  };
  const Case cases[] = {
      {"id: a b, host: h.test, paths: [a/b], source: {env: T}", "bindings[0].id"},
      {"host: h.test, paths: [a/b], source: {env: T}", "bindings[0].id"},
      {"id: a, host: '*.test', paths: [a/b], source: {env: T}", "bindings[0].host"},
      {"id: a, host: 'h.test:443', paths: [a/b], source: {env: T}", "bindings[0].host"},
      {"id: a, host: h.test, source: {env: T}", "bindings[0].paths"},
      {"id: a, host: h.test, paths: [], source: {env: T}", "bindings[0].paths"},
      {"id: a, host: h.test, paths: [/a/b], source: {env: T}", "bindings[0].paths[0]"},
      {"id: a, host: h.test, paths: ['a/../b'], source: {env: T}", "bindings[0].paths[0]"},
      {"id: a, host: h.test, paths: ['a/[bc]'], source: {env: T}", "bindings[0].paths[0]"},
      {"id: a, host: h.test, paths: ['a/b**'], source: {env: T}", "bindings[0].paths[0]"},
      {"id: a, host: h.test, port: 0, paths: [a/b], source: {env: T}", "bindings[0].port"},
      {"id: a, host: h.test, paths: [a/b], methods: [read], source: {env: T}", "bindings[0].methods[0]"},
      {"id: a, host: h.test, paths: [a/b], pipelines: [web], source: {env: T}", "bindings[0].pipelines[0]"},
      {"id: a, host: h.test, paths: [a/b], pipelines: [], source: {env: T}", "bindings[0].pipelines"},
      {"id: a, host: h.test, paths: [a/b], branches: ['a?'], source: {env: T}", "bindings[0].branches[0]"},
      {"id: a, host: h.test, paths: [a/b], branches: [main], forks: true, source: {env: T}", "bindings[0].forks"},
      {"id: a, host: h.test, paths: [a/b]", "bindings[0].source"},
      {"id: a, host: h.test, paths: [a/b], source: {}", "exactly one"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T, file: /x}", "exactly one"},
      {"id: a, host: h.test, paths: [a/b], source: {env: A-B}", "bindings[0].source.env"},
      {"id: a, host: h.test, paths: [a/b], source: {env: BUILDKITE_AGENT_ACCESS_TOKEN}", "bindings[0].source.env"},
      {"id: a, host: h.test, paths: [a/b], source: {env: CLEANROOM_CONFIG_DIR}", "bindings[0].source.env"},
      {"id: a, host: h.test, paths: [a/b], source: {file: token}", "bindings[0].source.file"},
      {"id: a, host: h.test, paths: [a/b], source: {command: [token]}", "bindings[0].source.command"},
      {"id: a, host: h.test, paths: [a/b], source: {command: /bin/token}", "bindings[0].source.command"},
      {"id: a, host: h.test, paths: [a/b], source: {git-credential: false}", "bindings[0].source.git-credential"},
      {"id: a, host: h.test, paths: [a/b], source: {agent-secret: --debug}", "bindings[0].source.agent-secret"},
      {"id: a, host: h.test, paths: [a/b], source: {git_credential: true}", "git-credential"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, scheme: digest", "bindings[0].scheme"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, scheme: bearer, username: u", "bindings[0].username"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, username: 'a:b'", "bindings[0].username"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, header_name: X-A", "bindings[0].header_name"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, scheme: header", "bindings[0].header_name"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, scheme: header, header_name: Host",
       "bindings[0].header_name"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, hosts: [b.test]", "did you mean 'host'"},
      {"id: a, host: h.test, paths: [a/b], source: {env: T}, token: t0p", "bindings[0].token"},
      {"id: a, host: h.test, paths: [a/b], methods: [registry-pull, git-read], username: u, source: {env: T}",
       "bindings[0].methods"},
      {"id: a, host: h.test, paths: [a/b], methods: [http-get, registry-pull], username: u, source: {env: T}",
       "bindings[0].methods"},
      {"id: a, host: h.test, paths: [a/b], methods: [registry-pull], source: {env: T}", "bindings[0].username"},
      {"id: a, host: h.test, paths: [a/b], methods: [registry-pull], source: {env: T}, scheme: header, header_name: "
       "X-A",
       "bindings[0].scheme"},
      {"id: a, host: index.docker.io, paths: [a/b], methods: [registry-pull], username: u, source: {env: T}",
       "bindings[0].host"},
      {"id: a, host: registry-1.docker.io, paths: [a/b], methods: [registry-pull], username: u, source: {env: T}",
       "bindings[0].host"},
  };
  for (const auto& item : cases) {
    CAPTURE(std::string(item.entry));
    Fixture f;
    const auto loaded = f.load(fmt::format("bindings:\n  - {{{}}}\n", item.entry));
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().reason == "config_invalid");
    CHECK(loaded.error().message.find(item.says) != std::string::npos);
    CHECK(loaded.error().message.find("credentials.yaml:2:") != std::string::npos);
  }
}

TEST_CASE("a file without bindings, or with two of one id, is refused") {
  for (const char* text : {"", "{}", "binding: []", "bindings: [null]",
                           "bindings: [{id: a, host: h.test, paths: [a/b], source: {env: T}}, "
                           "{id: a, host: i.test, paths: [a/b], source: {env: T}}]"}) {
    CAPTURE(std::string(text));
    Fixture f;
    const auto loaded = f.load(text);
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().reason == "config_invalid");
  }
}

TEST_CASE("a file that others may write, or that lies where a build writes, is refused") {
  Fixture f;
  const auto good = f.binding_with("env: T");
  CHECK(good.entries.size() == 1);
  SUBCASE("group-writable") {
    REQUIRE(::chmod((f.dir.path() / "etc/credentials.yaml").c_str(), 0660) == 0);
  }
  SUBCASE("below the checkout") {
    f.write("build/credentials.yaml", "bindings: []");
    f.paths.directories = {f.dir.path() / "build"};
  }
  const auto loaded = load_bindings(f.paths);
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().reason == "config_insecure");
}

TEST_CASE("the example of docs/credentials.md is valid") {
  std::ifstream docs(fs::path(CLEANROOM_SOURCE_DIR) / "docs/credentials.md");
  const std::string text(std::istreambuf_iterator<char>(docs), {});
  std::size_t examples = 0;
  for (auto at = text.find("```yaml\n"); at != std::string::npos; at = text.find("```yaml\n", at + 1)) {
    const auto from = at + 8;
    const auto example = text.substr(from, text.find("```", from) - from);
    if (!example.starts_with("bindings:")) continue;
    CAPTURE(example);
    Fixture f;
    const auto loaded = f.load(example);
    if (!loaded) FAIL(loaded.error().message);
    examples += loaded->entries.size();
  }
  CHECK(examples >= 6);
}

TEST_CASE("a policy that asks for an id nobody bound is refused before the job") {
  Fixture f;
  const auto bindings = f.binding_with("env: T");
  CHECK(check_requested(bindings, {}));
  CHECK(check_requested(bindings, {{.id = "tok", .target = "git"}, {.id = "npm", .target = "registry"}}));
  const auto refused = check_requested(bindings, {{.id = "other", .target = "git"}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == "credential_unavailable");
  CHECK(refused.error().message.find("'other'") != std::string::npos);
}
