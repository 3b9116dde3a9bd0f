#include "src/backends/sparse_digest.h"

#include "src/base/os/io.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace cleanroom::backends {

using base::Result;

namespace {

constexpr std::uint64_t kChunk = 64 * 1024;

void add_number(base::Gmac& mac, std::uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (auto& byte : bytes) {
    byte = static_cast<std::byte>(number & 0xff);
    number >>= 8;
  }
  mac.update(bytes);
}

bool is_zero(std::span<const std::byte> bytes) {
  // The first byte is zero, and each one equals the one before it.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

struct Run {
  std::uint64_t begin = 0;  // a multiple of kChunk
  std::uint64_t end = 0;
};

// The first run of data at or after `from`, a multiple of kChunk; empty at `size` when only a hole follows.
Result<Run> next_run(const base::Fd& file, std::uint64_t from, std::uint64_t size) {
  const off_t data = ::lseek(file.get(), static_cast<off_t>(from), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return Run{size, size};
  const off_t hole = data < 0 ? data : ::lseek(file.get(), data, SEEK_HOLE);
  if (hole < 0) return base::fail(base::errno_error("search", "a sparse file"));
  return Run{static_cast<std::uint64_t>(data) / kChunk * kChunk, static_cast<std::uint64_t>(hole)};
}

}  // namespace

Result<SparseDigest> digest_sparse(const base::Fd& file, const base::GmacKey& key) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::fail(base::errno_error("look at", "a sparse file"));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  base::Gmac mac(key);
  std::vector<std::byte> chunk(kChunk);
  Run run;
  for (std::uint64_t offset = 0; offset < size; offset += kChunk) {
    if (offset >= run.end) {
      CR_ASSIGN(run, next_run(file, offset, size));
      offset = run.begin;
      if (offset >= size) break;
    }
    const auto piece = std::span(chunk).first(std::min(kChunk, size - offset));
    CR_TRY(base::pread_exact(file, piece, offset));
    if (is_zero(piece)) continue;
    add_number(mac, offset);
    mac.update(piece);
  }
  add_number(mac, size);
  return SparseDigest{mac.finish_hex(), size};
}

}  // namespace cleanroom::backends
