#include "src/runner/run_directory.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using cleanroom::runner::RunDirectory;

namespace {

std::size_t count_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

}  // namespace

TEST_SUITE("runner/run_directory") {
  TEST_CASE("the record stays, the work goes") {
    const auto state = base::TempDir::create("/tmp", "cleanroom-test-").value();
    std::filesystem::path path;
    {
      auto run = RunDirectory::create(state.path()).value();
      path = run.path();
      REQUIRE(base::write_file_atomically(run.work() / "scratch.ext4", "disk").has_value());
      REQUIRE(base::write_file_atomically(path / "run.json", "{}").has_value());
    }
    CHECK(std::filesystem::exists(path / "run.json"));
    CHECK_FALSE(std::filesystem::exists(path / "work"));
  }

  TEST_CASE("FLT-01 the next start sweeps what a killed runner left, and not what lives") {
    const auto state = base::TempDir::create("/tmp", "cleanroom-test-").value();
    auto living = RunDirectory::create(state.path()).value();
    const auto dead = state.path() / "runs/20200101-000000-00000000";
    REQUIRE(base::make_private_directories(dead / "work").has_value());
    REQUIRE(base::write_file_atomically(dead / "lock", "").has_value());
    REQUIRE(base::write_file_atomically(dead / "work/scratch.ext4", "disk").has_value());
    const auto next = RunDirectory::create(state.path()).value();
    CHECK_FALSE(std::filesystem::exists(dead / "work"));
    CHECK(std::filesystem::exists(dead));
    CHECK(std::filesystem::exists(living.work()));
    CHECK(next.id() != living.id());
  }

  TEST_CASE("the work of a run that is to be kept survives the sweep") {
    const auto state = base::TempDir::create("/tmp", "cleanroom-test-").value();
    std::filesystem::path work;
    {
      auto run = RunDirectory::create(state.path()).value();
      work = run.work();
      run.keep_work();
    }
    REQUIRE(RunDirectory::sweep(state.path()).has_value());
    CHECK(std::filesystem::exists(work));
  }

  TEST_CASE("only so many records are kept, the oldest go first") {
    const auto state = base::TempDir::create("/tmp", "cleanroom-test-").value();
    for (std::size_t i = 0; i < runner::kKeptRuns + 5; ++i) {
      REQUIRE(
          base::make_private_directories(state.path() / "runs" / fmt::format("20200101-000000-{:08x}", i)).has_value());
    }
    REQUIRE(RunDirectory::sweep(state.path()).has_value());
    CHECK(count_in(state.path() / "runs") == runner::kKeptRuns);
    CHECK_FALSE(std::filesystem::exists(state.path() / "runs/20200101-000000-00000004"));
    CHECK(std::filesystem::exists(state.path() / "runs/20200101-000000-00000005"));
  }

  TEST_CASE("a link in place of a run is not followed") {
    const auto state = base::TempDir::create("/tmp", "cleanroom-test-").value();
    const auto elsewhere = base::TempDir::create("/tmp", "cleanroom-test-").value();
    REQUIRE(base::make_private_directories(elsewhere.path() / "work").has_value());
    REQUIRE(base::make_private_directories(state.path() / "runs").has_value());
    std::filesystem::create_directory_symlink(elsewhere.path(), state.path() / "runs/20200101-000000-00000000");
    REQUIRE(RunDirectory::sweep(state.path()).has_value());
    CHECK(std::filesystem::exists(elsewhere.path() / "work"));
  }
}
