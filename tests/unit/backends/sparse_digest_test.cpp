#include "src/backends/sparse_digest.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

using namespace cleanroom;
using namespace cleanroom::backends;

TEST_SUITE("backends/sparse_digest") {
  TEST_CASE("the digest is of what the memory holds, not of which zeros are holes") {
    const auto directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
    const base::GmacKey key{std::byte{1}};
    constexpr std::uint64_t kSize = (2 << 20) + 4096;
    const auto make = [&](const char* name) {
      auto file = base::open_file(directory.path() / name, O_RDWR | O_CREAT).value();
      REQUIRE(::ftruncate(file.get(), kSize) == 0);
      REQUIRE(base::pwrite_all(file, base::as_bytes("some"), 70'000).has_value());
      REQUIRE(base::pwrite_all(file, base::as_bytes("end"), kSize - 3).has_value());
      return file;
    };
    const auto sparse = make("sparse");
    const auto written = make("written");
    const std::string zeros(256 * 1024, '\0');
    REQUIRE(base::pwrite_all(written, base::as_bytes(zeros), 1 << 20).has_value());
    const auto digest = digest_sparse(sparse, key).value();
    CHECK(digest.size == kSize);
    CHECK(digest_sparse(written, key)->tag == digest.tag);
    // The same bytes elsewhere, another key and another length are other digests.
    const auto moved = make("moved");
    REQUIRE(base::pwrite_all(moved, base::as_bytes(std::string(4, '\0')), 70'000).has_value());
    REQUIRE(base::pwrite_all(moved, base::as_bytes("some"), 70'000 + 65536).has_value());
    CHECK(digest_sparse(moved, key)->tag != digest.tag);
    CHECK(digest_sparse(sparse, base::GmacKey{})->tag != digest.tag);
    REQUIRE(::ftruncate(written.get(), kSize + 4096) == 0);
    CHECK(digest_sparse(written, key)->tag != digest.tag);
  }

  TEST_CASE("GMAC: test case 1 of the GCM specification, as a tag of nothing") {
    base::Gmac mac({});
    CHECK(mac.finish_hex() == "58e2fccefa7e3061367f1d57a4e7455a");
  }
}
