// Files and streams whose kind their content tells, and what images of a store are called.
#include "src/image/image_names.h"
#include "src/image/image_store.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/memory_files.h"

#include <sys/stat.h>

#include <thread>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

struct Place {
  base::TempDir directory = temp_dir();
  ImageStore store{directory.path() / "store"};
  Place() { std::filesystem::create_directories(store.root()); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    const auto path = directory.path() / name;
    REQUIRE(base::write_all(*base::open_file(path, O_WRONLY | O_CREAT | O_TRUNC), bytes).has_value());
    return path;
  }
  base::Result<StoredImage> import(const std::filesystem::path& path) const {
    CR_ASSIGN(const auto source, ImageSource::open_any(path, store.root(), store.limits()));
    return store.build(source, path.native());
  }
  base::Result<StoredImage> import_stream(const std::string& bytes) const {
    TextReader reader(bytes);
    CR_ASSIGN(const auto source, ImageSource::read_any(reader, store.root(), store.limits()));
    return store.build(source, "standard input");
  }
};

LayoutMaker simple() {
  return layout_of({{{.name = "hello", .content = "world"}, {.name = "more", .content = noise(5000)}}});
}
std::string rootfs_tar() {
  return tar_of({{.name = "./", .type = '5'},
                 {.name = "./hello", .content = "world"},
                 {.name = "./l", .type = '2', .link = "hello"},
                 {.name = "./h", .type = '1', .link = "./hello"},
                 {.name = "./null", .type = '3', .major = 1, .minor = 3}});
}

void check_hello(const base::Result<StoredImage>& image) {
  REQUIRE_MESSAGE(image.has_value(), failure_of(image));
  CHECK(read_ext4_file(image->rootfs, "hello") == "world");
}
void check_refused(const base::Result<StoredImage>& image) {
  CHECK_MESSAGE((!image && image.error().reason == "image_invalid"), failure_of(image));
}

}  // namespace

TEST_SUITE("image/import") {
  TEST_CASE("the content of a file or stream tells what it is, compressed or not") {
    auto layout = simple();
    const std::string manifest = layout.manifest_digest();
    const std::string config = "sha256:" + base::sha256_hex(layout.config);
    for (const auto& [what, tar, digest] : {std::tuple(std::string("oci"), layout.archive(), manifest),
                                            {"docker", layout.docker_archive(), config},
                                            {"rootfs", rootfs_tar(), std::string()}}) {
      CAPTURE_BINDING(what);
      const Place place;
      std::string first;
      for (const std::string& packed : {tar, gzip(tar), zstd(tar)}) {
        const auto file = place.import(place.write("file", packed));
        check_hello(file);
        if (first.empty()) first = file->digest.to_string();
        CHECK(file->digest.to_string() == first);
        const auto stream = place.import_stream(packed);
        check_hello(stream);
        CHECK(stream->digest == file->digest);
      }
      if (!digest.empty()) CHECK(first == digest);
      CHECK(place.store.list()->size() == 1);
    }
  }

  TEST_CASE("an OCI layout is a directory; any other directory is refused") {
    const Place place;
    auto layout = simple();
    layout.write(place.directory.path() / "layout");
    const auto image = place.import(place.directory.path() / "layout");
    check_hello(image);
    CHECK(image->digest.to_string() == layout.manifest_digest());
    std::filesystem::create_directories(place.directory.path() / "plain/etc");
    const auto refused = place.import(place.directory.path() / "plain");
    check_refused(refused);
    CHECK(refused.error().hint.find("tar -C") != std::string::npos);
    CHECK(place.import(place.directory.path() / "none").error().reason == "image_not_found");
  }

  TEST_CASE("a root file system has the same digest whenever it is imported, and another content another one") {
    const Place a;
    const Place b;
    const auto first = a.import_stream(rootfs_tar());
    const auto second = b.import(b.write("fs.tar.gz", gzip(rootfs_tar())));
    check_hello(first);
    check_hello(second);
    CHECK(first->digest == second->digest);
    CHECK(base::read_file(first->rootfs, 64 << 20).value() == base::read_file(second->rootfs, 64 << 20).value());
    const auto other = a.import_stream(tar_of({{.name = "hello", .content = "World"}}));
    REQUIRE(other.has_value());
    CHECK(other->digest != first->digest);
    // A tar of no members is an image all the same: one that says so.
    CHECK(a.import_stream(std::string(1024, '\0')).has_value());
  }

  TEST_CASE("input without a byte, cut short, or of no known kind is refused, and leaves nothing behind") {
    const Place place;
    check_refused(place.import_stream(""));
    check_refused(place.import(place.write("empty", "")));
    check_refused(place.import("/dev/null"));
    check_refused(place.import_stream(gzip("")));
    check_refused(place.import_stream("x"));
    check_refused(place.import_stream(std::string(5000, 'x')));
    check_refused(place.import_stream(rootfs_tar().substr(0, 700)));
    const std::string packed = gzip(rootfs_tar());
    check_refused(place.import_stream(packed.substr(0, packed.size() / 2)));
    check_refused(place.import(place.write("cut", packed.substr(0, packed.size() - 1))));
    check_refused(place.import_stream(gzip(packed)));
    CHECK(std::filesystem::is_empty(place.store.root()));
  }

  TEST_CASE("a named pipe is read to its end, whenever its writer comes") {
    const Place place;
    const auto path = place.directory.path() / "pipe";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    for (const std::string& bytes : {rootfs_tar(), zstd(rootfs_tar() + std::string(1 << 20, '\0'))}) {
      base::Result<StoredImage> image = base::fail(base::Code::internal, "not run");
      std::thread reader([&] { image = place.import(path); });
      // Opens once the reader has.
      auto writer = base::open_file(path, O_WRONLY);
      bool written = writer.has_value();
      // Meanwhile the reader finds a pipe with a writer and without content.
      CHECK(place.import_stream(tar_of({{.name = "other", .content = noise(100'000)}})).has_value());
      for (std::size_t at = 0; written && at < bytes.size(); at += 3000)
        written = base::write_all(*writer, std::string_view(bytes).substr(at, 3000)).has_value();
      CHECK(written);
      if (writer) writer->reset();
      reader.join();
      check_hello(image);
    }
  }
}

TEST_SUITE("image/names") {
  TEST_CASE("a name moves, and goes with its image") {
    const auto directory = temp_dir();
    const ImageNames names(directory.path());
    const auto digest = [](char c) { return model::Digest::from_sha256_hex(std::string(64, c)); };
    const auto reference = [](const char* text) { return model::ImageReference::parse(text).value(); };
    const auto web = reference("registry.test:5000/acme/web:1");
    CHECK_FALSE(names.named(web).has_value());
    CHECK(names.all().empty());
    REQUIRE(names.remove_name(web).has_value());
    REQUIRE(names.set_name(web, digest('a'), ImageNames::Origin::registry).has_value());
    CHECK(names.named(web)->origin == ImageNames::Origin::registry);
    REQUIRE(names.set_name(web, digest('b'), ImageNames::Origin::import).has_value());
    CHECK(names.named(web)->digest == digest('b'));
    CHECK(names.named(web)->origin == ImageNames::Origin::import);
    CHECK_FALSE(names.named(reference("registry.test:5000/acme/web:2")).has_value());
    CHECK_FALSE(names.named(reference("registry.test:5000/acme/web")).has_value());
    REQUIRE(names.set_name(reference("debian:12"), digest('b'), ImageNames::Origin::registry).has_value());
    REQUIRE(names.set_name(reference("alpine"), digest('c'), ImageNames::Origin::registry).has_value());
    CHECK(names.all() == std::map<model::Digest, std::vector<std::string>>{
                             {digest('b'), {"docker.io/library/debian:12", "registry.test:5000/acme/web:1"}},
                             {digest('c'), {"docker.io/library/alpine"}}});
    names.forget(digest('b'));
    CHECK(names.all().size() == 1);
    REQUIRE(names.remove_name(reference("alpine")).has_value());
    CHECK(names.all().empty());
  }

  TEST_CASE("an index's digest leads to the manifest; a file that is damaged leads nowhere") {
    const auto directory = temp_dir();
    const ImageNames names(directory.path());
    const auto digest = [](char c) { return model::Digest::from_sha256_hex(std::string(64, c)); };
    REQUIRE(names.set_alias(digest('1'), digest('a')).has_value());
    REQUIRE(names.set_alias(digest('2'), digest('a')).has_value());
    REQUIRE(names.set_alias(digest('3'), digest('b')).has_value());
    REQUIRE(names.set_alias(digest('c'), digest('c')).has_value());  // nothing to say
    CHECK(names.alias(digest('1')) == digest('a'));
    CHECK_FALSE(names.alias(digest('c')).has_value());
    names.forget(digest('a'));
    CHECK_FALSE(names.alias(digest('1')).has_value());
    CHECK_FALSE(names.alias(digest('2')).has_value());
    CHECK(names.alias(digest('3')) == digest('b'));
    const auto reference = model::ImageReference::parse("registry.test/a:1").value();
    REQUIRE(names.set_name(reference, digest('d'), ImageNames::Origin::registry).has_value());
    const auto file = std::filesystem::directory_iterator(directory.path() / "names")->path();
    const auto alias = directory.path() / "aliases" / digest('3').hex();
    for (const char* text : {"", "{}", "[1]", "x", R"({"reference":1,"digest":2})", "sha256:xyz",
                             R"({"reference":"registry.test/a:1","digest":"sha256:../../etc"})",
                             R"({"reference":"registry.test/b:1","digest":"sha256:dddd"})"}) {
      CAPTURE(text);
      for (const auto& path : {file, alias}) {
        REQUIRE(::chmod(path.c_str(), 0600) == 0);
        REQUIRE(base::write_all(*base::open_file(path, O_WRONLY | O_TRUNC), std::string_view(text)).has_value());
      }
      CHECK_FALSE(names.named(reference).has_value());
      CHECK_FALSE(names.alias(digest('3')).has_value());
    }
  }
}
