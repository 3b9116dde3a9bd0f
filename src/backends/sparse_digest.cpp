#include "src/backends/sparse_digest.h"

#include "src/base/os/io.h"
#include "src/base/os/sparse_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
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

}  // namespace

Result<SparseDigest> digest_sparse(const base::Fd& file, const base::GmacKey& key) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::fail(base::errno_error("look at", "a sparse file"));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  base::Gmac mac(key);
  std::vector<std::byte> chunk(kChunk);
  base::DataRun run;
  for (std::uint64_t offset = 0; offset < size; offset += kChunk) {
    if (offset >= run.end) {
      CR_ASSIGN(run, base::next_data_run(file, offset, size));
      offset = run.begin / kChunk * kChunk;
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
