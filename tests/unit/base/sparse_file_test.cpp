#include "src/base/os/sparse_file.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleanroom;

namespace {

constexpr std::uint64_t kSize = 64 << 20;

struct Files {
  base::TempDir directory = base::TempDir::create("/tmp", "cleanroom-sparse-").value();
  base::Fd make(const char* name) const {
    return base::open_file(directory.path() / name, O_RDWR | O_CREAT | O_EXCL).value();
  }
};

void write_at(const base::Fd& file, std::uint64_t offset, std::string_view text) {
  REQUIRE(base::pwrite_all(file, base::as_bytes(text), offset).has_value());
}

std::string text_at(const base::Fd& file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '?');
  REQUIRE(base::pread_exact(file, std::as_writable_bytes(std::span(text)), offset).has_value());
  return text;
}

}  // namespace

TEST_SUITE("base/sparse_file") {
  TEST_CASE("runs of data are found between holes") {
    const Files files;
    const auto file = files.make("file");
    REQUIRE(::ftruncate(file.get(), kSize) == 0);
    CHECK(base::next_data_run(file, 0, kSize)->begin == kSize);
    write_at(file, 8 << 20, "data");
    const auto run = base::next_data_run(file, 0, kSize).value();
    CHECK(run.begin == 8 << 20);
    CHECK(run.end > run.begin);
    CHECK(run.end < kSize);
    CHECK(base::next_data_run(file, run.begin + 1, kSize)->begin == run.begin + 1);
    CHECK(base::next_data_run(file, run.end, kSize)->begin == kSize);
  }

  TEST_CASE("a copy has the data, the length and the holes") {
    const Files files;
    const auto from = files.make("from");
    write_at(from, 0, "first");
    write_at(from, 20 << 20, std::string(300'000, 'x'));
    write_at(from, kSize - 4, "last");
    const auto to = files.make("to");
    REQUIRE(base::copy_sparse(from, to).has_value());
    CHECK(text_at(to, 0, 5) == "first");
    CHECK(text_at(to, 20 << 20, 300'000) == std::string(300'000, 'x'));
    CHECK(text_at(to, kSize - 4, 4) == "last");
    struct stat status {};
    REQUIRE(::fstat(to.get(), &status) == 0);
    CHECK(static_cast<std::uint64_t>(status.st_size) == kSize);
    CHECK(status.st_blocks * 512 < 2 << 20);
  }

  TEST_CASE("a copy to another file system has them too") {
    const Files files;
    const base::Fd from(::memfd_create("from", MFD_CLOEXEC));
    REQUIRE(from);
    write_at(from, 0, "first");
    write_at(from, 20 << 20, std::string(300'000, 'x'));
    REQUIRE(::ftruncate(from.get(), kSize) == 0);
    const auto to = files.make("to");
    const auto done = base::copy_sparse(from, to);
    REQUIRE(done.has_value());
    CHECK(text_at(to, 0, 5) == "first");
    CHECK(text_at(to, 20 << 20, 300'000) == std::string(300'000, 'x'));
    struct stat status {};
    REQUIRE(::fstat(to.get(), &status) == 0);
    CHECK(static_cast<std::uint64_t>(status.st_size) == kSize);
    CHECK(status.st_blocks * 512 < 2 << 20);
  }

  TEST_CASE("an empty file, and one that is all hole") {
    const Files files;
    const auto from = files.make("from");
    const auto to = files.make("to");
    REQUIRE(base::copy_sparse(from, to).has_value());
    REQUIRE(::ftruncate(from.get(), kSize) == 0);
    REQUIRE(base::copy_sparse(from, to).has_value());
    CHECK(text_at(to, kSize - 1, 1) == std::string(1, '\0'));
  }

  TEST_CASE("what cannot be written is an error") {
    const Files files;
    const auto from = files.make("from");
    write_at(from, 0, "data");
    const auto to = base::open_file("/proc/self/exe", O_RDONLY).value();
    CHECK_FALSE(base::copy_sparse(from, to).has_value());
  }
}
