// Which binding a request may use.
#include "src/credentials/path_pattern.h"
#include "tests/unit/credentials/support.h"

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;

namespace {

Choice::Kind kind_of(const Bindings& bindings, const Request& request, const JobIdentity& job = {}) {
  return choose_binding(request, job, bindings, {}).kind;
}

constexpr auto kNone = Choice::Kind::none;
constexpr auto kOutOfScope = Choice::Kind::out_of_scope;
constexpr auto kGrant = Choice::Kind::grant;

}  // namespace

TEST_CASE("GIT-03 I6 a credential for org/a goes to no other path, however it is spelt") {
  Fixture f;
  const auto one = f.bindings({"id: a, host: git.test, paths: [org/a], source: {env: T}"});
  CHECK(kind_of(one, ask("org/a")) == kGrant);
  CHECK(kind_of(one, ask("org/a.git")) == kGrant);
  for (const char* path : {"org/secret",
                           "org/a-evil",
                           "org/a/../secret",
                           "org/secret/../a",
                           "org%2fa",
                           "org/a%00",
                           "/org/a",
                           "//org/a",
                           "org//a",
                           "org/a/",
                           "org/a/b",
                           "ORG/A",
                           "org/A",
                           "Org/a",
                           "org/a.git.git",
                           "org/a.GIT",
                           "org/./a",
                           "./org/a",
                           "org\\a",
                           "org/a?x",
                           "org/a#x",
                           "org/a ",
                           "org",
                           "",
                           ".git",
                           "/",
                           "..",
                           "org/a\n",
                           "x/org/a",
                           "org/a/.git"}) {
    CAPTURE(std::string(path));
    CHECK(kind_of(one, ask(path)) == kOutOfScope);
  }
}

TEST_CASE("GIT-03 a wildcard stays within its part, and never matches what is no plain path") {
  struct Case {
    const char* pattern;
    const char* path;
    bool matches;
  };
  const Case cases[] = {
      {"org/*", "org/a", true},
      {"org/*", "org/.github", true},
      {"org/*", "org/a/b", false},
      {"org/*", "orgx/a", false},
      {"org/*", "org", false},
      {"org*/a", "organisation/a", true},
      {"*/*", "a/b", true},
      {"*/*", "a/b/c", false},
      {"**", "a", true},
      {"**", "a/b/c/d", true},
      {"org/**", "org/a/b", true},
      {"org/**", "org", false},
      {"**/x", "a/b/x", true},
      {"**/x", "x", false},
      {"a/**/z", "a/b/c/z", true},
      {"a/**/z", "a/z", false},
      {"org/a-*-b", "org/a-1-2-b", true},
      {"org/a-*-b", "org/a-b", false},
      {"org/*a*", "org/bab", true},
      {"org/*a*", "org/bbb", false},
      {"org/a*", "org/a", true},
  };
  for (const auto& item : cases) {
    CAPTURE(std::string(item.pattern));
    CAPTURE(std::string(item.path));
    CHECK(path_matches(item.pattern, item.path) == item.matches);
  }
  Fixture f;
  const auto all = f.bindings({"id: a, host: git.test, paths: ['**'], source: {env: T}"});
  for (const char* path : {"org/../x", "org%2fx", "org//x", "/org/x", "org/x/", ""}) {
    CAPTURE(std::string(path));
    CHECK(kind_of(all, ask(path)) == kOutOfScope);
  }
}

TEST_CASE("a pattern with many wildcards costs little") {
  const std::string text = std::string(400, 'a') + "/" + std::string(100, 'a');
  std::string pattern;
  for (int i = 0; i < 100; ++i)
    pattern += "*a";
  CHECK_FALSE(path_matches(pattern + "b/" + pattern, text));
}

TEST_CASE("I6 host, port and method of a request are those of the binding") {
  Fixture f;
  const auto one =
      f.bindings({"id: a, host: git.test, port: 8443, paths: [o/r], methods: [git-push], source: {env: T}"});
  CHECK(kind_of(one, ask("o/r", "git.test", 8443, Method::git_push)) == kGrant);
  CHECK(kind_of(one, ask("o/r", "git.test", 443, Method::git_push)) == kOutOfScope);
  CHECK(kind_of(one, ask("o/r", "git.test", 8443, Method::git_read)) == kOutOfScope);
  CHECK(kind_of(one, ask("o/r", "git.test", 8443, Method::http_get)) == kOutOfScope);
  for (const char* host : {"x.git.test", "test", "git.test.evil.example", "127.0.0.1"}) {
    CAPTURE(std::string(host));
    CHECK(kind_of(one, ask("o/r", host, 8443, Method::git_push)) == kNone);
  }
}

TEST_CASE("I6 bindings of a registry and of git on one host know nothing of each other") {
  Fixture f;
  const auto bindings = f.bindings(
      {"id: git, host: lab.test, paths: [acme/web], methods: [git-read, git-push, http-get], source: {env: T}",
       "id: images, host: lab.test, paths: [acme/app], methods: [registry-pull], username: u, source: {env: T}"});
  const auto pull = [&](const char* path) {
    return kind_of(bindings, ask(path, "lab.test", 443, Method::registry_pull));
  };
  CHECK(pull("acme/app") == kGrant);
  CHECK(pull("acme/web") == kOutOfScope);
  CHECK(kind_of(bindings, ask("acme/web", "lab.test")) == kGrant);
  CHECK(kind_of(bindings, ask("acme/app", "lab.test")) == kOutOfScope);
  CHECK(pull("acme/app.git") == kOutOfScope);  // to a registry another repository
  // A host that only the other kind names is not named at all: what is public there stays reachable.
  const auto images = f.bindings(
      {"id: images, host: lab.test, paths: [acme/app], methods: [registry-pull], username: u, source: {env: T}"});
  CHECK(kind_of(images, ask("acme/app", "lab.test")) == kNone);
  const auto git = f.bindings({"id: git, host: lab.test, paths: [acme/app], source: {env: T}"});
  CHECK(kind_of(git, ask("acme/app", "lab.test", 443, Method::registry_pull)) == kNone);
}

TEST_CASE("pipelines, branches and forks of a job") {
  struct Case {
    const char* scope;
    JobIdentity job;
    Choice::Kind kind;
  };
  const JobIdentity web{"acme/web", "main", false};
  const JobIdentity local{};
  const JobIdentity fork{"acme/web", "main", true};
  const JobIdentity unknown{"unknown", "main", true};
  const Case cases[] = {
      {"", web, kGrant},
      {"", local, kGrant},
      {"", fork, kOutOfScope},
      {", forks: true", fork, kGrant},
      {", pipelines: [acme/web]", web, kGrant},
      {", pipelines: ['acme/*']", web, kGrant},
      {", pipelines: ['*/*'], forks: true", fork, kGrant},
      {", pipelines: [acme/api]", web, kOutOfScope},
      {", pipelines: [acme/we]", web, kOutOfScope},
      {", pipelines: ['*/*']", local, kOutOfScope},
      {", pipelines: [local]", local, kGrant},
      {", pipelines: [local]", web, kOutOfScope},
      {", pipelines: ['*/*'], forks: true", unknown, kOutOfScope},
      {", pipelines: [local], forks: true", unknown, kOutOfScope},
      {", branches: [main]", web, kGrant},
      {", branches: [main]", fork, kOutOfScope},
      {", branches: [main]", local, kOutOfScope},
      {", branches: ['**']", local, kOutOfScope},
      {", branches: [release/*]", web, kOutOfScope},
      {", branches: [release/*]", JobIdentity{"acme/web", "release/1", false}, kGrant},
      {", branches: [release/*]", JobIdentity{"acme/web", "release/1/x", false}, kOutOfScope},
      {", branches: ['**']", JobIdentity{"acme/web", "release/1/x", false}, kGrant},
      {", branches: [main]", JobIdentity{"acme/web", "Main", false}, kOutOfScope},
  };
  for (const auto& item : cases) {
    CAPTURE(std::string(item.scope));
    CAPTURE(item.job.pipeline);
    Fixture f;
    const auto bindings =
        f.bindings({fmt::format("id: a, host: git.test, paths: ['*/*'], source: {{env: T}}{}", item.scope)});
    CHECK(kind_of(bindings, ask(), item.job) == item.kind);
  }
}

TEST_CASE("of two that match, the more specific path counts, then the order of the file") {
  Fixture f;
  const auto entry = [](const char* id, const char* path) {
    return fmt::format("id: {}, host: git.test, paths: ['{}'], source: {{env: T}}", id, path);
  };
  const auto bindings =
      f.bindings({entry("all", "**"), entry("two", "*/*"), entry("deep", "acme/**"), entry("org", "acme/*"),
                  entry("again", "acme/*"), entry("long", "acme/web-long-*"), entry("exact", "acme/web")});
  const auto id_for = [&](const char* path) {
    const auto choice = choose_binding(ask(path), {}, bindings, {});
    REQUIRE(choice.kind == kGrant);
    return bindings.entries[choice.index].id;
  };
  CHECK(id_for("acme/web") == "exact");
  CHECK(id_for("acme/web.git") == "exact");
  CHECK(id_for("acme/api") == "org");
  CHECK(id_for("acme/web-long-name") == "long");
  CHECK(id_for("acme/group/api") == "deep");
  CHECK(id_for("other/api") == "two");
  CHECK(id_for("other/group/api") == "all");
}

TEST_CASE("the repository's secrets narrow what counts, and widen nothing") {
  Fixture f;
  const auto bindings = f.bindings({"id: a, host: git.test, paths: [acme/web], source: {env: T}",
                                    "id: b, host: git.test, paths: ['*/*'], source: {env: T}",
                                    "id: c, host: other.test, paths: ['*/*'], source: {env: T}"});
  const auto id_for = [&](const std::vector<policy::SecretRequest>& secrets, std::string_view host = "git.test") {
    const auto choice = choose_binding(ask("acme/web", host), {}, bindings, secrets);
    return choice.kind == kGrant ? bindings.entries[choice.index].id : std::string("-");
  };
  CHECK(id_for({}) == "a");
  CHECK(id_for({{.id = "b", .target = "git", .allowed_hosts = {"git.test"}}}) == "b");
  CHECK(id_for({{.id = "none", .target = "git", .allowed_hosts = {"git.test"}}}) == "-");
  CHECK(id_for({{.id = "c", .target = "git", .allowed_hosts = {"git.test"}}}, "other.test") == "-");
  CHECK(id_for({{.id = "b", .target = "git", .allowed_hosts = {"git.test"}}}, "other.test") == "c");
  CHECK(id_for({{.id = "b", .target = "registry", .allowed_hosts = {"git.test"}}}) == "a");
}

TEST_CASE("why says which binding did not match and how, and nothing of the request") {
  Fixture f;
  std::vector<std::string> entries = {
      "id: fork, host: git.test, paths: ['*/*'], source: {env: T}",
      "id: pipe, host: git.test, paths: ['*/*'], pipelines: [a/b], source: {env: T}",
      "id: path, host: git.test, paths: [x/y], source: {env: T}",
  };
  const JobIdentity job{"acme/web", "main", true};
  const auto why = choose_binding(ask("guest/text"), job, f.bindings(entries), {}).why;
  CHECK(why ==
        "binding 'fork' is not for builds of forks; binding 'pipe' is not for this pipeline; "
        "binding 'path' does not name this repository");
  for (int i = 0; i < 10; ++i)
    entries.push_back(fmt::format("id: more{}, host: git.test, paths: [x/y], source: {{env: T}}", i));
  CHECK(choose_binding(ask("guest/text"), job, f.bindings(entries), {}).why.ends_with("; and 8 more"));
  CHECK(choose_binding(ask("a/b", "unknown.test"), job, f.bindings(entries), {}).why == "no binding names this host");
}
