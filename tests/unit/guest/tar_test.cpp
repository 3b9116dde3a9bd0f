#include "guest/tar_format.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

using namespace cleanroom;
using namespace cleanroom::guest;

namespace {

using Bytes = std::vector<std::byte>;

struct Collected {
  TarEntry entry;
  std::string data;
};

class Collector final : public TarReader::Sink {
 public:
  base::Result<void> on_entry(const TarEntry& entry) override {
    entries.push_back({entry, {}});
    return {};
  }
  base::Result<void> on_data(std::span<const std::byte> bytes) override {
    entries.back().data += base::as_text(bytes);
    return {};
  }
  base::Result<void> on_entry_end() override {
    ++ends;
    return {};
  }
  std::vector<Collected> entries;
  std::size_t ends = 0;
};

void append(Bytes& archive, const TarEntry& entry, std::string_view data = {}) {
  const auto header = encode_tar_header(entry);
  archive.insert(archive.end(), header.begin(), header.end());
  const auto content = base::as_bytes(data);
  archive.insert(archive.end(), content.begin(), content.end());
  archive.resize(archive.size() + tar_padding(data.size()));
}

Bytes sample() {
  Bytes archive;
  append(archive, {.path = "dir", .type = TarType::directory, .mode = 0755, .mtime = 1'000'000'000});
  append(archive, {.path = "dir/a.txt", .mode = 04750, .uid = 12, .gid = 34, .size = 5, .mtime = 1'000'000'000},
         "hello");
  append(archive, {.path = "dir/" + std::string(300, 'n'), .size = 512}, std::string(512, 'x'));
  append(archive, {.path = "link", .type = TarType::symbolic_link, .mode = 0777, .link_target = std::string(150, 't')});
  append(archive, {.path = "hard", .type = TarType::hard_link, .link_target = "dir/a.txt"});
  append(archive, {.path = "big-ids", .uid = 3'000'000'000, .gid = 4'000'000'000, .size = 0});
  archive.resize(archive.size() + kTarEnd);
  return archive;
}

std::string run(std::vector<std::string> argv, const std::filesystem::path& directory) {
  auto done = base::run_process({.argv = std::move(argv),
                                 .environment = {"LC_ALL=C.UTF-8", "TZ=UTC", "PATH=/usr/bin:/bin"},
                                 .working_directory = directory},
                                base::deadline_in(std::chrono::seconds(60)));
  REQUIRE(done);
  CHECK_MESSAGE(done->status.success(), done->errors);
  return done->output;
}

void write_file(const std::filesystem::path& path, const Bytes& bytes) {
  const auto fd = base::open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  REQUIRE(fd);
  REQUIRE(base::write_all(*fd, bytes));
}

}  // namespace

TEST_CASE("what the writer writes the reader reads, cut at every block boundary and in single bytes") {
  const Bytes archive = sample();
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{512}, archive.size()}) {
    Collector collector;
    TarReader reader(collector);
    for (std::size_t at = 0; at < archive.size(); at += piece)
      REQUIRE(reader.feed(std::span(archive).subspan(at, std::min(piece, archive.size() - at))));
    CHECK(reader.is_complete());
    REQUIRE(collector.entries.size() == 6);
    CHECK(collector.ends == 6);
    CHECK(collector.entries[0].entry.type == TarType::directory);
    CHECK(collector.entries[0].entry.path == "dir");
    CHECK(collector.entries[1].entry.mode == 04750);
    CHECK(collector.entries[1].entry.uid == 12);
    CHECK(collector.entries[1].data == "hello");
    CHECK(collector.entries[2].entry.path.size() == 304);
    CHECK(collector.entries[2].data.size() == 512);
    CHECK(collector.entries[3].entry.link_target == std::string(150, 't'));
    CHECK(collector.entries[4].entry.link_target == "dir/a.txt");
    CHECK(collector.entries[5].entry.uid == 3'000'000'000);
    CHECK(collector.entries[5].entry.gid == 4'000'000'000);
  }
}

TEST_CASE("GNU tar and bsdtar list what the writer writes alike") {
  const auto temporary = base::TempDir::create("/tmp", "tar-");
  REQUIRE(temporary);
  write_file(temporary->path() / "a.tar", sample());
  const auto gnu = run({"tar", "-tf", "a.tar"}, temporary->path());
  CHECK(gnu == "dir/\ndir/a.txt\ndir/" + std::string(300, 'n') + "\nlink\nhard\nbig-ids\n");
  CHECK(run({"bsdtar", "-tf", "a.tar"}, temporary->path()) == gnu);
  CHECK(run({"tar", "-xOf", "a.tar", "dir/a.txt"}, temporary->path()) == "hello");
  const auto verbose = run({"tar", "-tvf", "a.tar", "--numeric-owner", "dir/a.txt"}, temporary->path());
  CHECK(verbose == "-rwsr-x--- 12/34             5 2001-09-09 01:46 dir/a.txt\n");
}

TEST_CASE("the reader reads what GNU tar and bsdtar write, in each of their formats") {
  const auto temporary = base::TempDir::create("/tmp", "tar-");
  REQUIRE(temporary);
  const auto tree = temporary->path() / "tree";
  std::filesystem::create_directories(tree / "sub");
  const std::string long_name = std::string(90, 'a') + "-" + std::string(120, 'b');
  std::ofstream(tree / "sub" / long_name) << "long";
  std::ofstream(tree / "file") << std::string(1000, 'f');
  std::filesystem::create_symlink(std::string(120, 'l'), tree / "link");
  std::filesystem::create_hard_link(tree / "file", tree / "second");
  const std::vector<std::vector<std::string>> writers{
      {"tar", "--format=gnu"}, {"tar", "--format=pax"}, {"bsdtar", "--format=pax"}, {"bsdtar", "--format=gnutar"}};
  for (auto argv : writers) {
    CAPTURE(argv[0] + argv[1]);
    argv.insert(argv.end(), {"-cf", "w.tar", "-C", "tree", "file", "link", "second", "sub"});
    run(argv, temporary->path());
    const auto archive = base::read_file(temporary->path() / "w.tar", 1 << 20);
    REQUIRE(archive);
    Collector collector;
    TarReader reader(collector);
    REQUIRE(reader.feed(base::as_bytes(*archive)));
    CHECK(reader.is_complete());
    REQUIRE(collector.entries.size() == 5);
    CHECK(collector.entries[0].data == std::string(1000, 'f'));
    CHECK(collector.entries[1].entry.link_target == std::string(120, 'l'));
    CHECK(collector.entries[2].entry.type == TarType::hard_link);
    CHECK(collector.entries[3].entry.path == "sub");
    CHECK(collector.entries[4].entry.path == "sub/" + long_name);
    CHECK(collector.entries[4].data == "long");
  }
}

TEST_CASE("a path that ustar splits is joined again") {
  const auto temporary = base::TempDir::create("/tmp", "tar-");
  REQUIRE(temporary);
  const std::string path = std::string(90, 'd') + "/" + std::string(90, 'f');
  std::filesystem::create_directory(temporary->path() / std::string(90, 'd'));
  std::ofstream(temporary->path() / path) << "data";
  for (const auto* program : {"tar", "bsdtar"}) {
    run({program, "--format=ustar", "-cf", "w.tar", path}, temporary->path());
    Collector collector;
    TarReader reader(collector);
    REQUIRE(reader.feed(base::as_bytes(base::read_file(temporary->path() / "w.tar", 1 << 20).value())));
    REQUIRE(collector.entries.size() == 1);
    CHECK(collector.entries[0].entry.path == path);
  }
}

TEST_CASE("broken archives are refused, whichever byte of a header is wrong") {
  const Bytes archive = sample();
  for (std::size_t at = 0; at < 512; ++at) {
    if (at == 155) continue;  // after the checksum's terminator: it counts as a space
    auto changed = archive;
    changed[at] ^= std::byte{0x55};
    Collector collector;
    TarReader reader(collector);
    CHECK_FALSE(reader.feed(changed));
  }
}

TEST_CASE("an archive that ends early is not complete") {
  const Bytes archive = sample();
  for (std::size_t size = 0; size + kTarEnd <= archive.size(); size += 100) {
    Collector collector;
    TarReader reader(collector);
    REQUIRE(reader.feed(std::span(archive).first(size)));
    CHECK_FALSE(reader.is_complete());
  }
}

TEST_CASE("hostile extended headers are refused") {
  // The writer makes an archive with a long path; its record is then replaced.
  const auto with_record = [](std::string record) {
    Bytes archive;
    append(archive, {.path = std::string(200, 'p')});
    record.resize(211, '\n');
    const auto bytes = base::as_bytes(record);
    std::copy(bytes.begin(), bytes.end(), archive.begin() + kTarBlock);
    return archive;
  };
  for (const auto* record : {"999999999 path=x", "0 path=x", "-5 path=x", "18446744073709551616 path=x", "5path=x",
                             "12 size=-10\n", "25 GNU.sparse.size=123456\n", "9 noeq12\n"}) {
    CAPTURE(record);
    Collector collector;
    TarReader reader(collector);
    CHECK_FALSE(reader.feed(with_record(record)));
  }
}
