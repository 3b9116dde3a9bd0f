// Layers and what becomes of them: the cases IMG-01 to IMG-13.
#include "src/image/image_store.h"
#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/layer_archive.h"

#include <sys/stat.h>

#include <numeric>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

struct Built {
  base::Result<StoredImage> image = base::fail(base::Code::internal, "not run");
  std::map<std::string, ReadEntry> entries;
  std::int64_t allocated_bytes = 0;
  bool store_is_empty = true;  // but for lock files
  std::string reason() const { return image ? "built" : image.error().reason; }
};

Built build(LayoutMaker layout, const Limits& limits = {}) {
  const auto directory = temp_dir();
  layout.write(directory.path() / "layout");
  ImageStore store(directory.path() / "store", limits);
  Built built{.image = store.ensure("oci:" + (directory.path() / "layout").native())};
  for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "store")) {
    if (!entry.path().native().ends_with(".lock")) built.store_is_empty = false;
  }
  if (built.image) {
    check_clean(built.image->rootfs);
    built.entries = read_ext4(built.image->rootfs);
    struct stat info {};
    REQUIRE(::stat(built.image->rootfs.c_str(), &info) == 0);
    built.allocated_bytes = info.st_blocks * 512;
  }
  return built;
}

Built build_tars(const std::vector<std::string>& tars, const Limits& limits = {}) {
  LayoutMaker layout;
  for (const auto& tar : tars)
    layout.layers.push_back({.tar = tar});
  return build(std::move(layout), limits);
}

using Layers = std::vector<std::vector<TarEntry>>;
Built build_layers(const Layers& layers, const Limits& limits = {}) {
  std::vector<std::string> tars;
  for (const auto& layer : layers)
    tars.push_back(tar_of(layer));
  return build_tars(tars, limits);
}

std::vector<std::string> paths(const Built& built) {
  INFO(failure_of(built.image));
  REQUIRE(built.image.has_value());
  std::vector<std::string> found;
  for (const auto& [path, entry] : built.entries) {
    if (!path.empty()) found.push_back(path);
  }
  return found;
}
using Paths = std::vector<std::string>;

std::string content_of(const Built& built, const std::string& path) {
  return built.entries.at(path).content_sha256;
}
std::string sha(const std::string& text) {
  return base::sha256_hex(text);
}

// `tar` with other bytes in its first header, whose checksum is right.
std::string changed(std::string tar, std::size_t at, std::string_view bytes) {
  tar.replace(at, bytes.size(), bytes);
  tar.replace(148, 8, "        ");
  const unsigned sum = std::accumulate(tar.begin(), tar.begin() + 512, 0u,
                                       [](unsigned total, char c) { return total + static_cast<unsigned char>(c); });
  tar.replace(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return tar;
}

void check_refused(const Built& built, const std::string& reason) {
  CHECK_MESSAGE(built.reason() == reason, failure_of(built.image));
  CHECK(built.store_is_empty);
}

}  // namespace

TEST_SUITE("image/layers") {
  TEST_CASE("IMG-01 names stay inside the image or are refused") {
    CHECK(paths(build_layers({{{.name = "/abs", .content = "x"}}})) == Paths{"abs"});
    CHECK(paths(build_layers({{{.name = "./a//b/./c"}}})) == Paths{"a", "a/b", "a/b/c"});
    CHECK(paths(build_layers({{{.name = "./", .type = '5', .mode = 0700}}})).empty());
    for (const std::string& name : Paths{"../x", "a/../../x", "a/..", "..", ""}) {
      CAPTURE(name);
      check_refused(build_layers({{{.name = name}}}), "image_invalid");
    }
    check_refused(build_layers({{{.name = "/.", .type = '2', .link = "/etc"}}}), "image_invalid");
    check_refused(build_layers({{{.name = "./", .type = '0'}}}), "image_invalid");
    check_refused(build_layers({{{.name = "x", .pax = {{"path", std::string("a\0b", 3)}}}}}), "image_invalid");
    check_refused(build_layers({{{.name = std::string(256, 'n')}}}), "image_limit");
    CHECK(paths(build_layers({{{.name = std::string(255, 'n')}}})).size() == 1);
    std::string deep;
    while (deep.size() < 4097)
      deep += std::string(200, 'd') + "/";
    check_refused(build_layers({{{.name = deep.substr(0, 4097)}}}), "image_limit");
  }

  TEST_CASE("IMG-02 a symlink of a lower layer leads nowhere but into the image") {
    for (const std::string& target : Paths{"/host", "../../host", "host"}) {
      CAPTURE(target);
      const auto built =
          build_layers({{{.name = "etc", .type = '2', .link = target}}, {{.name = "etc/passwd", .content = "root"}}});
      CHECK(paths(built) == Paths{"etc", "host", "host/passwd"});
      CHECK(built.entries.at("etc").target == target);
    }
    const auto whiteout =
        build_layers({{{.name = "d/f"}, {.name = "l", .type = '2', .link = "/d"}}, {{.name = "l/.wh.f"}}});
    CHECK(paths(whiteout) == Paths{"d", "l"});
    const auto hardlink =
        build_layers({{{.name = "d/f", .content = "t"}, {.name = "l", .type = '2', .link = "../../d"}},
                      {{.name = "h", .type = '1', .link = "l/f"}}});
    CHECK(hardlink.entries.at("h").inode == hardlink.entries.at("d/f").inode);
    check_refused(build_layers({{{.name = "a", .type = '2', .link = "b"}, {.name = "b", .type = '2', .link = "a"}},
                                {{.name = "a/x"}}}),
                  "image_invalid");
    check_refused(build_layers({{{.name = "l", .type = '2', .link = "d/.wh.f"}}, {{.name = "l/x"}}}), "image_invalid");
    CHECK(paths(build_layers({{{.name = "up", .type = '2', .link = "../../.."}}, {{.name = "up/x"}}})) ==
          Paths{"up", "x"});
  }

  TEST_CASE("IMG-03 upper layers swap types, and opaque directories hide what was below") {
    const auto swapped = build_layers({{{.name = "a", .content = "file"},
                                        {.name = "b", .type = '5'},
                                        {.name = "b/x"},
                                        {.name = "c", .type = '2', .link = "/b"},
                                        {.name = "d/keep"}},
                                       {{.name = "a", .type = '5'},
                                        {.name = "a/y"},
                                        {.name = "b", .type = '2', .link = "a"},
                                        {.name = "c", .content = "now a file"},
                                        {.name = "d", .type = '5', .mode = 0700}}});
    CHECK(paths(swapped) == Paths{"a", "a/y", "b", "c", "d", "d/keep"});
    CHECK(content_of(swapped, "c") == sha("now a file"));
    CHECK(swapped.entries.at("b").target == "a");
    CHECK((swapped.entries.at("d").mode & 0777) == 0700);
    for (const bool first : {true, false}) {
      std::vector<TarEntry> upper{{.name = "d/new"}, {.name = "d/sub/new"}};
      upper.insert(first ? upper.begin() : upper.end(), {.name = "d/.wh..wh..opq"});
      CHECK(paths(build_layers({{{.name = "d/old"}, {.name = "d/sub/old"}}, upper})) ==
            Paths{"d", "d/new", "d/sub", "d/sub/new"});
    }
    const auto usrmerge = build_layers(
        {{{.name = "usr/bin/sh"}, {.name = "bin", .type = '2', .link = "usr/bin"}}, {{.name = "bin/tool"}}});
    CHECK(paths(usrmerge) == Paths{"bin", "usr", "usr/bin", "usr/bin/sh", "usr/bin/tool"});
    const auto implied = build_layers({{{.name = "f"}}, {{.name = "f/x"}}});
    CHECK(paths(implied) == Paths{"f", "f/x"});
  }

  TEST_CASE("IMG-04 hardlinks link within the image only") {
    const auto linked = build_layers({{{.name = "f", .content = "t", .uid = 5},
                                       {.name = "s", .type = '2', .link = "/etc/passwd"},
                                       {.name = "n", .type = '3', .major = 1, .minor = 3}},
                                      {{.name = "h", .type = '1', .link = "/f"},
                                       {.name = "hs", .type = '1', .link = "s"},
                                       {.name = "hn", .type = '1', .link = "./n"}}});
    CHECK(linked.entries.at("h").links == 2);
    CHECK(linked.entries.at("h").uid == 5);
    CHECK(linked.entries.at("hs").target == "/etc/passwd");
    CHECK((linked.entries.at("hn").mode & S_IFMT) == S_IFCHR);
    for (const std::string& target : Paths{"../etc/passwd", "/etc/passwd", "missing", "d", "/", "h", ""}) {
      CAPTURE(target);
      check_refused(build_layers({{{.name = "d", .type = '5'}, {.name = "h", .type = '1', .link = target}}}),
                    "image_invalid");
    }
    // What the upper layer deletes stays while another name has it.
    const auto survivor =
        build_layers({{{.name = "a", .content = "t"}, {.name = "b", .type = '1', .link = "a"}}, {{.name = ".wh.a"}}});
    CHECK(paths(survivor) == Paths{"b"});
    CHECK(content_of(survivor, "b") == sha("t"));
  }

  TEST_CASE("IMG-05 whiteouts hide lower layers only, in either order; malformed ones are refused") {
    CHECK(paths(build_layers(
                    {{{.name = "a"}, {.name = "d/x"}}, {{.name = ".wh.a"}, {.name = ".wh.d"}, {.name = ".wh.none"}}}))
              .empty());
    for (const bool first : {true, false}) {
      std::vector<TarEntry> upper{{.name = "a", .content = "upper"}};
      upper.insert(first ? upper.begin() : upper.end(), {.name = ".wh.a"});
      const auto built = build_layers({{{.name = "a", .content = "lower"}}, upper});
      CHECK(paths(built) == Paths{"a"});
      CHECK(content_of(built, "a") == sha("upper"));
    }
    CHECK(paths(build_layers({{{.name = ".wh..wh.plnk"}, {.name = ".wh..wh.aufs"}}})).empty());
    for (const std::string& name : Paths{".wh.", ".wh..", ".wh...", ".wh..wh.x", "a/.wh.", ".wh.d/x"}) {
      CAPTURE(name);
      check_refused(build_layers({{{.name = name}}}), "image_invalid");
    }
    check_refused(build_layers({{{.name = ".wh..wh..opq", .type = '5'}}}), "image_invalid");
    check_refused(build_layers({{{.name = ".wh.a/", .type = '5'}}}), "image_invalid");
    check_refused(build_layers({{{.name = ".wh..wh..opq", .type = '2', .link = "x"}}}), "image_invalid");
    check_refused(build_layers({{{.name = ".wh.a", .content = "text"}}}), "image_invalid");
  }

  TEST_CASE("IMG-06 special files and setuid exist inside the image alone, and its file is read-only") {
    const auto directory = temp_dir();
    LayoutMaker layout;
    layout.layers.push_back({.tar = tar_of({{.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3},
                                            {.name = "disk", .type = '4', .major = 8, .minor = 0},
                                            {.name = "pipe", .type = '6'},
                                            {.name = "su", .content = "x", .mode = 04755}})});
    layout.write(directory.path() / "layout");
    ImageStore store(directory.path() / "store");
    const auto image = store.ensure("oci:" + (directory.path() / "layout").native());
    REQUIRE_MESSAGE(image.has_value(), failure_of(image));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path())) {
      CHECK((entry.is_regular_file() || entry.is_directory()));
    }
    struct stat info {};
    REQUIRE(::stat(image->rootfs.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0444);
    const auto entries = read_ext4(image->rootfs);
    CHECK(entries.at("su").mode == (S_IFREG | 04755));
    CHECK(entries.at("disk").device_major == 8);
    for (const char type : {'S', 'V', 'M', 'D', 'N', 'Z', '8'}) {
      CAPTURE(type);
      check_refused(build_layers({{{.name = "x", .type = type}}}), "image_invalid");
    }
  }

  TEST_CASE("IMG-08 the last of several members with one name counts; twins by case or normal form are two files") {
    const auto mixed = build_layers(
        {{{.name = "a", .content = "1"}, {.name = "a", .type = '5'}, {.name = "a/x"}, {.name = "a", .content = "2"}}});
    CHECK(paths(mixed) == Paths{"a"});
    CHECK(content_of(mixed, "a") == sha("2"));
    CHECK(paths(build_layers({{{.name = "A"}, {.name = "a"}}})) == Paths{"A", "a"});
    const auto twins = build_layers({{{.name = "x", .pax = {{"path", "cafe\xcc\x81"}}},
                                      {.name = "y", .pax = {{"path", "caf\xc3\xa9"}}},
                                      {.name = "bad\xff"}}});
    CHECK(paths(twins) == Paths{"bad\xff", "cafe\xcc\x81", "caf\xc3\xa9"});
    std::vector<TarEntry> repeated(2000, {.name = "same", .content = std::string(5000, 'r')});
    const auto built = build_layers({repeated});
    CHECK(paths(built) == Paths{"same"});
    CHECK(built.allocated_bytes < 1 << 20);
  }

  TEST_CASE("IMG-09 a size of two values is refused, and so is content where none belongs") {
    check_refused(build_layers({{{.name = "a", .content = "12345", .pax = {{"size", "4"}}}}}), "image_invalid");
    check_refused(build_layers({{{.name = "a", .content = "12345", .pax = {{"size", "-1"}}}}}), "image_invalid");
    check_refused(build_layers({{{.name = "a", .content = "12345", .pax = {{"GNU.sparse.major", "1"}}}}}),
                  "image_invalid");
    check_refused(build_layers({{{.name = "d", .type = '5', .content = "x"}}}), "image_invalid");
    check_refused(build_layers({{{.name = "l", .type = '2', .content = "x", .link = "t"}}}), "image_invalid");
    check_refused(build_layers({{{.name = "g", .type = 'g', .content = "13 path=evil\n"}, {.name = "a"}}}),
                  "image_invalid");
    const std::string tar = tar_of({{.name = "a", .content = "12345"}});
    CHECK(paths(build_tars({changed(tar, 124, "          5 ")})) == Paths{"a"});
    check_refused(build_tars({changed(tar, 124, std::string("\0", 1) + "0000000005")}), "image_invalid");
    check_refused(build_tars({changed(tar, 100, std::string("\x80\0\0\1\0\0\0\0", 8))}), "image_invalid");
    const std::string gnu = changed(tar, 257, std::string("ustar  \0", 8));
    CHECK(paths(build_tars({gnu})) == Paths{"a"});
    check_refused(build_tars({changed(gnu, 386, "1")}), "image_invalid");
    check_refused(build_tars({changed(gnu, 483, "1")}), "image_invalid");
    check_refused(build_tars({changed(changed(tar, 257, "ustar~"), 345, "p")}), "image_invalid");
    CHECK(paths(build_layers({{{.name = "a", .content = "12345", .pax = {{"size", "5"}, {"comment", "x"}}}}})) ==
          Paths{"a"});
  }

  TEST_CASE("IMG-09 a member that is named by two extended headers is refused") {
    const TarEntry pax{.name = "x", .type = 'x', .content = "9 path=b\n"};
    const TarEntry gnu{.name = "L", .type = 'L', .content = "c"};
    const TarEntry gnu_link{.name = "K", .type = 'K', .content = "b"};
    CHECK(paths(build_layers({{pax, {.name = "a"}}})) == Paths{"b"});
    CHECK(paths(build_layers({{gnu, {.name = "a"}}})) == Paths{"c"});
    CHECK(paths(build_layers({{pax, {.name = "a"}, gnu, gnu_link, {.name = "a", .type = '1'}}})) == Paths{"b", "c"});
    for (const auto& headers : {std::vector{pax, pax}, {gnu, gnu}, {pax, gnu}, {gnu, pax}, {gnu_link, gnu_link}}) {
      check_refused(build_layers({{headers[0], headers[1], {.name = "a"}}}), "image_invalid");
    }
  }

  TEST_CASE("pax attributes reach the image; those that would steer overlayfs do not") {
    const auto built = build_layers({{{.name = "f",
                                       .content = "x",
                                       .pax = {{"uid", "4294967294"},
                                               {"mtime", "1.5"},
                                               {"SCHILY.xattr.user.a", "v"},
                                               {"SCHILY.xattr.trusted.overlay.opaque", "y"},
                                               {"SCHILY.xattr.com.apple.quarantine", "q"}}},
                                      {.name = std::string(150, 'p') + "/" + std::string(150, 'q')}}});
    REQUIRE_MESSAGE(built.image.has_value(), failure_of(built.image));
    CHECK(built.entries.at("f").uid == 4294967294u);
    CHECK(built.entries.at("f").mtime == 1);
    CHECK(built.entries.at("f").mtime_ns == 500'000'000);
    CHECK(built.entries.at("f").xattrs == std::map<std::string, std::string>{{"user.a", "v"}});
    CHECK(built.entries.count(std::string(150, 'p') + "/" + std::string(150, 'q')) == 1);
  }

  TEST_CASE("IMG-12 archives that end early or late have one verdict") {
    const std::string member = tar_member({.name = "a", .content = std::string(600, 'x')});
    const std::string end(1024, '\0');
    CHECK(paths(build_tars({member})) == Paths{"a"});
    CHECK(paths(build_tars({end})).empty());
    CHECK(paths(build_tars({member + end + "junk after the end"})) == Paths{"a"});
    CHECK(paths(build_tars({member + end + tar_member({.name = "hidden"})})) == Paths{"a"});
    for (const std::string& bad : {member.substr(0, 700), member.substr(0, 100), member.substr(0, 1200),
                                   member + std::string(512, '\0') + member, member + std::string(512, 'x')}) {
      check_refused(build_tars({bad}), "image_invalid");
    }
    const auto compressed = [](const std::string& tar, const std::string& blob, const char* type) {
      LayoutMaker layout;
      layout.layers.push_back(
          {.tar = tar, .blob = blob, .media_type = std::string("application/vnd.oci.image.layer.v1.tar+") + type});
      return build(std::move(layout));
    };
    const std::string tar = member + end;
    CHECK(paths(compressed(tar, gzip(tar), "gzip")) == Paths{"a"});
    CHECK(paths(compressed(tar, zstd(tar), "zstd")) == Paths{"a"});
    CHECK(paths(compressed(tar, gzip(tar.substr(0, 300)) + gzip(tar.substr(300)), "gzip")) == Paths{"a"});
    CHECK(paths(compressed(tar, zstd(tar.substr(0, 300)) + zstd(tar.substr(300)), "zstd")) == Paths{"a"});
    CHECK(paths(compressed("", gzip(""), "gzip")).empty());
    CHECK(paths(compressed("", zstd(""), "zstd")).empty());
    const std::string cut = gzip(tar);
    check_refused(compressed(tar, cut.substr(0, cut.size() / 2), "gzip"), "image_invalid");
    check_refused(compressed(tar, gzip(tar), "zstd"), "image_invalid");
    check_refused(compressed(tar, tar, "gzip"), "image_invalid");
  }

  TEST_CASE("IMG-13 bombs meet a limit") {
    const std::string zeros = tar_of({{.name = "z", .content = std::string(64 << 20, '\0')}});
    LayoutMaker bomb;
    bomb.layers.push_back(
        {.tar = zeros, .blob = gzip(zeros), .media_type = "application/vnd.oci.image.layer.v1.tar+gzip"});
    check_refused(build(bomb, {.ratio_grace_bytes = 1 << 20}), "image_limit");
    check_refused(build(bomb, {.expanded_bytes = 32 << 20}), "image_limit");
    CHECK(paths(build(bomb)) == Paths{"z"});
    check_refused(build_layers({{{.name = "a"}, {.name = "b"}, {.name = "c"}}}, {.entries = 2}), "image_limit");
    check_refused(build_layers({{{.name = "a/b/c/d"}}}, {.depth = 3}), "image_limit");
    check_refused(build_layers({{{.name = "s", .type = '2', .link = "a/a/a"}}, {{.name = "s/b/b"}}}, {.depth = 4}),
                  "image_limit");
    check_refused(build_layers({{{.name = "a", .content = "x"}}}, {.text_bytes = 0}), "image_limit");
    check_refused(build_layers({{{.name = "a"}}, {{.name = "b"}}, {{.name = "c"}}}, {.layers = 2}), "image_limit");
    check_refused(build_layers({{{.name = "a"}}}, {.disk_reserve_bytes = 1ull << 60}), "image_limit");
  }
}
