#include "src/image/ext4_writer.h"

#include "src/base/net/sha256.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/image_support.h"

#include <sys/stat.h>

#include <functional>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

using Fill = std::function<void(Ext4Writer&)>;

base::Result<void> build_at(const std::filesystem::path& path, const Ext4Options& options, const Fill& fill) {
  auto file = base::open_file(path, O_RDWR | O_CREAT | O_TRUNC);
  REQUIRE(file.has_value());
  auto writer = Ext4Writer::create(std::move(*file), options);
  if (!writer) return base::fail(writer.error());
  fill(*writer);
  return writer->finish();
}

std::uint32_t put(Ext4Writer& writer, TreeEntry entry, const std::string& text = {}) {
  entry.size = text.size();
  TextReader reader(text);
  const auto added = writer.add(entry, &reader);
  REQUIRE_MESSAGE(added.has_value(), failure_of(added));
  return *added;
}

std::map<std::string, ReadEntry> build_and_read(const Ext4Options& options, const Fill& fill) {
  const auto directory = temp_dir();
  const auto path = directory.path() / "fs";
  const auto built = build_at(path, options, fill);
  REQUIRE_MESSAGE(built.has_value(), failure_of(built));
  check_clean(path);
  return read_ext4(path);
}

std::string noise(std::size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  std::uint64_t state = seed;
  for (char& c : text) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 33);
  }
  return text;
}

std::string acl_value() {
  std::string value("\x02\0\0\0", 4);
  const auto add = [&](std::uint16_t tag, std::uint16_t permissions, std::uint32_t id) {
    value.append(reinterpret_cast<const char*>(&tag), 2);
    value.append(reinterpret_cast<const char*>(&permissions), 2);
    value.append(reinterpret_cast<const char*>(&id), 4);
  };
  add(0x01, 6, 0);
  add(0x02, 4, 1234);
  add(0x04, 4, 0);
  add(0x10, 6, 0);
  add(0x20, 0, 0);
  return value;
}

TreeEntry directory_entry(const std::string& path) {
  return {.path = path, .kind = EntryKind::directory, .mode = 0755};
}

}  // namespace

TEST_SUITE("image/ext4_writer") {
  TEST_CASE("IMG-25 an empty file system is clean, and so are sizes around a group's border") {
    for (const std::uint64_t mib : {0ull, 1ull, 64ull, 127ull, 128ull, 129ull, 256ull, 1000ull, 4096ull}) {
      CAPTURE(mib);
      const auto entries = build_and_read({.size_bytes = mib << 20, .seed = "x"}, [](Ext4Writer&) {});
      CHECK(entries.size() == 1);
      CHECK(entries.at("").mode == (S_IFDIR | 0755));
    }
  }

  TEST_CASE("IMG-25 every kind of entry keeps owner, mode, time, target and device") {
    const auto entries = build_and_read({.seed = "x"}, [](Ext4Writer& writer) {
      put(writer, {.path = "", .kind = EntryKind::directory, .mode = 01777, .uid = 7, .gid = 8, .mtime = {99, 5}});
      put(writer, {.path = "d", .kind = EntryKind::directory, .mode = 02750, .uid = 4294967294u, .gid = 65536});
      put(writer, {.path = "d/suid", .mode = 06755, .uid = 70000, .gid = 1, .mtime = {1700000000, 123456789}}, "hello");
      put(writer, {.path = "d/empty", .mode = 0});
      put(writer, {.path = "old", .mtime = {-5, 0}});
      put(writer, {.path = "late", .mtime = {5'000'000'000, 1}});
      put(writer, {.path = "fast", .kind = EntryKind::symlink, .mode = 0777, .link_target = std::string(59, 'f')});
      put(writer, {.path = "slow", .kind = EntryKind::symlink, .mode = 0777, .link_target = std::string(60, 's')});
      put(writer, {.path = "long", .kind = EntryKind::symlink, .mode = 0777, .link_target = std::string(4095, 'l')});
      put(writer, {.path = "null", .kind = EntryKind::char_device, .mode = 0666, .device_major = 1, .device_minor = 3});
      put(writer,
          {.path = "big", .kind = EntryKind::block_device, .mode = 0660, .device_major = 259, .device_minor = 70000});
      put(writer, {.path = "fifo", .kind = EntryKind::fifo, .mode = 0600});
      put(writer, {.path = "sock", .kind = EntryKind::socket, .mode = 0600});
    });
    CHECK(entries.size() == 13);
    CHECK(entries.at("").mode == (S_IFDIR | 01777));
    CHECK(entries.at("").uid == 7);
    CHECK(entries.at("").mtime_ns == 5);
    CHECK(entries.at("").links == 3);
    CHECK(entries.at("d").uid == 4294967294u);
    CHECK(entries.at("d").gid == 65536);
    CHECK(entries.at("d").mode == (S_IFDIR | 02750));
    CHECK(entries.at("d/suid").mode == (S_IFREG | 06755));
    CHECK(entries.at("d/suid").uid == 70000);
    CHECK(entries.at("d/suid").mtime == 1700000000);
    CHECK(entries.at("d/suid").mtime_ns == 123456789);
    CHECK(entries.at("d/suid").content_sha256 == base::sha256_hex("hello"));
    CHECK(entries.at("d/empty").size == 0);
    CHECK(entries.at("old").mtime == -5);
    CHECK(entries.at("late").mtime == 5'000'000'000);
    CHECK(entries.at("fast").target == std::string(59, 'f'));
    CHECK(entries.at("fast").sectors == 0);
    CHECK(entries.at("slow").target == std::string(60, 's'));
    CHECK(entries.at("long").target == std::string(4095, 'l'));
    CHECK(entries.at("null").mode == (S_IFCHR | 0666));
    CHECK(entries.at("null").device_minor == 3);
    CHECK(entries.at("big").device_major == 259);
    CHECK(entries.at("big").device_minor == 70000);
    CHECK((entries.at("fifo").mode & S_IFMT) == S_IFIFO);
    CHECK((entries.at("sock").mode & S_IFMT) == S_IFSOCK);
  }

  TEST_CASE("hardlinks share an inode and count") {
    const auto entries = build_and_read({.seed = "x"}, [](Ext4Writer& writer) {
      const auto file = put(writer, {.path = "a", .mode = 0644}, "text");
      put(writer, directory_entry("d"));
      put(writer, {.path = "d/b", .kind = EntryKind::hardlink, .hardlink_to = file});
      put(writer, {.path = "c", .kind = EntryKind::hardlink, .hardlink_to = file});
      const auto directory = writer.add({.path = "e", .kind = EntryKind::hardlink, .hardlink_to = 12});
      CHECK(directory.error().code == base::Code::invalid_input);
      CHECK_FALSE(writer.add({.path = "e", .kind = EntryKind::hardlink, .hardlink_to = 99}).has_value());
      CHECK_FALSE(writer.add({.path = "e", .kind = EntryKind::hardlink, .hardlink_to = 2}).has_value());
    });
    CHECK(entries.at("a").links == 3);
    CHECK(entries.at("a").inode == entries.at("d/b").inode);
    CHECK(entries.at("a").inode == entries.at("c").inode);
  }

  TEST_CASE("extended attributes fit into the inode or take a block") {
    const auto entries = build_and_read({.seed = "x"}, [](Ext4Writer& writer) {
      put(writer,
          {.path = "small",
           .xattrs = {{"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}}},
          "x");
      put(writer,
          {.path = "many",
           .xattrs = {{"user.b", "2"},
                      {"user.a", std::string(1000, 'v')},
                      {"trusted.t", ""},
                      {"system.posix_acl_access", acl_value()},
                      {"user.\xc3\xa9", "e"}}},
          "x");
      put(writer, {.path = "dir",
                   .kind = EntryKind::directory,
                   .mode = 0755,
                   .xattrs = {{"system.posix_acl_default", acl_value()}, {"user.d", "1"}}});
      put(writer, {.path = "link",
                   .kind = EntryKind::symlink,
                   .link_target = "t",
                   .xattrs = {{"security.selinux", std::string(200, 's')}}});
      const auto too_large = writer.add({.path = "no", .xattrs = {{"user.x", std::string(4096, 'x')}}});
      CHECK(too_large.error().reason == "image_limit");
      CHECK_FALSE(writer.add({.path = "no", .xattrs = {{"user.x", "1"}, {"user.x", "2"}}}).has_value());
      CHECK_FALSE(writer.add({.path = "no", .xattrs = {{"bogus.x", "1"}}}).has_value());
      CHECK_FALSE(writer.add({.path = "no", .xattrs = {{"user.", "1"}}}).has_value());
      CHECK_FALSE(writer.add({.path = "no", .xattrs = {{"system.posix_acl_access", "junk"}}}).has_value());
    });
    CHECK(entries.at("small").xattrs.at("security.capability").size() == 20);
    CHECK(entries.at("small").sectors == 8);
    const auto& many = entries.at("many").xattrs;
    CHECK(many.size() == 5);
    CHECK(many.at("user.a") == std::string(1000, 'v'));
    CHECK(many.at("user.b") == "2");
    CHECK(many.at("trusted.t").empty());
    CHECK(many.at("user.\xc3\xa9") == "e");
    CHECK(many.at("system.posix_acl_access") == acl_value());
    CHECK(entries.at("dir").xattrs.at("system.posix_acl_default") == acl_value());
    CHECK(entries.at("link").target == "t");
    CHECK(entries.at("link").xattrs.at("security.selinux").size() == 200);
  }

  TEST_CASE("long runs of zeros are holes; content is exact at every size") {
    std::map<std::string, std::string> files;
    for (const std::size_t size : {1u, 4095u, 4096u, 4097u, 262144u, 262145u, 3'000'001u}) {
      files["n" + std::to_string(size)] = noise(size, static_cast<unsigned>(size));
      files["z" + std::to_string(size)] = std::string(size, '\0');
    }
    std::string holes;
    for (int i = 0; i < 1200; ++i)
      holes += noise(4096, static_cast<unsigned>(i + 7)) + std::string(i % 2 ? 40960 : 8192, '\0');
    files["holes"] = holes;
    files["leading"] = std::string(1 << 20, '\0') + "end";
    files["few"] = noise(5000) + std::string(1 << 20, '\0') + noise(100) + std::string(1 << 20, '\0');
    const auto entries = build_and_read({.seed = "x"}, [&](Ext4Writer& writer) {
      for (const auto& [name, text] : files)
        put(writer, {.path = name, .mode = 0644}, text);
    });
    for (const auto& [name, text] : files) {
      CAPTURE_BINDING(name);
      CHECK(entries.at(name).size == text.size());
      CHECK(entries.at(name).content_sha256 == base::sha256_hex(text));
    }
    CHECK(entries.at("z3000001").sectors == 0);
    CHECK(entries.at("leading").sectors == 8);
    CHECK(entries.at("few").sectors == 24);
    CHECK(entries.at("holes").sectors * 512 < holes.size() / 2);
  }

  TEST_CASE("IMG-25 a directory of 100 000 names, with names of 255 bytes among them, is clean") {
    const std::string stem(240, 'n');
    const auto entries = build_and_read({.seed = "x"}, [&](Ext4Writer& writer) {
      put(writer, directory_entry("many"));
      for (int i = 0; i < 100'000; ++i)
        put(writer, {.path = fmt::format("many/f{}", i), .mode = 0644});
      put(writer, directory_entry("long"));
      for (int i = 0; i < 10'000; ++i)
        put(writer, {.path = fmt::format("long/{}{:015}", stem, i), .mode = 0644});
      put(writer, directory_entry("few"));
      for (int i = 0; i < 200; ++i)
        put(writer, directory_entry(fmt::format("few/{:040}", i)));
    });
    CHECK(entries.size() == 100'000 + 10'000 + 200 + 4);
    CHECK(entries.at("few").links == 202);
    CHECK(entries.count("long/" + stem + "000000000009999") == 1);
  }

  TEST_CASE("the same entries give the same bytes; another seed another UUID") {
    const auto directory = temp_dir();
    const auto make = [&](const std::string& seed) {
      const auto path = directory.path() / "fs";
      const Fill fill = [](Ext4Writer& writer) {
        put(writer, directory_entry("d"));
        for (int i = 0; i < 500; ++i)
          put(writer, {.path = fmt::format("d/{}", i)}, noise(static_cast<std::size_t>(i) * 37));
        TextReader reader(noise(50'000));
        const auto dropped = writer.store_data(reader, 50'000);
        put(writer, {.path = "x"}, "after");
        writer.discard_data(*dropped);
      };
      REQUIRE(build_at(path, {.label = "root", .seed = seed}, fill).has_value());
      check_clean(path);
      return base::sha256_hex(base::read_file(path, 1u << 30).value());
    };
    const std::string first = make("a");
    CHECK(make("a") == first);
    CHECK(make("b") != first);
  }

  TEST_CASE("discarded data is free space, and a hole when it is much of all") {
    const auto directory = temp_dir();
    const auto path = directory.path() / "fs";
    const std::string secret = "overwritten by an upper layer";
    const auto built = build_at(path, {.seed = "x"}, [&](Ext4Writer& writer) {
      TextReader first(secret);
      const auto data = writer.store_data(first, secret.size());
      REQUIRE(data.has_value());
      put(writer, {.path = "kept"}, "kept");
      writer.discard_data(*data);
    });
    REQUIRE_MESSAGE(built.has_value(), failure_of(built));
    check_clean(path);
    CHECK(base::read_file(path, 1u << 30).value().find(secret) == std::string::npos);
    CHECK(read_ext4_file(path, "kept") == "kept");
  }

  TEST_CASE("a scratch disk of 20 GiB takes little space, with and without a journal") {
    const auto directory = temp_dir();
    for (const std::uint32_t journal_mib : {0u, 64u, 256u}) {
      CAPTURE(journal_mib);
      const auto path = directory.path() / "fs";
      REQUIRE(build_at(path, {.size_bytes = 20ull << 30, .journal_mib = journal_mib, .label = "scratch"},
                       [](Ext4Writer&) {}));
      struct stat info {};
      REQUIRE(::stat(path.c_str(), &info) == 0);
      CHECK(info.st_size == 20ll << 30);
      CHECK(info.st_blocks * 512 < 1 << 20);
      check_clean(path);
    }
  }

  TEST_CASE("what does not fit, or is not a tree, is refused") {
    const auto directory = temp_dir();
    const auto path = directory.path() / "fs";
    const auto full = build_at(path, {.size_bytes = 4 << 20}, [](Ext4Writer& writer) {
      const std::string text = noise(5 << 20);
      TextReader reader(text);
      CHECK(writer.add({.path = "big", .size = text.size()}, &reader).error().reason == "image_limit");
    });
    CHECK_FALSE(full.has_value());
    const auto crowded = build_at(path, {.size_bytes = 1 << 20}, [](Ext4Writer& writer) {
      for (int i = 0; i < 5000; ++i)
        put(writer, {.path = std::to_string(i)});
    });
    CHECK(crowded.error().reason == "image_limit");
    const auto twice = build_at(path, {}, [](Ext4Writer& writer) {
      put(writer, {.path = "a"});
      put(writer, {.path = "a"});
    });
    CHECK(twice.error().code == base::Code::already_exists);
    REQUIRE(build_at(path, {}, [](Ext4Writer& writer) {
      put(writer, {.path = "file"});
      for (const char* bad : {"missing/x", "file/x", "..", ".", "a/", "/a", "d/../x"}) {
        CAPTURE(bad);
        CHECK_FALSE(writer.add({.path = bad}).has_value());
      }
      CHECK_FALSE(writer.add({.path = std::string("n\0l", 3)}).has_value());
      CHECK_FALSE(writer.add({.path = std::string(256, 'n')}).has_value());
      CHECK_FALSE(writer.add({.path = "", .kind = EntryKind::file}).has_value());
      CHECK_FALSE(writer.add({.path = "s", .kind = EntryKind::symlink}).has_value());
      TextReader reader("short");
      CHECK_FALSE(writer.add({.path = "s", .size = 6}, &reader).has_value());
    }));
  }
}
