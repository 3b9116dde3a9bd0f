#include "src/backends/elf_kernel.h"

#include "src/backends/identity.h"
#include "src/base/net/sha256.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxKernelImage = 256 << 20;
constexpr std::uint64_t kMaxKernel = 1ULL << 30;  // decompressed
constexpr std::string_view kElfMark("\177ELF", 4);

// Offsets in the setup header.
constexpr std::size_t kSetupSectors = 0x1f1;
constexpr std::size_t kHeaderMark = 0x202;
constexpr std::size_t kProtocol = 0x206;
constexpr std::size_t kPayloadOffset = 0x248;
constexpr std::size_t kPayloadLength = 0x24c;
constexpr std::size_t kHeaderEnd = 0x250;
constexpr std::size_t kSector = 512;
constexpr std::size_t kSizeField = 4;  // the decompressed size, which the kernel's build appends to the payload

template <class T>
T number_at(std::string_view bytes, std::size_t offset) {
  T value{};  // little-endian, as this host is
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

base::Error unusable_kernel(const std::filesystem::path& image, std::string_view cause) {
  return base::Error(Code::failed_precondition, "kernel_unavailable",
                     fmt::format("cannot take a vmlinux out of '{}': {}", image.native(), cause))
      .with_hint("put the kernel's uncompressed image beside it, as vmlinux");
}

Result<std::string_view> payload_of(std::string_view bytes, const std::filesystem::path& image) {
  if (bytes.size() < kHeaderEnd || bytes.substr(kHeaderMark, 4) != "HdrS" ||
      number_at<std::uint16_t>(bytes, kProtocol) < 0x208)
    return base::fail(unusable_kernel(image, "it is neither ELF nor a bzImage"));
  const std::size_t sectors = std::max<std::size_t>(number_at<std::uint8_t>(bytes, kSetupSectors), 1);
  const std::uint64_t start = (sectors + 1) * kSector + number_at<std::uint32_t>(bytes, kPayloadOffset);
  const std::uint64_t length = number_at<std::uint32_t>(bytes, kPayloadLength);
  if (length <= kSizeField || start > bytes.size() || length > bytes.size() - start)
    return base::fail(unusable_kernel(image, "its payload lies outside of it"));
  return bytes.substr(start, length - kSizeField);
}

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

Result<void> decompress(std::string_view payload, const base::Fd& into, const std::filesystem::path& image) {
  const Reader reader(archive_read_new(), archive_read_free);
  const auto broken = [&] {
    const char* text = archive_error_string(reader.get());
    return base::fail(unusable_kernel(image, text != nullptr ? text : "its payload cannot be decompressed"));
  };
  // One by one: "all" has some that start programs.
  for (auto* support :
       {archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_lzma,
        archive_read_support_filter_xz, archive_read_support_filter_lz4, archive_read_support_filter_zstd})
    support(reader.get());
  archive_read_support_format_raw(reader.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(reader.get(), payload.data(), payload.size()) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK)
    return broken();
  std::array<std::byte, 256 * 1024> buffer;
  std::uint64_t total = 0;
  for (;;) {
    const la_ssize_t n = archive_read_data(reader.get(), buffer.data(), buffer.size());
    if (n < 0) return broken();
    if (n == 0) return {};
    const auto piece = std::span(buffer).first(static_cast<std::size_t>(n));
    if (total == 0 && !base::as_text(piece).starts_with(kElfMark))
      return base::fail(unusable_kernel(image, "its payload is no ELF file"));
    total += piece.size();
    if (total > kMaxKernel) return base::fail(unusable_kernel(image, "its payload is too large"));
    CR_TRY(base::write_all(into, piece));
  }
}

Result<bool> is_elf(const std::filesystem::path& image) {
  CR_ASSIGN(const auto file, base::open_file(image, O_RDONLY));
  std::array<std::byte, kElfMark.size()> mark{};
  CR_ASSIGN(const auto size, base::read_some(file, mark));
  return base::as_text(std::span(mark).first(size)) == kElfMark;
}

}  // namespace

Result<std::filesystem::path> ensure_elf_kernel(const std::filesystem::path& image,
                                                const std::filesystem::path& cache_directory) {
  CR_ASSIGN(const bool ready, is_elf(image));
  if (ready) return image;
  const auto beside = image.parent_path() / "vmlinux";
  if (const auto found = is_elf(beside); found && *found) return beside;

  CR_ASSIGN(const auto identity, file_identity(image));
  base::Sha256 key;
  key.update(base::as_bytes(identity));
  const auto target = cache_directory / (key.finish_hex() + ".vmlinux");
  if (::access(target.c_str(), R_OK) == 0) return target;
  CR_ASSIGN(const auto bytes, base::read_file(image, kMaxKernelImage));
  CR_ASSIGN(const auto payload, payload_of(bytes, image));
  CR_TRY(base::make_private_directories(cache_directory));
  CR_ASSIGN(auto file, base::AtomicFile::create(target, 0444));
  CR_TRY(decompress(payload, file.fd(), image));
  CR_TRY(file.commit());
  return target;
}

}  // namespace cleanroom::backends
