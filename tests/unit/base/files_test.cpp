#include "src/base/net/sha256.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

using namespace cleanroom::base;

TEST_SUITE("base/files") {
  TEST_CASE("an atomic file appears only at commit, and leaves nothing without it") {
    const auto directory = TempDir::create("/tmp", "cleanroom-test-");
    REQUIRE(directory.has_value());
    const auto target = directory->path() / "state.json";
    {
      auto file = AtomicFile::create(target);
      REQUIRE(file.has_value());
      REQUIRE(write_all(file->fd(), "half").has_value());
    }
    CHECK(std::filesystem::is_empty(directory->path()));
    REQUIRE(write_file_atomically(target, "whole", 0640).has_value());
    CHECK(read_file(target, 100).value() == "whole");
    struct stat info {};
    REQUIRE(::stat(target.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0640);
  }

  TEST_CASE("a read has a cap") {
    const auto directory = TempDir::create("/tmp", "cleanroom-test-");
    REQUIRE(directory.has_value());
    REQUIRE(write_file_atomically(directory->path() / "f", std::string(1000, 'x')).has_value());
    CHECK(read_file(directory->path() / "f", 1000).has_value());
    CHECK(read_file(directory->path() / "f", 999).error().code == Code::invalid_input);
  }

  TEST_CASE("private directories are made for their owner alone") {
    const auto directory = TempDir::create("/tmp", "cleanroom-test-");
    REQUIRE(directory.has_value());
    REQUIRE(make_private_directories(directory->path() / "a/b/c").has_value());
    struct stat info {};
    REQUIRE(::stat((directory->path() / "a/b").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0700);
    REQUIRE(write_file_atomically(directory->path() / "file", "").has_value());
    CHECK_FALSE(make_private_directories(directory->path() / "file/sub").has_value());
  }

  TEST_CASE("SHA-256 of the empty string and of abc (FIPS 180-4 examples)") {
    CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  }
}
