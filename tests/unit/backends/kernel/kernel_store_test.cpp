#include "src/backends/kernel/kernel_store.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>

using namespace cleanroom;
using namespace cleanroom::backends;
namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, std::string_view text) {
  REQUIRE(base::make_private_directories(path.parent_path()).has_value());
  REQUIRE(base::write_file_atomically(path, text).has_value());
}

KernelManifest manifest_of(const std::string& name) {
  return {.name = name,
          .version = "6.1.1-cleanroom",
          .inputs_digest = "sha256:inputs-" + name,
          .source_digest = "sha256:s",
          .fragment_digest = "sha256:f",
          .compiler = "gcc (Debian 12.2.0) \"12\"",
          .linker = "ld",
          .vmlinuz_digest = "sha256:" + std::string(64, '0'),
          .vmlinux_digest = "sha256:" + std::string(64, '0'),
          .mmio_cmdline = true,
          .pvh = true,
          .tick_hz = 250};
}

struct Store {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  KernelStore store{root.path()};

  // A folder as a build leaves it, not published.
  fs::path finished(const std::string& name, std::string_view image) const {
    const fs::path directory = root.path() / "kernels/.new.test";
    write(directory / "vmlinuz", image);
    write(directory / "vmlinux", "elf");
    auto manifest = manifest_of(name);
    manifest.vmlinuz_digest = digest_of_file(directory / "vmlinuz").value();
    manifest.vmlinux_digest = digest_of_file(directory / "vmlinux").value();
    write(directory / kManifestName, to_json_text(manifest));
    return directory;
  }
  std::vector<std::string> hidden() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(store.root())) {
      const auto name = entry.path().filename().native();
      if (name.starts_with('.') && name != ".lock") names.push_back(name);
    }
    return names;
  }
};

}  // namespace

TEST_SUITE("backends/kernel/kernel_store") {
  TEST_CASE("a manifest is read as it was written, and anything else is refused") {
    const auto manifest = manifest_of("k");
    const auto text = to_json_text(manifest);
    CHECK(to_json_text(parse_kernel_manifest(text, "m").value()) == text);
    for (std::string bad : {std::string("[]"), std::string("{}"), std::string("{"), std::string(R"({"schema": 2})"),
                            text.substr(0, text.size() / 2)}) {
      CAPTURE(bad);
      const auto parsed = parse_kernel_manifest(bad, "m");
      REQUIRE_FALSE(parsed.has_value());
      CHECK(parsed.error().reason == "kernel_unavailable");
    }
    std::string wrong_type = text;
    wrong_type.replace(wrong_type.find("\"pvh\": true"), 11, "\"pvh\": 1");
    CHECK_FALSE(parse_kernel_manifest(wrong_type, "m").has_value());
  }

  TEST_CASE("without the folder there are no kernels") {
    const Store s;
    CHECK(s.store.list().value().empty());
    CHECK(s.store.use("x").error().reason == "kernel_unavailable");
    CHECK_FALSE(s.store.find_built("sha256:inputs-k").value().has_value());
  }

  TEST_CASE("a published kernel is found by its inputs, listed with its origin, and can be made current") {
    const Store s;
    REQUIRE(s.store.publish(s.finished("k", "image"), "k").has_value());
    write(s.store.directory("6.1-debian") / "vmlinuz", "distribution");
    const auto found = s.store.find_built("sha256:inputs-k").value();
    REQUIRE(found.has_value());
    CHECK(found->name == "k");
    CHECK_FALSE(s.store.find_built("sha256:other").value().has_value());

    REQUIRE(s.store.use("k").has_value());
    auto kernels = s.store.list().value();
    REQUIRE(kernels.size() == 2);
    CHECK(kernels[0].name == "6.1-debian");
    CHECK(kernels[0].origin == KernelOrigin::distribution);
    CHECK_FALSE(kernels[0].current);
    CHECK(kernels[1].origin == KernelOrigin::built);
    CHECK(kernels[1].version == "6.1.1-cleanroom");
    CHECK(kernels[1].current);
    CHECK(kernels[1].bytes > 8);

    REQUIRE(s.store.use("6.1-debian").has_value());
    CHECK(fs::read_symlink(s.store.root() / "current") == "6.1-debian");
    CHECK(s.hidden().empty());
  }

  TEST_CASE("a name that is none, or leads elsewhere, is not used, and the current kernel stays") {
    const Store s;
    REQUIRE(s.store.publish(s.finished("k", "image"), "k").has_value());
    REQUIRE(s.store.use("k").has_value());
    for (const char* name : {"", ".", "..", "current", "nope", "../kernels/k", "k/", ".lock"}) {
      CAPTURE(name);
      const auto used = s.store.use(name);
      REQUIRE_FALSE(used.has_value());
      CHECK(used.error().hint.find("k") != std::string::npos);
    }
    CHECK(fs::read_symlink(s.store.root() / "current") == "k");
  }

  TEST_CASE("a damaged kernel is not taken for a built one, and publishing replaces it whole") {
    const Store s;
    REQUIRE(s.store.publish(s.finished("k", "image"), "k").has_value());
    write(s.store.directory("k") / "vmlinuz", "imag");
    CHECK_FALSE(s.store.find_built("sha256:inputs-k").value().has_value());
    REQUIRE(s.store.publish(s.finished("k", "image"), "k").has_value());
    CHECK(s.store.find_built("sha256:inputs-k").value().has_value());
    CHECK(s.hidden().empty());

    fs::remove(s.store.directory("k") / "vmlinux");
    CHECK(s.store.list().value().empty());
  }

  TEST_CASE("FLT-01 what a killed build left is no kernel") {
    const Store s;
    s.finished("k", "image");
    CHECK(s.store.list().value().empty());
  }

  TEST_CASE("a lock that another holds ends in a time-out, or at once when the caller is told to stop") {
    const Store s;
    const fs::path file = s.root.path() / "lock";
    const auto held = KernelLock::take(file, base::deadline_in(std::chrono::seconds(5)));
    REQUIRE(held.has_value());
    CHECK(KernelLock::take(file, base::deadline_in(std::chrono::milliseconds(0))).error().code == base::Code::timeout);
    auto pipe = base::make_pipe().value();
    REQUIRE(base::write_all(pipe.write, "x").has_value());
    CHECK(KernelLock::take(file, base::deadline_in(std::chrono::minutes(5)), &pipe.read).error().code ==
          base::Code::cancelled);
  }
}
