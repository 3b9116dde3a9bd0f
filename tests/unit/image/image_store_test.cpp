// Documents, digests and the store: the cases IMG-14 to IMG-16.
#include "src/image/image_store.h"

#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/layer_archive.h"

#include <sys/stat.h>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

constexpr const char* kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kOciIndex = "application/vnd.oci.image.index.v1+json";

LayoutMaker simple() {
  LayoutMaker layout;
  const std::string tar = tar_of({{.name = "hello", .content = "world"}});
  layout.layers.push_back({.tar = tar, .blob = gzip(tar), .media_type = "application/vnd.oci.image.layer.v1.tar+gzip"});
  layout.make();
  return layout;
}

struct Place {
  base::TempDir directory = temp_dir();
  std::filesystem::path layout = directory.path() / "layout";
  ImageStore store{directory.path() / "store"};
  std::string source = "oci:" + layout.native();

  bool store_is_empty() const {
    if (!std::filesystem::exists(directory.path() / "store")) return true;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "store")) {
      if (!entry.path().native().ends_with(".lock")) return false;
    }
    return true;
  }
};

void check_refused(LayoutMaker layout, const std::string& reason = "image_invalid") {
  Place place;
  layout.write(place.layout);
  const auto image = place.store.ensure(place.source);
  CHECK_MESSAGE((!image && image.error().reason == reason), failure_of(image));
  CHECK(place.store_is_empty());
}

std::string index_of(const std::string& descriptors) {
  return R"({"schemaVersion":2,"manifests":[)" + descriptors + "]}";
}

void flip_last_byte(const std::filesystem::path& path) {
  auto bytes = base::read_file(path, 1 << 20).value();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  auto file = base::open_file(path, O_WRONLY | O_TRUNC);
  REQUIRE(base::write_all(*file, bytes).has_value());
}

}  // namespace

TEST_SUITE("image/store") {
  TEST_CASE("an image is built once, found again, and lists its config") {
    Place place;
    auto layout = simple();
    layout.write(place.layout);
    const auto image = place.store.ensure(place.source);
    REQUIRE_MESSAGE(image.has_value(), failure_of(image));
    CHECK(image->digest.to_string() == layout.manifest_digest());
    CHECK(image->config.env == std::vector<std::string>{"PATH=/bin", "A=b"});
    CHECK(image->config.user == "1000");
    CHECK(image->config.workdir == "/w");
    CHECK(image->config.entrypoint == std::vector<std::string>{"/e"});
    CHECK(image->config.cmd == std::vector<std::string>{"c", "d"});
    CHECK(read_ext4_file(image->rootfs, "hello") == "world");
    struct stat before {};
    struct stat after {};
    REQUIRE(::stat(image->rootfs.c_str(), &before) == 0);
    std::filesystem::remove(place.layout / "blobs/sha256" / base::sha256_hex(layout.layers[0].blob));
    REQUIRE(place.store.ensure(place.source).has_value());
    REQUIRE(place.store.ensure(image->digest.to_string()).has_value());
    REQUIRE(place.store.ensure("registry.example.com/a/b@" + image->digest.to_string()).has_value());
    REQUIRE(::stat(image->rootfs.c_str(), &after) == 0);
    CHECK(before.st_ino == after.st_ino);
    CHECK(place.store.list().value().size() == 1);
  }

  TEST_CASE("IMG-25 two builds give the same bytes, from a directory and from an archive") {
    Place a;
    Place b;
    auto layout = simple();
    layout.write(a.layout);
    REQUIRE(base::write_all(*base::open_file(b.directory.path() / "image.tar", O_WRONLY | O_CREAT), layout.archive())
                .has_value());
    const auto first = a.store.ensure(a.source);
    const auto second = b.store.ensure("oci-archive:" + (b.directory.path() / "image.tar").native() + ":latest");
    REQUIRE_MESSAGE(first.has_value(), failure_of(first));
    REQUIRE_MESSAGE(second.has_value(), failure_of(second));
    CHECK(first->digest == second->digest);
    CHECK(base::read_file(first->rootfs, 64 << 20).value() == base::read_file(second->rootfs, 64 << 20).value());
  }

  TEST_CASE("a docker archive is known by its config's digest") {
    Place place;
    auto layout = simple();
    const auto tar = place.directory.path() / "image.tar";
    REQUIRE(base::write_all(*base::open_file(tar, O_WRONLY | O_CREAT), layout.docker_archive()).has_value());
    const auto image = place.store.ensure("docker-archive:" + tar.native() + ":demo:1");
    REQUIRE_MESSAGE(image.has_value(), failure_of(image));
    CHECK(image->digest.hex() == base::sha256_hex(layout.config));
    CHECK(read_ext4_file(image->rootfs, "hello") == "world");
    CHECK(place.store.ensure("docker-archive:" + tar.native() + ":other").error().reason == "image_not_found");
    const auto packed = place.directory.path() / "image.tar.gz";
    REQUIRE(base::write_all(*base::open_file(packed, O_WRONLY | O_CREAT), gzip(layout.docker_archive())).has_value());
    const auto refused = place.store.ensure("docker-archive:" + packed.native());
    CHECK(refused.error().code == base::Code::unsupported);
    CHECK(refused.error().hint.find("gzip") != std::string::npos);
  }

  TEST_CASE("what is damaged in the store is built again; what is not there is not found") {
    Place place;
    auto layout = simple();
    layout.write(place.layout);
    const auto image = place.store.ensure(place.source);
    REQUIRE(image.has_value());
    REQUIRE(::chmod(image->rootfs.c_str(), 0644) == 0);
    REQUIRE(::truncate(image->rootfs.c_str(), 100) == 0);
    CHECK(place.store.find(image->digest).error().reason == "image_not_found");
    CHECK(place.store.list().value().empty());
    const auto again = place.store.ensure(place.source);
    REQUIRE_MESSAGE(again.has_value(), failure_of(again));
    CHECK(read_ext4_file(again->rootfs, "hello") == "world");
    const auto missing = place.store.ensure("debian@sha256:" + std::string(64, 'a'));
    CHECK(missing.error().reason == "image_not_found");
    CHECK(missing.error().hint.find("image import") != std::string::npos);
    CHECK(place.store.ensure("oci:" + (place.directory.path() / "none").native()).error().reason == "image_not_found");
    CHECK(place.store.ensure(place.source + ":nosuchtag").error().reason == "image_not_found");
  }

  TEST_CASE("IMG-14 a wrong last byte or a size that is off by one publishes nothing") {
    for (const int part : {0, 1, 2}) {
      CAPTURE(part);
      Place place;
      auto layout = simple();
      layout.write(place.layout);
      const std::string bytes = part == 0 ? layout.manifest : part == 1 ? layout.config : layout.layers[0].blob;
      flip_last_byte(place.layout / "blobs/sha256" / base::sha256_hex(bytes));
      const auto image = place.store.ensure(place.source);
      CHECK_MESSAGE((!image && image.error().reason == "image_invalid"), failure_of(image));
      CHECK(place.store_is_empty());
    }
    auto wrong_diff_id = simple();
    wrong_diff_id.config.replace(wrong_diff_id.config.find("sha256:") + 70, 1,
                                 wrong_diff_id.config[wrong_diff_id.config.find("sha256:") + 70] == '0' ? "1" : "0");
    wrong_diff_id.manifest.clear();
    wrong_diff_id.index.clear();
    check_refused(wrong_diff_id);
    for (const int off : {-1, 1}) {
      auto layout = simple();
      const auto size = layout.layers[0].blob.size();
      const std::string text = fmt::format("\"size\":{}", size);
      layout.manifest.replace(layout.manifest.rfind(text), text.size(),
                              fmt::format("\"size\":{}", static_cast<int>(size) + off));
      layout.index.clear();
      check_refused(layout);
    }
  }

  TEST_CASE("IMG-15 digests of any other form are refused before a path is built from them") {
    const std::string hex(64, 'a');
    for (const std::string& digest :
         {std::string("sha256:../../x"), "sha256:" + hex.substr(1), "sha256:" + std::string(64, 'A'), "md5:" + hex,
          std::string(), "sha512:" + hex + hex, hex, "sha256:" + hex + "/"}) {
      CAPTURE(digest);
      auto layout = simple();
      layout.index = index_of(fmt::format(R"({{"mediaType":"{}","digest":"{}","size":10}})", kOciManifest, digest));
      check_refused(layout);
      Place place;
      const auto named = place.store.ensure("debian@" + digest);
      CHECK_MESSAGE((!named && named.error().reason == "image_ref_invalid"), failure_of(named));
    }
    Place place;
    auto hostile = simple();
    hostile.index = index_of(fmt::format(R"({{"mediaType":"{}","digest":"\u001b[2J","size":10}})", kOciManifest));
    hostile.write(place.layout);
    CHECK(place.store.ensure(place.source).error().describe().find('\x1b') == std::string::npos);
    for (const char* source : {"", "oci:", "oci:x:", "http://x/y", "sha256:xyz", "podman:", "podman:-x"}) {
      CAPTURE(source);
      CHECK(place.store.ensure(source).error().reason == "image_ref_invalid");
    }
    CHECK(place.store.ensure("debian:12").error().reason == "image_not_found");
  }

  TEST_CASE("IMG-16 documents of two kinds, other kinds, or nested indexes are refused") {
    SUBCASE("manifests and layers in one manifest") {
      auto layout = simple();
      layout.manifest.insert(1, R"("manifests":[],)");
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("manifests and layers in one index") {
      auto layout = simple();
      layout.index.insert(1, R"("layers":[],)");
      check_refused(layout);
    }
    SUBCASE("a config with layers of its own") {
      auto layout = simple();
      layout.config.insert(1, R"("layers":[],)");
      layout.manifest.clear();
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("a mediaType that contradicts the descriptor's") {
      auto layout = simple();
      layout.manifest.insert(1, fmt::format(R"("mediaType":"{}",)", kOciIndex));
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("schema 1") {
      auto layout = simple();
      layout.manifest = R"({"schemaVersion":1,"fsLayers":[]})";
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("a key given twice") {
      auto layout = simple();
      layout.manifest.insert(1, R"("schemaVersion":2,)");
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("an index in an index in an index") {
      auto layout = simple();
      const Blob inner{index_of(Blob{layout.manifest}.descriptor(kOciManifest))};
      const Blob outer{index_of(inner.descriptor(kOciIndex))};
      layout.more_blobs = {inner, outer};
      layout.index = index_of(outer.descriptor(kOciIndex));
      check_refused(layout);
    }
    SUBCASE("an index with too many entries") {
      auto layout = simple();
      std::string list = Blob{layout.manifest}.descriptor(kOciManifest);
      for (int i = 0; i < 1024; ++i)
        list += "," + Blob{std::to_string(i)}.descriptor(kOciManifest);
      layout.index = index_of(list);
      check_refused(layout, "image_limit");
    }
    SUBCASE("a layer of an unknown type") {
      auto layout = simple();
      layout.layers[0].media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
      layout.manifest.clear();
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("an artifact instead of an image") {
      auto layout = simple();
      const std::string type = "application/vnd.oci.image.config.v1+json";
      layout.manifest.replace(layout.manifest.find(type), type.size(), "application/vnd.oci.empty.v1+json");
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("another architecture") {
      auto layout = simple();
      layout.config.replace(layout.config.find("amd64"), 5, "s390x");
      layout.manifest.clear();
      layout.index.clear();
      check_refused(layout);
    }
    SUBCASE("one index of several platforms is fine") {
      Place place;
      auto layout = simple();
      const std::string digest = layout.manifest_digest();
      const Blob nested{index_of(
          Blob{"other"}.descriptor(kOciManifest, R"(,"platform":{"os":"linux","architecture":"s390x"})") + "," +
          Blob{layout.manifest}.descriptor(kOciManifest, R"(,"platform":{"os":"linux","architecture":"amd64"})") + "," +
          Blob{"attestation"}.descriptor(kOciManifest, R"(,"platform":{"os":"unknown","architecture":"unknown"})"))};
      layout.more_blobs = {nested};
      layout.index = index_of(nested.descriptor(kOciIndex));
      layout.write(place.layout);
      const auto image = place.store.ensure(place.source);
      REQUIRE_MESSAGE(image.has_value(), failure_of(image));
      CHECK(image->digest.to_string() == digest);
    }
  }

  TEST_CASE("of several manifests for this platform the first counts, and none before it that some processors lack") {
    auto layout = simple();
    const std::string digest = layout.manifest_digest();
    const auto entry = [](const std::string& bytes, const std::string& variant) {
      return Blob{bytes}.descriptor(kOciManifest,
                                    R"(,"platform":{"os":"linux","architecture":"amd64")" +
                                        (variant.empty() ? std::string() : R"(,"variant":")" + variant + '"') + "}");
    };
    // What is not chosen is not there: choosing it would be image_invalid.
    const std::vector<std::string> lists{
        entry(layout.manifest, "") + "," + entry("other", ""),
        entry(layout.manifest, "v1") + "," + entry("other", ""),
        entry("other", "v3") + "," + entry(layout.manifest, ""),
        entry("other", "v2") + "," + entry("another", "v3") + "," + entry(layout.manifest, "v1"),
        entry(layout.manifest, "v3") + "," + entry("other", "v2"),
    };
    for (const std::string& list : lists) {
      CAPTURE(list);
      Place place;
      auto indexed = layout;
      const Blob nested{index_of(list)};
      indexed.more_blobs = {nested};
      indexed.index = index_of(nested.descriptor(kOciIndex));
      indexed.write(place.layout);
      const auto image = place.store.ensure(place.source);
      REQUIRE_MESSAGE(image.has_value(), failure_of(image));
      CHECK(image->digest.to_string() == digest);
    }
  }
}
