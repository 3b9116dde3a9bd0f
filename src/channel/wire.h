#pragma once
// FieldWriter and FieldReader: the flat binary encoding of our few records. Big-endian integers; strings and lists
// carry a 32-bit length or count. The reader checks every length against what is left before it allocates, and against
// a cap.
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::channel {

inline constexpr std::size_t kMaxPath = 4096;  // in any record; PATH_MAX

class FieldWriter {
 public:
  void u8(std::uint8_t value);
  void u16(std::uint16_t value);
  void u32(std::uint32_t value);
  void u64(std::uint64_t value);
  void text(std::string_view value);                   // length, bytes
  void texts(const std::vector<std::string>& values);  // count, each as text
  void raw(std::span<const std::byte> bytes);          // no length
  std::vector<std::byte> take() { return std::move(bytes_); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  // Each: guest_failure/protocol_error when the bytes end early or a cap is passed.
  base::Result<std::uint8_t> u8();
  base::Result<std::uint16_t> u16();
  base::Result<std::uint32_t> u32();
  base::Result<std::uint64_t> u64();
  base::Result<std::string> text(std::size_t max_bytes);
  base::Result<std::vector<std::string>> texts(std::size_t max_count, std::size_t max_bytes_each);
  base::Result<void> raw(std::span<std::byte> into);
  // A count that is followed by elements of at least `min_bytes_each` bytes.
  base::Result<std::uint32_t> count(std::size_t max_count, std::size_t min_bytes_each);
  // Nothing may be left.
  base::Result<void> expect_end() const;

 private:
  base::Result<std::uint64_t> big_endian(std::size_t width);
  std::span<const std::byte> rest_;
};

base::Error protocol_error(std::string what);

}  // namespace cleanroom::channel
