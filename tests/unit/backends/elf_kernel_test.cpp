#include "src/backends/elf_kernel.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>

#include <cstring>

using namespace cleanroom;
using namespace cleanroom::backends;

namespace {

using Filter = int (*)(archive*);

std::string compressed(const std::string& content, Filter filter) {
  std::string buffer(content.size() + 64 * 1024, '\0');
  std::size_t used = 0;
  archive* writer = archive_write_new();
  archive_write_set_format_raw(writer);
  REQUIRE(filter(writer) == ARCHIVE_OK);
  REQUIRE(archive_write_open_memory(writer, buffer.data(), buffer.size(), &used) == ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(writer, entry);
  archive_write_data(writer, content.data(), content.size());
  archive_entry_free(entry);
  REQUIRE(archive_write_close(writer) == ARCHIVE_OK);
  archive_write_free(writer);
  buffer.resize(used);
  return buffer;
}

void put(std::string& bytes, std::size_t offset, std::uint32_t value, std::size_t size) {
  std::memcpy(bytes.data() + offset, &value, size);
}

// A boot sector, two sectors of set-up, 64 bytes of something, the payload and its length.
std::string bz_image(const std::string& payload) {
  std::string image(3 * 512 + 64, '\0');
  image[0x1f1] = 2;
  std::memcpy(image.data() + 0x202, "HdrS", 4);
  put(image, 0x206, 0x20f, 2);
  put(image, 0x248, 64, 4);
  put(image, 0x24c, static_cast<std::uint32_t>(payload.size() + 4), 4);
  return image + payload + std::string(4, '\x7f') + std::string(100, 'z');
}

struct Directory {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  std::filesystem::path image = root.path() / "k/vmlinuz";
  std::filesystem::path cache = root.path() / "cache";

  explicit Directory(const std::string& bytes) {
    REQUIRE(base::make_private_directories(root.path() / "k").has_value());
    REQUIRE(base::write_file_atomically(image, bytes).has_value());
  }
  base::Result<std::filesystem::path> ensure() const { return ensure_elf_kernel(image, cache); }
};

const std::string kElf = "\177ELF" + std::string(300'000, 'k');

}  // namespace

TEST_SUITE("backends/elf_kernel") {
  TEST_CASE("the payload of a bzImage is taken out once, however it is compressed") {
    for (const Filter filter : {archive_write_add_filter_gzip, archive_write_add_filter_xz,
                                archive_write_add_filter_zstd, archive_write_add_filter_lz4}) {
      const Directory directory(bz_image(compressed(kElf, filter)));
      const auto kernel = directory.ensure();
      REQUIRE_MESSAGE(kernel.has_value(), kernel.error().message);
      CHECK(base::read_file(*kernel, 1 << 20).value() == kElf);
      const auto written = std::filesystem::last_write_time(*kernel);
      CHECK(directory.ensure().value() == *kernel);
      CHECK(std::filesystem::last_write_time(*kernel) == written);
    }
  }

  TEST_CASE("an ELF file is itself, and a vmlinux beside the image comes before its payload") {
    CHECK(Directory(kElf).ensure().value().filename() == "vmlinuz");
    const Directory directory("no kernel of any kind");
    REQUIRE(base::write_file_atomically(directory.image.parent_path() / "vmlinux", kElf).has_value());
    CHECK(directory.ensure().value() == directory.image.parent_path() / "vmlinux");
  }

  TEST_CASE("anything else is one error, and nothing is kept") {
    std::string beyond = bz_image(compressed(kElf, archive_write_add_filter_gzip));
    put(beyond, 0x248, 0xffff'fff0, 4);
    std::string empty = bz_image("x");
    put(empty, 0x24c, 0, 4);
    std::string old = bz_image(compressed(kElf, archive_write_add_filter_gzip));
    put(old, 0x206, 0x207, 2);
    const std::string cut = compressed(kElf, archive_write_add_filter_gzip);
    for (const auto& bytes :
         {std::string(), std::string("\177EL"), std::string(2000, 'x'), beyond, empty, old,
          bz_image(compressed("not ELF", archive_write_add_filter_gzip)), bz_image(cut.substr(0, cut.size() / 2))}) {
      const Directory directory(bytes);
      const auto kernel = directory.ensure();
      REQUIRE_FALSE(kernel.has_value());
      CHECK(kernel.error().reason == "kernel_unavailable");
      std::error_code ec;
      CHECK((!std::filesystem::exists(directory.cache, ec) || std::filesystem::is_empty(directory.cache)));
    }
  }
}
