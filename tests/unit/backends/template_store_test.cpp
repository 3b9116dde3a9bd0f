#include "src/backends/template_store.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

using namespace cleanroom;
using namespace cleanroom::backends;

namespace {

constexpr std::uint64_t kMemoryBytes = 8 << 20;

void write_at(const std::filesystem::path& path, std::string_view text, std::uint64_t offset) {
  const auto file = base::open_file(path, O_RDWR | O_CREAT).value();
  REQUIRE(base::pwrite_all(file, base::as_bytes(text), offset).has_value());
}

constexpr std::uint64_t kScratchBytes = 64 << 20;

// What a run would have saved: some data in a sparse memory, a state, and a sparse disk.
void save(const std::filesystem::path& directory, std::string_view text = "guest memory") {
  const SnapshotFiles files{directory / "memory", directory / "state"};
  const auto scratch = base::open_file(directory / "scratch", O_RDWR | O_CREAT | O_EXCL).value();
  REQUIRE(::ftruncate(scratch.get(), kScratchBytes) == 0);
  REQUIRE(base::pwrite_all(scratch, base::as_bytes(text), kScratchBytes / 2).has_value());
  const auto memory = base::open_file(files.memory, O_RDWR | O_CREAT | O_EXCL).value();
  REQUIRE(::ftruncate(memory.get(), kMemoryBytes) == 0);
  REQUIRE(base::pwrite_all(memory, base::as_bytes(text), 3 * 1024 * 1024 + 5).has_value());
  const auto state = base::open_file(files.state, O_RDWR | O_CREAT | O_EXCL).value();
  REQUIRE(base::write_all(state, "devices").has_value());
}

struct Store {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  TemplateStore store{root.path() / "templates"};
  std::string key = template_key("qemu 7.2\nkernel 6.1\n", "sha256:image");

  std::filesystem::path place() const { return root.path() / "templates" / key; }
  void make(const std::string& of) const {
    auto build = store.begin(of).value();
    REQUIRE(build.has_value());
    CHECK(build->scratch() == build->files().memory.parent_path() / "scratch");
    save(build->scratch().parent_path(), "guest memory of " + of);
    REQUIRE(build->publish().has_value());
  }
  bool is_empty() const {
    std::error_code ec;
    return std::filesystem::is_empty(root.path() / "templates", ec);
  }
};

}  // namespace

TEST_SUITE("backends/template_store") {
  TEST_CASE("WRM-07 a template is found under its own key only, which any of its inputs changes") {
    const Store fixture;
    fixture.make(fixture.key);
    const auto found = fixture.store.find(fixture.key);
    REQUIRE(found.has_value());
    CHECK(found->memory_bytes == kMemoryBytes);
    CHECK(TemplateStore::verify_memory(*found).has_value());
    for (const auto& other : {template_key("qemu 7.3\nkernel 6.1\n", "sha256:image"),
                              template_key("qemu 7.2\nkernel 6.1\n", "sha256:other"),
                              template_key("qemu 7.2\nkernel 6.1\nsha256:image", "")}) {
      CHECK(other != fixture.key);
      CHECK(fixture.store.find(other).error().code == base::Code::not_found);
    }
  }

  TEST_CASE("WRM-09 a template that was damaged or is not this user's alone is refused, and removed") {
    struct Damage {
      const char* name;
      std::function<void(const std::filesystem::path&)> apply;
    };
    const std::vector<Damage> found_out_at_once = {
        {"state flipped", [](const auto& at) { write_at(at / "state", "D", 0); }},
        {"state cut", [](const auto& at) { REQUIRE(::truncate((at / "state").c_str(), 3) == 0); }},
        {"memory cut", [](const auto& at) { REQUIRE(::truncate((at / "memory").c_str(), 4096) == 0); }},
        {"memory gone", [](const auto& at) { std::filesystem::remove(at / "memory"); }},
        {"scratch gone", [](const auto& at) { std::filesystem::remove(at / "scratch"); }},
        {"others may read the scratch disk",
         [](const auto& at) { REQUIRE(::chmod((at / "scratch").c_str(), 0644) == 0); }},
        {"manifest of another format",
         [](const auto& at) {
           REQUIRE(base::write_file_atomically(at / "manifest.json", "{\"format\":999}").has_value());
         }},
        {"manifest is no JSON",
         [](const auto& at) { REQUIRE(base::write_file_atomically(at / "manifest.json", "{").has_value()); }},
        {"memory is a link",
         [](const auto& at) {
           std::filesystem::rename(at / "memory", at / "elsewhere");
           std::filesystem::create_symlink("elsewhere", at / "memory");
         }},
        {"memory has a second name",
         [](const auto& at) { std::filesystem::create_hard_link(at / "memory", at / "second"); }},
        {"others may read the memory", [](const auto& at) { REQUIRE(::chmod((at / "memory").c_str(), 0644) == 0); }},
        {"others may write the directory", [](const auto& at) { REQUIRE(::chmod(at.c_str(), 0777) == 0); }},
        {"memory is a pipe",
         [](const auto& at) {
           std::filesystem::remove(at / "memory");
           REQUIRE(::mkfifo((at / "memory").c_str(), 0600) == 0);
         }},
    };
    for (const auto& damage : found_out_at_once) {
      CAPTURE(damage.name);
      const Store fixture;
      fixture.make(fixture.key);
      damage.apply(fixture.place());
      CHECK(fixture.store.find(fixture.key).error().code == base::Code::failed_precondition);
      CHECK(fixture.store.find(fixture.key).error().code == base::Code::not_found);
      CHECK(fixture.is_empty());
    }
    if (::geteuid() != 0) return;
    const Store fixture;
    fixture.make(fixture.key);
    REQUIRE(::chown((fixture.place() / "state").c_str(), 12345, 12345) == 0);
    CHECK(fixture.store.find(fixture.key).error().code == base::Code::failed_precondition);
  }

  TEST_CASE("WRM-09 one bit of the memory, wherever it is, is found by the digest") {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{3 * 1024 * 1024 + 5}, kMemoryBytes - 1}) {
      CAPTURE(offset);
      const Store fixture;
      fixture.make(fixture.key);
      write_at(fixture.place() / "memory", "\x01", offset);
      const auto found = fixture.store.find(fixture.key);
      REQUIRE(found.has_value());
      CHECK(TemplateStore::verify_memory(*found).error().code == base::Code::failed_precondition);
    }
  }

  TEST_CASE("a job's scratch disk is a copy of what the template's held; WRM-09 one bit of it is found") {
    const Store fixture;
    fixture.make(fixture.key);
    const auto found = fixture.store.find(fixture.key).value();
    const auto copy_to = [&](const char* name) {
      auto disk = base::open_file(fixture.root.path() / name, O_RDWR | O_CREAT | O_EXCL).value();
      REQUIRE(::ftruncate(disk.get(), kScratchBytes) == 0);
      return std::pair(TemplateStore::copy_scratch(found, disk), std::move(disk));
    };
    const auto [copied, disk] = copy_to("first");
    REQUIRE(copied.has_value());
    std::string text("guest memory of ");
    REQUIRE(base::pread_exact(disk, std::as_writable_bytes(std::span(text)), kScratchBytes / 2).has_value());
    CHECK(text == "guest memory of ");
    struct stat status {};
    REQUIRE(::fstat(disk.get(), &status) == 0);
    CHECK(static_cast<std::uint64_t>(status.st_size) == kScratchBytes);
    CHECK(status.st_blocks * 512 < 1 << 20);
    for (const std::uint64_t offset : {std::uint64_t{0}, kScratchBytes / 2, kScratchBytes - 1}) {
      CAPTURE(offset);
      write_at(fixture.place() / "scratch", "\x01", offset);
      CHECK(copy_to(fmt::format("after-{}", offset).c_str()).first.error().code == base::Code::failed_precondition);
    }
  }

  TEST_CASE("WRM-09 files of another template are refused") {
    const Store fixture;
    const auto other = template_key("other", "image");
    fixture.make(fixture.key);
    fixture.make(other);
    const auto theirs = fixture.root.path() / "templates" / other;
    SUBCASE("the memory") {
      std::filesystem::rename(theirs / "memory", fixture.place() / "memory");
      const auto found = fixture.store.find(fixture.key);
      REQUIRE(found.has_value());
      CHECK_FALSE(TemplateStore::verify_memory(*found).has_value());
    }
    SUBCASE("all of it") {
      std::filesystem::remove_all(fixture.place());
      std::filesystem::rename(theirs, fixture.place());
      CHECK(fixture.store.find(fixture.key).error().code == base::Code::failed_precondition);
    }
  }

  TEST_CASE("WRM-06 one process makes a template; the others are told at once, and again when it is there") {
    const Store fixture;
    auto first = fixture.store.begin(fixture.key).value();
    REQUIRE(first.has_value());
    CHECK_FALSE(fixture.store.begin(fixture.key).value().has_value());
    save(first->scratch().parent_path());
    REQUIRE(first->publish().has_value());
    CHECK_FALSE(fixture.store.begin(fixture.key).value().has_value());
    CHECK(fixture.store.find(fixture.key).has_value());
  }

  TEST_CASE("a maker that fails leaves nothing; what a killed one left does not stop the next") {
    const Store fixture;
    {
      auto build = fixture.store.begin(fixture.key).value();
      save(build->scratch().parent_path());
    }
    CHECK(fixture.is_empty());
    // As after SIGKILL: the files are there, the lock is not.
    const auto left = fixture.root.path() / "templates" / (".new-" + fixture.key);
    REQUIRE(base::make_private_directories(left).has_value());
    save(left, "half");
    fixture.make(fixture.key);
    CHECK(fixture.store.find(fixture.key).has_value());
  }

  TEST_CASE("publishing what was not saved fails, and leaves nothing") {
    const Store fixture;
    {
      auto build = fixture.store.begin(fixture.key).value();
      CHECK_FALSE(build->publish().has_value());
    }
    CHECK(fixture.is_empty());
  }

  TEST_CASE("the least recently used go when there are too many, the old ones and leftovers always") {
    const Store fixture;
    const auto place_of = [&](const std::string& key) { return fixture.root.path() / "templates" / key; };
    const auto used = [&](const std::string& key, time_t seconds_ago) {
      const timespec when{::time(nullptr) - seconds_ago, 0};
      const timespec times[2] = {when, when};
      REQUIRE(::utimensat(AT_FDCWD, (place_of(key) / "manifest.json").c_str(), times, 0) == 0);
    };
    const std::vector<std::string> keys = {template_key("a", ""), template_key("b", ""), template_key("c", "")};
    for (const auto& key : keys)
      fixture.make(key);
    used(keys[0], 100);
    used(keys[1], 10);
    used(keys[2], 15L * 24 * 3600);
    REQUIRE(base::make_private_directories(place_of(".new-killed")).has_value());
    const auto building = fixture.store.begin(fixture.key).value();
    fixture.store.collect({});
    CHECK(std::filesystem::exists(place_of(keys[0])));
    CHECK(std::filesystem::exists(place_of(keys[1])));
    CHECK_FALSE(std::filesystem::exists(place_of(keys[2])));
    CHECK_FALSE(std::filesystem::exists(place_of(".new-killed")));
    CHECK(std::filesystem::exists(building->files().memory.parent_path()));  // somebody is at it
    struct stat status {};
    REQUIRE(::stat((place_of(keys[1]) / "memory").c_str(), &status) == 0);
    fixture.store.collect({.max_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512 + 8192});
    CHECK_FALSE(std::filesystem::exists(place_of(keys[0])));
    CHECK(std::filesystem::exists(place_of(keys[1])));
  }
}
