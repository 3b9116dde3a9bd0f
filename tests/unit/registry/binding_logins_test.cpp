// Logins from the operator's bindings, by the rules of the git gateway.
#include "src/registry/binding_logins.h"

#include "tests/unit/registry/support.h"

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::registry::testing;

namespace {

const credentials::JobIdentity kLocal{};
const credentials::JobIdentity kWeb{"acme/web", "main", false};
const credentials::JobIdentity kFork{"acme/web", "main", true};

struct Rig {
  Fixture f;
  std::string show(const std::vector<std::string>& entries, const std::string& registry,
                   const std::string& repository = "acme/web", const credentials::JobIdentity& job = kLocal) {
    auto host = f.host();
    host.variables = {{"T", kCanary}};
    BindingLogins logins(f.bindings(entries), job, std::move(host));
    return testing::show(logins, registry, repository);
  }
};

std::string entry(const std::string& more) {
  return "methods: [registry-pull], " + more;
}

}  // namespace

TEST_CASE("I6 a binding's login: to its host and port, for its repositories") {
  Rig rig;
  const std::vector<std::string> entries = {
      entry("id: hub, host: docker.io, paths: ['library/*'], username: bob, source: {env: T}"),
      entry("id: own, host: r.test, port: 5000, paths: ['acme/**'], username: amy, source: {env: T}"),
      entry("id: exact, host: r.test, port: 5000, paths: [acme/app], scheme: bearer, source: {env: T}"),
      entry("id: six, host: '::1', port: 5000, paths: ['**'], username: v6, source: {env: T}")};
  const std::string canary = kCanary;
  CHECK(rig.show(entries, "docker.io", "library/debian") == "binding 'hub': basic bob:" + canary);
  CHECK(rig.show(entries, "r.test:5000", "acme/web") == "binding 'own': basic amy:" + canary);
  CHECK(rig.show(entries, "r.test:5000", "acme/app") == "binding 'exact': bearer " + canary);
  CHECK(rig.show(entries, "[::1]:5000") == "binding 'six': basic v6:" + canary);
  CHECK(rig.show(entries, "docker.io", "evil/debian") == "withheld: binding 'hub' does not name this repository");
  CHECK(has(rig.show(entries, "r.test"), "withheld: binding 'own' is for another port"));
  CHECK(has(rig.show(entries, "r.test:5000", "acme"), "withheld: binding 'own' does not name this repository"));
  for (const char* registry :
       {"other.test:5000", "x.r.test:5000", "test:5000", "registry-1.docker.io", "127.0.0.1:5000"}) {
    CAPTURE(std::string(registry));
    CHECK(rig.show(entries, registry) == "none");
  }
  CHECK(rig.show(entries, "no registry") == "none");
}

TEST_CASE("a reference without a port means the port of a binding without one") {
  Rig rig;
  const std::vector<std::string> entries = {entry("id: a, host: r.test, paths: ['**'], username: u, source: {env: T}")};
  CHECK(has(rig.show(entries, "r.test"), "binding 'a': basic"));
  CHECK(has(rig.show(entries, "r.test:443"), "binding 'a': basic"));
  CHECK(has(rig.show(entries, "r.test:80"), "another port"));
}

TEST_CASE("I6 pipelines, branches and forks narrow a registry's login as they do git's") {
  Rig rig;
  const auto with = [&](const std::string& scope, const credentials::JobIdentity& job) {
    return rig.show({entry("id: a, host: r.test, paths: ['**'], username: u, source: {env: T}" + scope)}, "r.test",
                    "acme/web", job);
  };
  CHECK(has(with("", kWeb), "basic"));
  CHECK(with("", kFork) == "withheld: binding 'a' is not for builds of forks");
  CHECK(has(with(", forks: true", kFork), "basic"));
  CHECK(with(", pipelines: [acme/api]", kWeb) == "withheld: binding 'a' is not for this pipeline");
  CHECK(with(", pipelines: ['*/*']", kLocal) == "withheld: binding 'a' is not for this pipeline");
  CHECK(with(", branches: [release]", kWeb) == "withheld: binding 'a' is not for this branch");
  CHECK(has(with(", branches: [main]", kWeb), "basic"));
}

TEST_CASE("bindings of git on the same host give a registry nothing, and are not in the way") {
  Rig rig;
  CHECK(rig.show({"id: git, host: lab.test, paths: ['**'], source: {env: T}"}, "lab.test") == "none");
}

TEST_CASE("GTW-10 a source that fails is an error that names the binding, and nothing that it has") {
  Rig rig;
  CHECK(has(rig.show({entry("id: a, host: r.test, paths: ['**'], username: u, source: {env: UNSET}")}, "r.test"),
            "!cannot use credential 'a' (env): the variable is not set"));
  const auto open = rig.f.write("token", kCanary, 0644);
  const auto file = entry("id: a, host: r.test, paths: ['**'], username: u, source: {file: " + open.string() + "}");
  CHECK(has(rig.show({file}, "r.test"), "others may read the file"));
  const auto program = rig.f.write("mint", fmt::format("#!/bin/sh\necho {0}; echo {0} >&2; exit 3\n", kCanary), 0700);
  const auto command =
      fmt::format("id: a, host: r.test, paths: ['**'], username: u, source: {{command: ['{}']}}", program.string());
  CHECK(has(rig.show({entry(command)}, "r.test"), "exit status 3"));
}

TEST_CASE("git-credential gives a registry's user name as well") {
  Rig rig;
  rig.f.write(".gitconfig", fmt::format("[credential]\n\thelper = store --file={}/store\n", rig.f.dir.path().string()));
  rig.f.write("store", "https://bot:t0ken@r.test%3a5000\n");
  CHECK(rig.show({entry("id: a, host: r.test, port: 5000, paths: ['**'], source: {git-credential: true}")},
                 "r.test:5000") == "binding 'a': basic bot:t0ken");
}
