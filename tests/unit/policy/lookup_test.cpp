// Which file counts, and what a hostile checkout puts under its name.
#include "src/base/os/temp_dir.h"
#include "src/policy/load.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace cleanroom::policy {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::string reason_of(const fs::path& checkout) {
  const auto loaded = load_policy_from_checkout(checkout);
  return loaded ? "" : loaded.error().reason;
}

TEST_SUITE("policy/lookup") {
  TEST_CASE("the root file counts, then .buildkite, both with a warning") {
    const auto dir = base::TempDir::create(fs::temp_directory_path(), "policy");
    REQUIRE(dir);
    const fs::path root = dir->path();
    CHECK(reason_of(root) == "policy_missing");
    write(root / ".buildkite/cleanroom.yaml", "version: 1\nproject: {name: nested}\n");
    auto loaded = load_policy_from_checkout(root);
    REQUIRE(loaded);
    CHECK(loaded->policy.project_name() == "nested");
    CHECK(loaded->diagnostics.lines().empty());
    write(root / "cleanroom.yaml", "version: 1\nproject: {name: root}\n");
    loaded = load_policy_from_checkout(root);
    REQUIRE(loaded);
    CHECK(loaded->policy.project_name() == "root");
    CHECK(loaded->file == root / "cleanroom.yaml");
    REQUIRE(loaded->diagnostics.lines().size() == 1);
    CHECK(loaded->diagnostics.lines()[0].find("is there too and does not count") != std::string::npos);
  }

  TEST_CASE("a broken root file is not passed over for the other one") {
    const auto dir = base::TempDir::create(fs::temp_directory_path(), "policy");
    REQUIRE(dir);
    write(dir->path() / ".buildkite/cleanroom.yaml", "version: 1\n");
    write(dir->path() / "cleanroom.yaml", "version: 2\n");
    CHECK(reason_of(dir->path()) == "policy_invalid");
  }

  TEST_CASE("symlinks, FIFOs and directories in a checkout are refused without reading them") {
    const auto dir = base::TempDir::create(fs::temp_directory_path(), "policy");
    REQUIRE(dir);
    const fs::path root = dir->path();
    const fs::path file = root / "cleanroom.yaml";
    write(root / "elsewhere.yaml", "version: 1\n");
    SUBCASE("symlink") {
      fs::create_symlink("elsewhere.yaml", file);
    }
    SUBCASE("fifo") {
      REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    }
    SUBCASE("directory") {
      fs::create_directory(file);
    }
    SUBCASE(".buildkite as symlink") {
      write(root / "real/cleanroom.yaml", "version: 1\n");
      fs::create_directory_symlink("real", root / ".buildkite");
    }
    CHECK(reason_of(root) == "policy_invalid");
  }

  TEST_CASE("POL-01 a 100 MB file is refused by its first 256 KiB") {
    const auto dir = base::TempDir::create(fs::temp_directory_path(), "policy");
    REQUIRE(dir);
    const fs::path file = dir->path() / "cleanroom.yaml";
    write(file, "version: 1\n");
    fs::resize_file(file, 100'000'000);
    const auto loaded = load_policy_file(file);
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().message.find("longer than 262144 bytes") != std::string::npos);
  }

  TEST_CASE("a file named by the caller may be a link, and is missing with a hint") {
    const auto dir = base::TempDir::create(fs::temp_directory_path(), "policy");
    REQUIRE(dir);
    write(dir->path() / "a.yaml", "version: 1\n");
    fs::create_symlink("a.yaml", dir->path() / "b.yaml");
    CHECK(load_policy_file(dir->path() / "b.yaml"));
    const auto missing = load_policy_file(dir->path() / "c.yaml");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().reason == "policy_missing");
    CHECK_FALSE(missing.error().hint.empty());
  }
}

}  // namespace
}  // namespace cleanroom::policy
