#include "guest/tree.h"

#include "guest/root_path.h"
#include "guest/tar_format.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

using namespace cleanroom;
using namespace cleanroom::guest;

namespace {

// A directory that stands in for the job's root, and a file for the archive.
struct Place {
  base::TempDir directory = base::TempDir::create("/tmp", "tree-").value();
  std::filesystem::path path = directory.path() / "root";
  base::Fd root = make_root();
  base::Fd make_root() const {
    std::filesystem::create_directory(path);
    return base::open_file(path, O_PATH | O_DIRECTORY).value();
  }
  base::Fd archive(int flags) const { return base::open_file(directory.path() / "archive", flags).value(); }

  base::Result<void> send(const std::string& from, const std::vector<std::string>& patterns) const {
    return send_tree(root, from, patterns, archive(O_WRONLY | O_CREAT | O_TRUNC));
  }
  base::Result<void> receive(const std::string& into) const { return receive_tree(root, into, archive(O_RDONLY)); }
  void write_archive(const std::vector<TarEntry>& entries) const {
    std::vector<std::byte> bytes;
    for (const auto& entry : entries) {
      const auto header = encode_tar_header(entry);
      bytes.insert(bytes.end(), header.begin(), header.end());
    }
    bytes.resize(bytes.size() + kTarEnd);
    REQUIRE(base::write_all(archive(O_WRONLY | O_CREAT | O_TRUNC), bytes));
  }
};

TarEntry own(TarEntry entry) {
  entry.uid = ::getuid();
  entry.gid = ::getgid();
  return entry;
}

}  // namespace

TEST_CASE("a tree that was sent is received the same") {
  const Place place;
  std::filesystem::create_directories(place.path / "in/sub/.hidden");
  std::ofstream(place.path / "in/sub/a.txt") << "a";
  std::ofstream(place.path / "in/sub/.hidden/b") << std::string(100'000, 'b');
  std::ofstream(place.path / "in/other.txt") << "no";
  std::filesystem::create_symlink("/etc/passwd", place.path / "in/sub/link");
  ::chmod((place.path / "in/sub/a.txt").c_str(), 0751);
  REQUIRE(place.send("/in", {"sub"}));
  REQUIRE(place.receive("/new/out"));
  const auto out = place.path / "new/out";
  CHECK(base::read_file(out / "sub/.hidden/b", 1 << 20).value() == std::string(100'000, 'b'));
  CHECK(std::filesystem::read_symlink(out / "sub/link") == "/etc/passwd");
  CHECK_FALSE(std::filesystem::exists(out / "other.txt"));
  struct stat status {};
  REQUIRE(::stat((out / "sub/a.txt").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0751);
}

TEST_CASE("only what matches is sent; a FIFO holds nobody; no match is an empty archive") {
  const Place place;
  std::filesystem::create_directories(place.path / "d/e");
  std::ofstream(place.path / "d/a.xml") << "1";
  std::ofstream(place.path / "d/e/b.xml") << "2";
  std::ofstream(place.path / "d/e/c.txt") << "3";
  REQUIRE(::mkfifo((place.path / "d/fifo.xml").c_str(), 0600) == 0);
  REQUIRE(place.send("/", {"**/*.xml"}));
  const auto archive = base::read_file(place.directory.path() / "archive", 1 << 20).value();
  const auto name_at = [&](std::size_t at) { return std::string(archive.c_str() + at); };
  CHECK(name_at(0) == "d/a.xml");
  CHECK(name_at(1024) == "d/e/b.xml");
  CHECK(name_at(2048) == "d/fifo.xml");
  CHECK(archive[2048 + 156] == '6');
  CHECK(archive.size() == 2560 + kTarEnd);
  REQUIRE(place.send("/", {"nothing"}));
  CHECK(std::filesystem::file_size(place.directory.path() / "archive") == kTarEnd);
  CHECK(place.send("/missing", {"**"}).error().code == base::Code::not_found);
  CHECK(place.send("/", {"../*"}).error().code == base::Code::invalid_input);
}

TEST_CASE("WSP-01 entries and links that lead out stay within the root") {
  const Place place;
  const auto outside = place.directory.path() / "outside";
  std::filesystem::create_directory(outside);
  for (const auto* path : {"../evil", "/evil", "a/../../evil", ".."}) {
    CAPTURE(path);
    place.write_archive({own({.path = path})});
    CHECK(place.receive("/in").error().code == base::Code::invalid_input);
  }
  // A link out of the root, then a file through it: the root's own "outside" gets it.
  place.write_archive({own({.path = "link", .type = TarType::symbolic_link, .link_target = outside.string()}),
                       own({.path = "link/file"})});
  CHECK_FALSE(place.receive("/in"));
  CHECK(std::filesystem::is_empty(outside));
  place.write_archive(
      {own({.path = "up", .type = TarType::symbolic_link, .link_target = "../../../.."}), own({.path = "up/file"})});
  REQUIRE(place.receive("/in"));
  CHECK(std::filesystem::exists(place.path / "file"));
  place.write_archive({own({.path = "hard", .type = TarType::hard_link, .link_target = "../../outside"})});
  CHECK_FALSE(place.receive("/in"));
}

TEST_CASE("WSP-03 special files are not unpacked, and a link in the way is replaced, not followed") {
  const Place place;
  for (const auto type : {TarType::fifo, TarType::character_device, TarType::block_device}) {
    place.write_archive({own({.path = "special", .type = type})});
    CHECK_FALSE(place.receive("/in"));
  }
  std::ofstream(place.path / "in/target") << "kept";
  std::filesystem::create_symlink("target", place.path / "in/name");
  place.write_archive({own({.path = "name"})});
  REQUIRE(place.receive("/in"));
  CHECK(std::filesystem::is_regular_file(std::filesystem::symlink_status(place.path / "in/name")));
  CHECK(base::read_file(place.path / "in/target", 10).value() == "kept");
}

TEST_CASE("an archive that ends early is an error") {
  const Place place;
  place.write_archive({own({.path = "name"})});
  std::filesystem::resize_file(place.directory.path() / "archive", 600);
  CHECK(place.receive("/in").error().code == base::Code::invalid_input);
}
