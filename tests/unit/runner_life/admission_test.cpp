#include "src/runner/admission.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace cleanroom;
using namespace cleanroom::runner;

namespace {

constexpr const char* kPinned =
    "registry.example.com/tools/build@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

base::Result<std::string_view> choose_qemu(const policy::OperatorConfig& /*config*/) {
  return "qemu";
}

// A checkout with a policy, and operator files of its own.
struct Host {
  base::TempDir checkout = base::TempDir::create("/tmp", "cleanroom-test-").value();
  base::TempDir config = base::TempDir::create("/tmp", "cleanroom-test-").value();
  RunRequest request;

  explicit Host(const std::string& policy) {
    ::setenv("CLEANROOM_CONFIG_DIR", config.path().c_str(), 1);
    write(config.path() / "config.yaml", "allow_emulation: false\n");
    write(checkout.path() / "cleanroom.yaml", policy);
    request.checkout = checkout.path();
  }
  ~Host() { ::unsetenv("CLEANROOM_CONFIG_DIR"); }
  static void write(const std::filesystem::path& path, const std::string& text) {
    REQUIRE(base::write_file_atomically(path, text).has_value());
  }
  std::string reason() const {
    const auto admission = admit(request, choose_qemu);
    return admission ? "" : admission.error().reason;
  }
};

std::string policy_with(const std::string& sandbox, const std::string& more = {}) {
  return "version: 1\nsandbox:\n  network: {default: deny}\n" + sandbox + more;
}

}  // namespace

TEST_SUITE("runner/admission") {
  TEST_CASE("sizes come from the caller, then the policy, then the operator, then the defaults") {
    Host host(policy_with("  image: {ref: " + std::string(kPinned) + "}\n  resources: {vcpus: 3}\n  ttl_minutes: 5\n"));
    Host::write(host.config.path() / "config.yaml", "backends: {qemu: {vcpus: 1, memory_mib: 700}}\n");
    host.request.timeout = std::chrono::seconds(400);
    auto admission = admit(host.request, choose_qemu);
    REQUIRE(admission.has_value());
    CHECK(admission->vcpus == 3);
    CHECK(admission->memory_mib == 700);
    CHECK(admission->time_limit == std::chrono::seconds(300));
    CHECK(admission->image_source == kPinned);
    host.request.vcpus = 2;
    host.request.timeout = std::chrono::seconds(100);
    admission = admit(host.request, choose_qemu);
    CHECK(admission->vcpus == 2);
    CHECK(admission->time_limit == std::chrono::seconds(100));
  }

  TEST_CASE(
      "the operator's settings are those of the backend that was chosen, and a choice that fails refuses the run") {
    Host host(policy_with("  image: {ref: " + std::string(kPinned) + "}\n"));
    Host::write(host.config.path() / "config.yaml",
                "backends: {qemu: {memory_mib: 700}, firecracker: {memory_mib: 300, kernel_image: /k/vmlinux}}\n");
    const auto choose_firecracker = [](const policy::OperatorConfig&) -> base::Result<std::string_view> {
      return "firecracker";
    };
    const auto admission = admit(host.request, choose_firecracker);
    REQUIRE(admission.has_value());
    CHECK(admission->memory_mib == 300);
    CHECK(admission->backend_config.kernel_image == "/k/vmlinux");
    CHECK(admit(host.request, choose_qemu)->memory_mib == 700);
    const auto choose_none = [](const policy::OperatorConfig&) -> base::Result<std::string_view> {
      return base::fail(base::Code::unsupported, "backend_capability_mismatch", "cannot use it");
    };
    CHECK(admit(host.request, choose_none).error().reason == "backend_capability_mismatch");
  }

  TEST_CASE("EGR-02 a missing or broken policy refuses the run") {
    Host host("version: 1\nsandbox: {network: {default: allow}}\n");
    CHECK(host.reason() == "policy_invalid");
    std::filesystem::remove(host.checkout.path() / "cleanroom.yaml");
    CHECK(host.reason() == "policy_missing");
  }

  TEST_CASE("POL-06 more than the ceiling is a conflict, whoever asks for it") {
    Host host(policy_with("  image: {ref: " + std::string(kPinned) + "}\n  resources: {memory_mib: 64000}\n"));
    CHECK(host.reason() == "policy_conflict");
    Host caller(policy_with("  image: {ref: " + std::string(kPinned) + "}\n"));
    caller.request.vcpus = 64;
    CHECK(caller.reason() == "policy_conflict");
  }

  TEST_CASE("what this build does not enforce is refused, never ignored") {
    Host docker(policy_with("  image: {ref: " + std::string(kPinned) + "}\n", "registries: {npm: {enable: true}}\n"));
    const auto admission = admit(docker.request, choose_qemu);
    REQUIRE_FALSE(admission.has_value());
    CHECK(admission.error().code == base::Code::unsupported);
    CHECK(admission.error().message.find("registries.npm") != std::string::npos);
  }

  TEST_CASE("--record replaces the network rules by the ceiling, for a person without a policy too") {
    Host host(policy_with("  image: {ref: " + std::string(kPinned) + "}\n"));
    const auto judge = [&](const char* name) {
      const auto admission = admit(host.request, choose_qemu);
      REQUIRE(admission.has_value());
      return admission->policy.policy.network().judge(*model::HostName::parse(name), 8443).allowed;
    };
    CHECK_FALSE(judge("example.com"));
    const auto hash = admit(host.request, choose_qemu)->policy.policy.hash();
    host.request.record_file = "/tmp/record.yaml";
    CHECK(judge("example.com"));
    CHECK_FALSE(judge("169.254.169.254"));
    CHECK_FALSE(judge("127.0.0.1"));
    CHECK_FALSE(admit(host.request, choose_qemu)->policy.policy.hash() == hash);
    Host::write(host.config.path() / "ceiling.yaml",
                "network: {hosts: ['*.example.org'], private_cidrs: [10.9.0.0/24]}\n");
    CHECK_FALSE(judge("example.com"));
    CHECK(judge("a.example.org"));
    CHECK(judge("10.9.0.1"));
    std::filesystem::remove(host.checkout.path() / "cleanroom.yaml");
    host.request.image = kPinned;
    CHECK(host.reason().empty());
    host.request.record_file.reset();
    CHECK(host.reason() == "policy_missing");
  }

  TEST_CASE("a recorded run's gateway serves git.allow alone, and the policy's deny rules still bind it") {
    Host host("version: 1\nsandbox:\n  image: {ref: " + std::string(kPinned) +
              "}\n  network: {default: deny, allow: [{host: a.test}], deny: [{host: b.test}]}\n");
    const auto reason = [&](const char* name) {
      const auto admission = admit(host.request, choose_qemu);
      REQUIRE(admission.has_value());
      return admission->gateway_network.judge(*model::HostName::parse(name), 443).reason;
    };
    CHECK(reason("a.test") == model::Reason::allowed);
    host.request.record_file = "/tmp/record.yaml";
    CHECK(reason("a.test") == model::Reason::host_not_allowed);
    CHECK(reason("b.test") == model::Reason::host_denied);
  }

  TEST_CASE("--record under Buildkite needs the operator's word, and a fork never has it") {
    Host host(policy_with("  image: {ref: " + std::string(kPinned) + "}\n"));
    host.request.record_file = "/tmp/record.yaml";
    host.request.under_buildkite = true;
    CHECK(host.reason() == "record_refused");
    Host::write(host.config.path() / "config.yaml", "allow_record: true\n");
    CHECK(host.reason().empty());
    host.request.identity.fork = true;
    CHECK(host.reason() == "record_refused");
  }

  TEST_CASE("a pipeline may not name an image file of the host, a person may") {
    Host host(policy_with(""));
    host.request.image = "oci:/some/layout";
    CHECK(host.reason().empty());
    host.request.under_buildkite = true;
    CHECK(host.reason() == "policy_conflict");
    host.request.image = "docker.io/library/debian:bookworm";
    CHECK(host.reason() == "policy_conflict");
  }

  TEST_CASE("no image anywhere is an error that says where to name one") {
    Host host(policy_with(""));
    const auto admission = admit(host.request, choose_qemu);
    REQUIRE_FALSE(admission.has_value());
    CHECK(admission.error().reason == "image_ref_invalid");
    CHECK(admission.error().hint.find("sandbox.image.ref") != std::string::npos);
  }

  TEST_CASE("VMM-12 emulation is refused under Buildkite unless the operator allows it, and announced elsewhere") {
    RunRequest request;
    policy::OperatorConfig config;
    CHECK(judge_emulation(request, config, "there is no /dev/kvm").value().find("no security boundary") !=
          std::string::npos);
    request.accept_emulation = true;
    CHECK(judge_emulation(request, config, "there is no /dev/kvm").value().empty());
    request.under_buildkite = true;
    const auto refused = judge_emulation(request, config, "there is no /dev/kvm");
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().reason == "emulation_refused");
    config.allow_emulation = true;
    CHECK(judge_emulation(request, config, "there is no /dev/kvm").has_value());
  }
}
