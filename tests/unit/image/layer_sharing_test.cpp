// Layers that images of one store share: what an image takes from another makes no difference to its bytes.
#include "src/image/image_store.h"
#include "src/image/layer_checkpoints.h"
#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/memory_files.h"

#include <algorithm>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

using Entries = std::vector<TarEntry>;
using Layers = std::vector<Entries>;

struct Store {
  base::TempDir directory = temp_dir();
  ImageStore store{directory.path()};

  struct Outcome {
    base::Result<StoredImage> image = base::fail(base::Code::internal, "not run");
    std::string bytes;
    std::vector<std::string> opened;
  };
  Outcome build(const Layers& layers) const {
    auto layout = layout_of(layers);
    MemoryBlobs blobs;
    Outcome outcome{.image = store.build(source_of(layout, blobs), "test"), .bytes = {}, .opened = blobs.opened()};
    INFO(failure_of(outcome.image));
    REQUIRE(outcome.image.has_value());
    outcome.bytes = base::read_file(outcome.image->rootfs, 512u << 20).value();
    return outcome;
  }
};

std::string file_of(const Entries& layer) {
  return "blobs/sha256/" + base::sha256_hex(tar_of(layer));
}
std::string index_name(const Entries& layer) {
  return base::sha256_hex(tar_of(layer)) + ".layer";
}
bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Entries many_files(int count) {
  Entries entries;
  for (int i = 0; i < count; ++i)
    entries.push_back({.name = fmt::format("d{}/f{}", i % 7, i), .content = noise(static_cast<std::size_t>(i) % 9000)});
  return entries;
}

struct Shape {
  const char* name;
  Entries base;
  Layers (*image)(const Entries& base);
};

const Entries kTop{{.name = "top", .content = "top"}, {.name = "etc/top", .content = noise(5000, 9)}};

std::vector<Shape> shapes() {
  const Entries plain{{.name = "etc", .type = '5', .mode = 0700, .uid = 4},
                      {.name = "etc/a", .content = noise(40'000)},
                      {.name = "etc/b", .content = "b"},
                      {.name = "empty"},
                      {.name = "bin", .type = '2', .link = "etc"}};
  Entries with_holes{{.name = "h", .content = noise(5000) + std::string(1 << 20, '\0') + noise(3)},
                     {.name = "zeros", .content = std::string(100'000, '\0')},
                     {.name = "end", .content = noise(4096) + std::string(70'000, '\0')}};
  const Entries linked{{.name = "f", .content = noise(9000), .uid = 7},
                       {.name = "g", .type = '1', .link = "f"},
                       {.name = "d/h", .type = '1', .link = "/g"},
                       {.name = "n", .type = '3', .major = 1, .minor = 3},
                       {.name = "p", .type = '6'}};
  const Entries attributes{{.name = "x",
                            .content = "x",
                            .pax = {{"SCHILY.xattr.user.a", "v"},
                                    {"SCHILY.xattr.user.large", std::string(2500, 'L')},
                                    {"mtime", "-5.25"},
                                    {"uid", "4294967294"}}},
                           {.name = "y", .type = '5', .pax = {{"SCHILY.xattr.user.a", "v"}}}};
  const auto below = [](const Entries& base) { return Layers{base, kTop}; };
  return {
      {"below", plain, below},
      {"alone", plain, [](const Entries& base) { return Layers{base}; }},
      {"holes", with_holes, below},
      {"hardlinks", linked, below},
      {"hardlinks of an upper layer", linked,
       [](const Entries& base) {
         return Layers{base, {{.name = "up", .type = '1', .link = "d/h"}, {.name = ".wh.f"}}};
       }},
      {"attributes", attributes, below},
      {"many files", many_files(1500), below},
      {"an empty layer", {}, below},
      {"overwritten", plain,
       [](const Entries& base) {
         return Layers{base, {{.name = "etc/a", .content = noise(50'000, 3)}}, {{.name = "etc/b", .content = "B"}}};
       }},
      {"hidden", plain,
       [](const Entries& base) {
         return Layers{base, {{.name = "etc/.wh..wh..opq"}}, kTop};
       }},
      {"in the middle", plain,
       [](const Entries& base) {
         return Layers{kTop, base, {{.name = "z", .content = "z"}}};
       }},
      {"on top", plain,
       [](const Entries& base) {
         return Layers{kTop, base};
       }},
      {"twice", plain,
       [](const Entries& base) {
         return Layers{base, base};
       }},
      {"twice, apart", linked,
       [](const Entries& base) {
         return Layers{base, kTop, base};
       }},
  };
}

void replace_file(const std::filesystem::path& path, const std::string& bytes) {
  auto file = base::open_file(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
  REQUIRE(file.has_value());
  REQUIRE(base::write_all(*file, bytes).has_value());
}

}  // namespace

TEST_SUITE("image/layer_sharing") {
  TEST_CASE("IMG-25 an image whose layers come from another has the bytes that it has when built alone") {
    for (const Shape& shape : shapes()) {
      CAPTURE(shape.name);
      const Store shared;
      const Store alone;
      shared.build({shape.base});
      const Layers layers = shape.image(shape.base);
      const auto second = shared.build(layers);
      CHECK(second.bytes == alone.build(layers).bytes);
      CHECK_FALSE(has(second.opened, file_of(shape.base)));
      check_clean(second.image->rootfs);
    }
  }

  TEST_CASE("a layer is taken from an image that took it itself") {
    const Store store;
    const Store alone;
    const Entries base{{.name = "a", .content = noise(30'000)}, {.name = "b", .content = noise(9, 2)}};
    const auto first_digest = store.build({base}).image->digest;
    const Layers second{kTop, base};
    store.build(second);
    REQUIRE(store.store.remove(first_digest).has_value());
    const Layers third{{{.name = "q", .content = noise(12'345, 5)}}, base, kTop};
    const auto built = store.build(third);
    CHECK_FALSE(has(built.opened, file_of(base)));
    CHECK_FALSE(has(built.opened, file_of(kTop)));
    CHECK(built.bytes == alone.build(third).bytes);
  }

  TEST_CASE("an index that is damaged, cut short or speaks of what is not there is passed over") {
    const Entries base{{.name = "a", .content = noise(5000)}, {.name = "l", .type = '2', .link = "a"}};
    const Layers layers{base, kTop};
    const Store alone;
    const std::string expected = alone.build(layers).bytes;
    const Store store;
    const auto index = store.directory.path() / store.build({base}).image->digest.hex() / "layers" / index_name(base);
    const std::string good = base::read_file(index, 1 << 20).value();
    const auto builds_without = [&](const std::string& bytes) {
      replace_file(index, bytes);
      const auto built = store.build(layers);
      CHECK(has(built.opened, file_of(base)));
      CHECK(built.bytes == expected);
      return built.image->digest;
    };
    const auto forget = [&](const model::Digest& digest) { REQUIRE(store.store.remove(digest).has_value()); };
    SUBCASE("a byte differs") {
      for (std::size_t at = 0; at < good.size(); ++at) {
        CAPTURE(at);
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ (at % 2 == 0 ? 0x01 : 0x20));
        forget(builds_without(bad));
      }
    }
    SUBCASE("cut short, or longer") {
      for (std::size_t size = 0; size < good.size(); size += 3)
        forget(builds_without(good.substr(0, size)));
      forget(builds_without(good + "x"));
    }
    SUBCASE("a range beyond the image's end") {
      auto reader = LayerIndexReader::open(base::open_file(index, O_RDONLY).value());
      REQUIRE(reader.has_value());
      for (const std::uint32_t first : {1u << 20, 0xffffffffu - reader->data().count}) {
        const auto other = store.directory.path() / "other";
        auto writer = LayerIndexWriter::create(other);
        REQUIRE(writer.has_value());
        REQUIRE(writer->close({first, reader->data().count}, reader->checksum()).has_value());
        const std::string bytes = base::read_file(other, 1 << 20).value();
        std::filesystem::remove(other);
        forget(builds_without(bytes));
      }
    }
    SUBCASE("the image of an index is not there") {
      std::filesystem::remove(index.parent_path().parent_path() / "rootfs.ext4");
      forget(builds_without(good));
    }
    SUBCASE("whole, as it was") {
      replace_file(index, good);
      CHECK_FALSE(has(store.build(layers).opened, file_of(base)));
    }
  }

  TEST_CASE("what an upper layer replaced goes from the file, and with it the index of the layer that brought it") {
    const Store store;
    const Store alone;
    const Entries lower{{.name = "f", .content = noise(1 << 20)}, {.name = "g", .content = noise(100'000, 4)}};
    const Entries upper{{.name = "f", .content = noise(4096, 2)}};
    const auto first = store.build({lower, upper});
    const auto layers = first.image->rootfs.parent_path() / "layers";
    CHECK_FALSE(std::filesystem::exists(layers / index_name(lower)));
    CHECK(std::filesystem::exists(layers / index_name(upper)));
    const Layers other{lower, kTop};
    const auto second = store.build(other);
    CHECK(has(second.opened, file_of(lower)));
    CHECK(second.bytes == alone.build(other).bytes);
  }

  TEST_CASE("what is replaced stays in the file while it is little, and its layer can still be taken") {
    const Store store;
    const Store alone;
    const Entries lower{{.name = "f", .content = noise(1 << 20)}, {.name = "g", .content = noise(8192, 4)}};
    store.build({lower, {{.name = "g", .content = noise(4096, 2)}}});
    const Layers other{lower};
    const auto second = store.build(other);
    CHECK_FALSE(has(second.opened, file_of(lower)));
    CHECK(second.bytes == alone.build(other).bytes);
  }
}
