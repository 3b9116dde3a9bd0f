// The index of a layer as a file, and when a build gives it its name.
#include "src/image/layer_checkpoints.h"
#include "tests/unit/image/memory_files.h"

#include <sys/stat.h>

#include <limits>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

constexpr std::uint64_t kChecksum = 0xfedcba9876543210;

struct Record {
  TarMember member;
  std::vector<Run> runs;
};

bool same(const Record& a, const Record& b) {
  const auto xattrs = [](const TarMember& m) {
    std::vector<std::pair<std::string, std::string>> all;
    for (const Xattr& x : m.xattrs)
      all.emplace_back(x.name, x.value);
    return all;
  };
  const auto runs = [](const std::vector<Run>& list) {
    std::vector<std::array<std::uint32_t, 3>> all;
    for (const Run& run : list)
      all.push_back({run.logical, run.physical, run.count});
    return all;
  };
  const auto fields = [](const TarMember& m) {
    return std::tuple(m.name, m.kind, m.mode, m.uid, m.gid, m.mtime, m.size, m.link_name, m.device_major,
                      m.device_minor);
  };
  return fields(a.member) == fields(b.member) && xattrs(a.member) == xattrs(b.member) && runs(a.runs) == runs(b.runs);
}

void write_index(const std::filesystem::path& path, const std::vector<Record>& records, BlockRange range) {
  auto writer = LayerIndexWriter::create(path);
  REQUIRE(writer.has_value());
  for (const Record& record : records)
    REQUIRE(writer->add(record.member, record.runs).has_value());
  REQUIRE(writer->close(range, kChecksum).has_value());
}

std::vector<Record> extremes() {
  constexpr auto kMax = std::numeric_limits<std::uint32_t>::max();
  std::vector<Record> records(1);  // everything empty
  for (const auto seconds : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::int64_t{0},
                             std::numeric_limits<std::int64_t>::max()}) {
    TarMember member{.name = fmt::format("time/{}", seconds)};
    member.mtime = {seconds, 999'999'999};
    records.push_back({member, {}});
  }
  for (int kind = 0; kind <= static_cast<int>(EntryKind::socket); ++kind)
    records.push_back({{.name = "kind", .kind = static_cast<EntryKind>(kind)}, {}});
  TarMember large{.name = std::string(4096, 'n'), .mode = 07777, .uid = kMax, .gid = kMax};
  large.size = std::numeric_limits<std::uint64_t>::max();
  large.link_name = std::string(4095, 'l');
  large.device_major = kMax;
  large.device_minor = kMax;
  large.xattrs = {
      {"user.empty", ""}, {"user.binary", std::string("\0\xff\n", 3)}, {"user.big", std::string(65536, 'v')}};
  std::vector<Run> runs;
  for (std::uint32_t i = 0; i < kMaxRuns; ++i)
    runs.push_back({kMax - i, i, 1});
  runs.push_back({0, 0, 5000});
  records.push_back({large, runs});
  records.push_back({{.name = "n"}, {}});             // shares one byte with the name before
  records.push_back({{.name = "no\n\xff\x01"}, {}});  // any bytes
  records.push_back({{.name = std::string(100, 'n')}, {}});
  for (int i = 0; i < 20'000; ++i)  // several buffers
    records.push_back({{.name = fmt::format("usr/share/doc/package-{}/copyright", i), .size = 7}, {{0, 3, 1}}});
  return records;
}

struct Directory {
  base::TempDir temporary = temp_dir();
  base::Fd image = base::open_file(temporary.path() / "image", O_RDWR | O_CREAT).value();
  LayerCheckpoints checkpoints{temporary.path(), image};

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(temporary.path())) {
      if (entry.path().extension() == ".layer") found.push_back(entry.path().stem().native().substr(0, 1));
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(temporary.path()), {})) - 1;
  }
  void layer(char name, BlockRange range) {
    auto writer = checkpoints.begin(model::Digest::from_sha256_hex(std::string(64, name)));
    REQUIRE(writer.has_value());
    REQUIRE(checkpoints.complete(std::move(*writer), range, kChecksum).has_value());
  }
};

using Names = std::vector<std::string>;
constexpr std::uint32_t kMuch = 64u * 256;  // blocks of 64 MiB: then it syncs on the way

}  // namespace

TEST_SUITE("image/layer_index") {
  TEST_CASE("what is written is read, extreme members too") {
    const auto directory = temp_dir();
    const auto records = extremes();
    write_index(directory.path() / "index", records, {77, 5000});
    auto reader = LayerIndexReader::open(base::open_file(directory.path() / "index", O_RDONLY).value());
    REQUIRE_MESSAGE(reader.has_value(), failure_of(reader));
    CHECK(reader->data().first == 77);
    CHECK(reader->data().count == 5000);
    CHECK(reader->checksum() == kChecksum);
    Record read;
    for (std::size_t i = 0; i < records.size(); ++i) {
      const auto more = reader->next(read.member, read.runs);
      REQUIRE_MESSAGE((more && *more), i);
      if (!same(read, records[i])) FAIL_CHECK(i);
    }
    CHECK(reader->next(read.member, read.runs).value() == false);
    CHECK(reader->next(read.member, read.runs).value() == false);
  }

  TEST_CASE("a layer without members has an index") {
    const auto directory = temp_dir();
    write_index(directory.path() / "index", {}, {5, 0});
    auto reader = LayerIndexReader::open(base::open_file(directory.path() / "index", O_RDONLY).value());
    REQUIRE(reader.has_value());
    Record read;
    CHECK(reader->next(read.member, read.runs).value() == false);
  }

  TEST_CASE("runs that leave the layer's range are refused") {
    const auto directory = temp_dir();
    int number = 0;
    for (const Run& run : {Run{0, 10, 1}, Run{0, 0, 11}, Run{0, 9, 2}, Run{0, 0xffffffff, 0xffffffff}}) {
      const auto path = directory.path() / std::to_string(number++);
      write_index(path, {{{.name = "f", .size = 4096}, {run}}}, {0, 10});
      auto reader = LayerIndexReader::open(base::open_file(path, O_RDONLY).value());
      REQUIRE(reader.has_value());
      Record read;
      const auto more = reader->next(read.member, read.runs);
      CHECK_MESSAGE((!more && more.error().reason == "image_invalid"), failure_of(more));
    }
  }

  TEST_CASE("what is no index is refused") {
    const auto directory = temp_dir();
    const auto refused = [&](int flags, const std::filesystem::path& path) {
      auto opened = base::open_file(path, flags);
      REQUIRE(opened.has_value());
      const auto reader = LayerIndexReader::open(std::move(*opened));
      CHECK_MESSAGE((!reader && reader.error().reason == "image_invalid"), failure_of(reader));
    };
    refused(O_RDONLY | O_DIRECTORY, directory.path());
    for (const std::size_t size : {0u, 8u, 79u, 80u, 4096u}) {
      const auto path = directory.path() / std::to_string(size);
      REQUIRE(base::write_all(*base::open_file(path, O_WRONLY | O_CREAT), std::string(size, 'x')).has_value());
      refused(O_RDONLY, path);
    }
  }

  TEST_CASE("a layer gets its name only after a sync") {
    Directory directory;
    directory.layer('a', {10, 100});
    directory.layer('b', {110, kMuch});  // starts to sync: not yet done
    CHECK(directory.names().empty());
    directory.layer('c', {110 + kMuch, 1});
    CHECK(directory.names().empty());
    directory.layer('d', {111 + kMuch, kMuch});  // waits for the sync before
    CHECK(directory.names() == Names{"a", "b"});
    REQUIRE(directory.checkpoints.finish().has_value());
    CHECK(directory.names() == Names{"a", "b", "c", "d"});
    CHECK(directory.files() == 4);
  }

  TEST_CASE("a layer that is not complete gets no name") {
    Directory directory;
    directory.layer('a', {10, 100});
    const auto unfinished = directory.checkpoints.begin(model::Digest::from_sha256_hex(std::string(64, 'b')));
    REQUIRE(unfinished.has_value());
    REQUIRE(directory.checkpoints.finish().has_value());
    CHECK(directory.names() == Names{"a"});
  }

  TEST_CASE("a layer that is dropped loses its name, or never gets one") {
    Directory directory;
    directory.layer('a', {10, kMuch});
    directory.layer('b', {20 + kMuch, kMuch});
    REQUIRE(directory.names() == Names{"a"});
    directory.layer('c', {30 + 2 * kMuch, 5});
    std::vector<std::uint32_t> asked;
    const auto dropped = directory.checkpoints.drop_if([&](BlockRange range) {
      asked.push_back(range.first);
      return range.first != 20 + kMuch;
    });
    REQUIRE(dropped.has_value());
    CHECK(asked == std::vector<std::uint32_t>{10, 20 + kMuch, 30 + 2 * kMuch});
    CHECK(directory.names() == Names{"b"});  // whose sync has been waited for
    REQUIRE(directory.checkpoints.finish().has_value());
    CHECK(directory.names() == Names{"b"});
    CHECK(directory.files() == 1);
  }
}
