#include "src/base/os/temp_dir.h"
#include "src/policy/ceiling.h"
#include "src/policy/load.h"
#include "src/policy/operator_config.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace cleanroom::policy {
namespace {

namespace fs = std::filesystem;

// A directory for operator files, and a place where a build writes.
struct Fixture {
  base::TempDir dir = *base::TempDir::create(fs::temp_directory_path(), "operator");
  OperatorPaths paths{.directories = {dir.path() / "etc", dir.path() / "home"},
                      .from_variable = false,
                      .untrusted_roots = {dir.path() / "build"},
                      .user = ::geteuid()};

  void write(const fs::path& name, std::string_view text,
             fs::perms mode = fs::perms::owner_read | fs::perms::owner_write) {
    const auto path = dir.path() / name;
    fs::create_directories(path.parent_path());
    fs::permissions(path.parent_path(), fs::perms::owner_all);
    std::ofstream(path) << text;
    fs::permissions(path, mode);
  }
  std::string config_reason() {
    const auto config = load_operator_config(paths);
    return config ? "" : config.error().reason;
  }
};

CompiledPolicy compiled(std::string_view text) {
  auto loaded = load_policy_text(text, "f");
  if (!loaded) FAIL(loaded.error().message);
  return loaded->policy;
}

TEST_SUITE("policy/operator_config") {
  TEST_CASE("no file means the defaults") {
    Fixture f;
    const auto config = load_operator_config(f.paths);
    REQUIRE(config);
    CHECK_FALSE(config->file);
    CHECK(config->default_backend == "auto");
    CHECK_FALSE(config->allow_emulation);
  }

  TEST_CASE("what is set is there; the first directory's file counts") {
    Fixture f;
    f.write("home/config.yaml", "allow_emulation: true\n");
    CHECK(load_operator_config(f.paths)->allow_emulation);
    f.write(
        "etc/config.yaml",
        "default_backend: qemu\nbackends:\n  qemu: {binary_path: /x/q, kernel_image: /x/k, vcpus: 2, memory_mib: 512,"
        " launch_seconds: 30}\n");
    const auto config = load_operator_config(f.paths);
    REQUIRE(config);
    CHECK_FALSE(config->allow_emulation);
    CHECK(config->default_backend == "qemu");
    CHECK(config->qemu.binary_path == "/x/q");
    CHECK(config->qemu.kernel_image == "/x/k");
    CHECK(config->qemu.vcpus == 2U);
    CHECK(config->qemu.memory_mib == 512U);
    CHECK(config->qemu.launch_timeout == std::chrono::seconds(30));
    CHECK_FALSE(config->firecracker.binary_path.has_value());
    f.write("etc/config.yaml",
            "default_backend: firecracker\nbackends: {firecracker: {binary_path: /x/f, vcpus: 32}}\n");
    CHECK(load_operator_config(f.paths)->firecracker.binary_path == "/x/f");
    CHECK(load_operator_config(f.paths)->firecracker.vcpus == 32U);
    CHECK_FALSE(load_operator_config(f.paths)->qemu.vcpus.has_value());
  }

  TEST_CASE("walls may be required by their names; a name that is none is an error") {
    Fixture f;
    f.write("etc/config.yaml", "require_isolation: [seccomp, user_namespace, cgroup]\n");
    const auto config = load_operator_config(f.paths);
    REQUIRE(config);
    CHECK(config->require_isolation ==
          std::vector{model::Wall::seccomp, model::Wall::user_namespace, model::Wall::cgroup});
    f.write("etc/config.yaml", "require_isolation: [walls]\n");
    CHECK(load_operator_config(f.paths).error().reason == "config_invalid");
  }

  TEST_CASE("a place for audit lines is a file or a socket") {
    Fixture f;
    f.write("etc/config.yaml", "allow_record: true\naudit: {file: /var/log/x.jsonl, required: true}\n");
    const auto config = load_operator_config(f.paths);
    REQUIRE(config);
    CHECK(config->allow_record);
    REQUIRE(config->audit);
    CHECK(config->audit->kind == AuditConfig::Kind::file);
    CHECK(config->audit->path == "/var/log/x.jsonl");
    CHECK(config->audit->required);
    f.write("etc/config.yaml", "audit: {socket: /run/x.sock}\n");
    CHECK(load_operator_config(f.paths)->audit->kind == AuditConfig::Kind::socket);
    CHECK_FALSE(load_operator_config(f.paths)->audit->required);
  }

  TEST_CASE("keys that this build does not honour are refused, not read over") {
    for (const char* text :
         {"limits: {}\n", "paths: {}\n", "backends: {vmware: {}}\n", "policy_from: base\n", "default_backend: vmware\n",
          "backends: {firecracker: {vcpus: 33}}\n", "allow_emulation: yes\n", "unknown: 1\n",
          "backends: {qemu: {binary_path: q}}\n", "audit: {}\n", "audit: {file: a}\n",
          "audit: {file: /a, socket: /b}\n", "audit: {socket: /b, retry: 1}\n"}) {
      CAPTURE(text);
      Fixture f;
      f.write("etc/config.yaml", text);
      CHECK(f.config_reason() == "config_invalid");
    }
  }

  TEST_CASE("registries and images: what is set, by the names that references have") {
    Fixture f;
    f.write(
        "etc/config.yaml",
        "registries:\n"
        "  - {host: 'Registry.test:5000', mirrors: ['mirror.test:5000', '[::1]:5000', localhost], ca_file: /x/ca.pem,"
        " token_realm: 'auth.test:5001'}\n"
        "  - {host: docker.io, mirrors: [hub.test]}\n"
        "  - {host: '10.0.0.1', insecure: true}\n"
        "images: {parallel_downloads: 16, max_gib: 50, unused_days: 30, docker_config: false}\n");
    const auto config = load_operator_config(f.paths);
    if (!config) FAIL(config.error().message);
    REQUIRE(config->registries.size() == 3);
    const auto* const first = config->registry("registry.test:5000");
    REQUIRE(first != nullptr);
    CHECK(first->mirrors == std::vector<std::string>{"mirror.test:5000", "[::1]:5000", "localhost"});
    CHECK_FALSE(first->insecure);
    CHECK(first->ca_file == "/x/ca.pem");
    CHECK(first->token_realm == "auth.test:5001");
    REQUIRE(config->registry("docker.io") != nullptr);
    CHECK_FALSE(config->registry("docker.io")->token_realm);
    REQUIRE(config->registry("10.0.0.1") != nullptr);
    CHECK(config->registry("10.0.0.1")->insecure);
    CHECK(config->registry("registry.test") == nullptr);
    CHECK(config->images.parallel_downloads == 16);
    CHECK(config->images.max_gib == 50U);
    CHECK(config->images.unused_days == 30U);
    CHECK(config->images.docker_config == false);
    f.write("etc/config.yaml", "images: {}\nregistries: [{host: index.docker.io}]\n");
    const auto brief = load_operator_config(f.paths);
    REQUIRE(brief);
    CHECK(brief->registry("docker.io") != nullptr);
    CHECK(brief->images.parallel_downloads == 4);
    CHECK_FALSE(brief->images.max_gib);
    CHECK_FALSE(brief->images.docker_config);
  }

  TEST_CASE("one wrong value of a registry or of images is one error that names its key") {
    struct Case {
      const char* text;
      const char* key;
    };
    const Case cases[] = {
        {"registries: [{insecure: true}]", "registries[0].host"},
        {"registries: [{host: library}]", "registries[0].host"},
        {"registries: [{host: library/debian}]", "registries[0].host"},
        {"registries: [{host: r.test/acme}]", "registries[0].host"},
        {"registries: [{host: r.test/library}]", "registries[0].host"},
        {"registries: [{host: 'https://r.test'}]", "registries[0].host"},
        {"registries: [{host: 'r.test:0'}]", "registries[0].host"},
        {"registries: [{host: 'r.test:65536'}]", "registries[0].host"},
        {"registries: [{host: 'r.test:'}]", "registries[0].host"},
        {"registries: [{host: 'bob@r.test'}]", "registries[0].host"},
        {"registries: [{host: '*.test'}]", "registries[0].host"},
        {"registries: [{host: r.test}, {host: R.TEST}]", "registries[1].host"},
        {"registries: [{host: docker.io}, {host: registry-1.docker.io}]", "registries[1].host"},
        {"registries: [{host: docker.io, insecure: true}]", "registries[0].insecure"},
        {"registries: [{host: r.test, mirrors: [m.test/acme]}]", "registries[0].mirrors[0]"},
        {"registries: [{host: r.test, mirrors: ['http://m.test']}]", "registries[0].mirrors[0]"},
        {"registries: [{host: r.test, mirrors: [m.test, M.test]}]", "registries[0].mirrors[1]"},
        {"registries: [{host: r.test, mirrors: [r.test]}]", "registries[0].mirrors[0]"},
        {"registries: [{host: r.test, mirrors: []}]", "registries[0].mirrors"},
        {"registries: [{host: r.test, ca_file: ca.pem}]", "registries[0].ca_file"},
        {"registries: [{host: r.test, insecure: true, ca_file: /ca.pem}]", "registries[0].ca_file"},
        {"registries: [{host: r.test, token_realm: 'https://auth.test/token'}]", "registries[0].token_realm"},
        {"registries: [{host: r.test, password: x}]", "registries[0].password"},
        {"images: {parallel_downloads: 0}", "images.parallel_downloads"},
        {"images: {parallel_downloads: 17}", "images.parallel_downloads"},
        {"images: {max_gib: 0}", "images.max_gib"},
        {"images: {unused_days: -1}", "images.unused_days"},
        {"images: {docker_config: yes}", "images.docker_config"},
    };
    for (const auto& item : cases) {
      CAPTURE(std::string(item.text));
      Fixture f;
      f.write("etc/config.yaml", item.text);
      const auto config = load_operator_config(f.paths);
      REQUIRE_FALSE(config);
      CHECK(config.error().reason == "config_invalid");
      CHECK(config.error().message.find(item.key) != std::string::npos);
      CHECK(config.error().message.find("config.yaml:1:") != std::string::npos);
    }
  }

  TEST_CASE("files and directories that others may write are refused") {
    Fixture f;
    f.write("etc/config.yaml", "allow_emulation: true\n");
    CHECK(f.config_reason().empty());
    const auto file = f.dir.path() / "etc/config.yaml";
    SUBCASE("group-writable file") {
      fs::permissions(file, fs::perms::group_write, fs::perm_options::add);
    }
    SUBCASE("world-writable file") {
      fs::permissions(file, fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("world-writable directory") {
      fs::permissions(file.parent_path(), fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("another user's file") {
      if (::geteuid() != 0) {
        f.paths.user = ::geteuid() + 1;  // the owner is then neither root nor "the running user"
      } else {
        REQUIRE(::chown(file.c_str(), 12345, 12345) == 0);
      }
    }
    SUBCASE("below a place where a build writes") {
      f.write("build/x/config.yaml", "allow_emulation: true\n");
      f.paths.directories = {f.dir.path() / "build/x"};
    }
    SUBCASE("a link to a place where a build writes") {
      f.write("build/x/config.yaml", "allow_emulation: true\n");
      fs::remove(file);
      fs::create_symlink(f.dir.path() / "build/x/config.yaml", file);
    }
    CHECK(f.config_reason() == "config_insecure");
  }

  TEST_CASE("CLEANROOM_CONFIG_DIR that holds no operator file is refused: it would lift the ceiling") {
    Fixture f;
    f.paths.directories = {f.dir.path() / "empty"};
    f.paths.from_variable = true;
    CHECK(f.config_reason() == "config_invalid");
    fs::create_directory(f.dir.path() / "empty");
    CHECK(f.config_reason() == "config_invalid");
    f.write("empty/ceiling.yaml", "{}");
    CHECK(f.config_reason().empty());
  }

  TEST_CASE("a FIFO is refused without waiting for a writer") {
    Fixture f;
    f.write("etc/config.yaml", "");
    fs::remove(f.dir.path() / "etc/config.yaml");
    REQUIRE(::mkfifo((f.dir.path() / "etc/config.yaml").c_str(), 0600) == 0);
    CHECK(f.config_reason() == "config_invalid");
  }
}

std::string conflict_of(std::string_view policy, const CeilingLimits& limits = {}) {
  const auto conflicts = ceiling_conflicts(compiled(policy), limits);
  return conflicts.empty() ? "" : conflicts.front().key_path;
}

std::string allowing(std::string_view host) {
  return fmt::format("version: 1\nsandbox: {{network: {{default: deny, allow: [{{host: '{}'}}]}}}}\n", host);
}

TEST_SUITE("policy/ceiling") {
  TEST_CASE("POL-06 the built-in ceiling refuses what a repository may not ask for") {
    struct Case {
      std::string policy;
      const char* key;
    };
    const Case cases[] = {
        {"version: 1\nsandbox: {resources: {vcpus: 9}}\n", "sandbox.resources.vcpus"},
        {"version: 1\nsandbox: {resources: {memory_mib: 16385}}\n", "sandbox.resources.memory_mib"},
        {"version: 1\nsandbox: {resources: {disk_mib: 102401}}\n", "sandbox.resources.disk_mib"},
        {"version: 1\nsandbox: {ttl_minutes: 1441}\n", "sandbox.ttl_minutes"},
        {"version: 1\nsandbox: {services: {docker: {required: true}}}\n", "sandbox.services.docker.required"},
        {"version: 1\ngit: {allow: [{host: github.com, push: true}]}\n", "git.allow"},
        {"version: 1\nbuildkite: {commands: [artifact]}\n", "buildkite.commands"},
        {"version: 1\nsecrets: [{id: a, target: git, allowed_hosts: [a.test]}]\n", "secrets"},
        {allowing("10.0.0.0/16"), "sandbox.network.allow[0].host"},
        {allowing("127.0.0.1"), "sandbox.network.allow[0].host"},
        {allowing("169.254.169.254"), "sandbox.network.allow[0].host"},
        {allowing("168.63.129.16"), "sandbox.network.allow[0].host"},
        {allowing("168.0.0.0/8"), "sandbox.network.allow[0].host"},  // has the metadata address above
        {allowing("fd00::/16"), "sandbox.network.allow[0].host"},
        {allowing("::1"), "sandbox.network.allow[0].host"},
        {allowing("64:ff9b::/96"), "sandbox.network.allow[0].host"},
        {allowing("64:ff9b::7f00:1"), "sandbox.network.allow[0].host"},
        {allowing("2002:7f00:1::1"), "sandbox.network.allow[0].host"},
    };
    for (const auto& item : cases) {
      CAPTURE(item.policy);
      CHECK(conflict_of(item.policy) == item.key);
    }
  }

  TEST_CASE("the built-in ceiling lets through what is public and small") {
    for (const auto& policy :
         {std::string("version: 1\nsandbox: {resources: {vcpus: 8, memory_mib: 16384}}\n"), allowing("example.com"),
          allowing("*.example.com"), allowing("1.1.1.1"), allowing("2606:4700::/32"), allowing("64:ff9b::101:101"),
          std::string("version: 1\nbuildkite: {commands: [annotate, meta-data]}\n"),
          std::string("version: 1\ngit: {allow: [{host: github.com}]}\n")}) {
      CAPTURE(policy);
      CHECK(conflict_of(policy).empty());
    }
  }

  TEST_CASE("POL-06 a git host is held to the ceiling's hosts as a network rule is") {
    CeilingLimits limits;
    limits.hosts = {"*.corp.example.com"};
    const auto git = [](const char* host) {
      return std::string("version: 1\ngit: {allow: [{host: ") + host + ", repositories: [a/b]}]}\n";
    };
    CHECK(conflict_of(git("git.corp.example.com"), limits).empty());
    CHECK(conflict_of(git("evil.example.net"), limits) == "git.allow");
    CHECK(conflict_of(git("evil.example.net")).empty());
  }

  TEST_CASE("hosts and private ranges of a ceiling cover what lies within them") {
    CeilingLimits limits;
    limits.hosts = {"*.example.com", "api.test.org", "1.1.0.0/16"};
    limits.private_cidrs = {"10.20.0.0/16"};
    for (const char* host : {"a.example.com", "*.example.com", "*.b.example.com", "api.test.org", "1.1.1.1",
                             "1.1.1.0/24", "10.20.3.0/24", "10.20.0.0/16"}) {
      CAPTURE(host);
      CHECK(conflict_of(allowing(host), limits).empty());
    }
    for (const char* host : {"example.com", "notexample.com", "*.api.test.org", "x.api.test.org", "1.0.0.0/15",
                             "10.0.0.0/8", "10.21.0.1", "a.example.com.evil.net"}) {
      CAPTURE(host);
      CHECK(conflict_of(allowing(host), limits) == "sandbox.network.allow[0].host");
    }
  }

  TEST_CASE("images of other registries and unpinned ones") {
    CeilingLimits limits;
    limits.image_registries = {"ghcr.io", "docker.io/library"};
    const auto conflicts = [&](std::string_view text) {
      return ceiling_conflicts(*model::ImageReference::parse(text), limits).size();
    };
    const std::string digest = "@sha256:" + std::string(64, 'a');
    CHECK(conflicts("ghcr.io/x/y" + digest) == 0);
    CHECK(conflicts("debian" + digest) == 0);
    CHECK(conflicts("ghcr.io.evil.test/x/y" + digest) == 1);
    CHECK(conflicts("docker.io/librarything/y" + digest) == 1);
    CHECK(conflicts("ghcr.io/x/y:latest") == 1);
    limits.unpinned_images = true;
    CHECK(conflicts("ghcr.io/x/y:latest") == 0);
  }

  TEST_CASE("a file's limits, overridden for the first pipeline that matches") {
    Fixture f;
    f.write(
        "etc/ceiling.yaml",
        "resources: {vcpus: 2}\nnetwork: {hosts: ['*.example.com']}\npipelines:\n"
        "  - {match: acme/web, resources: {vcpus: 6}}\n  - {match: 'acme/*', resources: {vcpus: 4}, secrets: [a]}\n");
    const auto ceiling = load_ceiling(f.paths);
    REQUIRE(ceiling);
    CHECK(ceiling->limits_for("").vcpus == 2);
    CHECK(ceiling->limits_for("other/web").vcpus == 2);
    CHECK(ceiling->limits_for("acme/web").vcpus == 6);
    CHECK(ceiling->limits_for("acme/web").hosts == std::vector<std::string>{"*.example.com"});
    CHECK(ceiling->limits_for("acme/web").memory_mib == 16384);
    CHECK(ceiling->limits_for("acme/x").vcpus == 4);
    CHECK(ceiling->limits_for("acme/x").secrets == std::vector<std::string>{"a"});
    CHECK(ceiling->limits_for("acme/x/y").vcpus == 2);
    CHECK(ceiling->limits_for("acmex/x").vcpus == 2);
    const auto policy = compiled("version: 1\nsandbox: {resources: {vcpus: 5}}\n");
    const auto refused = apply_ceiling(policy, *ceiling, "acme/x");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().reason == "policy_conflict");
    CHECK(refused.error().code == base::Code::policy_denied);
    CHECK(refused.error().message.find("sandbox.resources.vcpus: 5 is more than 4") != std::string::npos);
    CHECK(apply_ceiling(policy, *ceiling, "acme/web"));
  }

  TEST_CASE("a ceiling with errors is refused, never replaced by the built-in one") {
    for (const char* text :
         {"resources: {vcpu: 2}\n", "network: {private_cidrs: [10.0.0.1/8]}\n", "network: {hosts: ['a/b']}\n",
          "pipelines: [{match: acme}]\n", "pipelines: [{match: 'acme/[a]'}]\n",
          "pipelines: [{match: 'acme/a', network: {hosts: [':']}}]\n", "a: *x\n", "registries: [nmp]\n"}) {
      CAPTURE(text);
      Fixture f;
      f.write("etc/ceiling.yaml", text);
      const auto ceiling = load_ceiling(f.paths);
      REQUIRE_FALSE(ceiling);
      CHECK(ceiling.error().reason == "config_invalid");
    }
  }

  TEST_CASE("the example ceiling opens the example policy, for its organisation only") {
    Fixture f;
    std::ifstream example(fs::path(CLEANROOM_SOURCE_DIR) / "examples/policies/ceiling.yaml");
    f.write("etc/ceiling.yaml", std::string(std::istreambuf_iterator<char>(example), {}));
    const auto ceiling = load_ceiling(f.paths);
    REQUIRE(ceiling);
    const auto policy = load_policy_file(fs::path(CLEANROOM_SOURCE_DIR) / "examples/policies/internal-database.yaml");
    REQUIRE(policy);
    CHECK(apply_ceiling(policy->policy, *ceiling, "acme/web"));
    CHECK_FALSE(apply_ceiling(policy->policy, *ceiling, "other/web"));
  }
}

}  // namespace
}  // namespace cleanroom::policy
