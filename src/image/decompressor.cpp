#include "src/image/decompressor.h"

#include "src/image/image_error.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace cleanroom::image {
namespace {

using base::Result;
using Progress = Decompressor::Progress;

constexpr std::array<std::byte, 2> kGzipMagic = {std::byte{0x1f}, std::byte{0x8b}};
constexpr std::array<std::byte, 4> kZstdMagic = {std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd}};
constexpr std::array<std::byte, 3> kZstdSkippable = {std::byte{0x2a}, std::byte{0x4d}, std::byte{0x18}};
constexpr int kMaxZstdWindowLog = 27;

bool starts_with(std::span<const std::byte> text, std::span<const std::byte> magic) {
  return text.size() >= magic.size() && std::equal(magic.begin(), magic.end(), text.begin());
}

base::Failure damaged(Compression compression, std::string_view why) {
  return image_invalid(fmt::format("a layer cannot be decompressed ({}): {}", to_string(compression), why));
}

class Copy final : public Decompressor {
 public:
  Result<Progress> run(std::span<const std::byte> input, std::span<std::byte> output, bool last) override {
    const std::size_t n = std::min(input.size(), output.size());
    std::memcpy(output.data(), input.data(), n);
    return Progress{n, n, last && n == input.size()};
  }
};

class Gzip final : public Decompressor {
 public:
  Gzip() { start_member(); }

  Result<Progress> run(std::span<const std::byte> input, std::span<std::byte> output, bool last) override {
    Progress progress;
    if (between_members_) {
      if (input.size() < kGzipMagic.size() && !last) return progress;
      if (!starts_with(input, kGzipMagic)) return Progress{.ended = true};
      start_member();
    }
    // ISA-L counts in 32 bits; callers' buffers are far smaller.
    const auto bounded = [](std::size_t size) {
      return static_cast<std::uint32_t>(std::min<std::size_t>(size, 1u << 30));
    };
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): next_in is not written through, and has no const
    state_.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(input.data()));
    state_.avail_in = bounded(input.size());
    state_.next_out = reinterpret_cast<std::uint8_t*>(output.data());
    state_.avail_out = bounded(output.size());
    const int code = isal_inflate(&state_);
    progress.consumed = bounded(input.size()) - state_.avail_in;
    progress.produced = bounded(output.size()) - state_.avail_out;
    if (code < 0) return damaged(Compression::gzip, reason_of(code));
    if (code == ISAL_NEED_DICT) return damaged(Compression::gzip, "it wants a dictionary");
    if (state_.block_state == ISAL_BLOCK_FINISH) {
      between_members_ = true;
      progress.ended = last && progress.consumed == input.size();
    } else if (last && progress.consumed == input.size() && state_.avail_out > 0) {
      return damaged(Compression::gzip, "it ends too early");
    }
    return progress;
  }

 private:
  void start_member() {
    isal_inflate_init(&state_);
    state_.crc_flag = ISAL_GZIP;
    between_members_ = false;
  }
  static std::string_view reason_of(int code) {
    switch (code) {
      case ISAL_INVALID_WRAPPER:
        return "the header is wrong";
      case ISAL_UNSUPPORTED_METHOD:
        return "the method is not deflate";
      case ISAL_INCORRECT_CHECKSUM:
        return "the checksum is wrong";
      default:
        return "the data is damaged";
    }
  }
  inflate_state state_{};
  bool between_members_ = false;
};

class Zstd final : public Decompressor {
 public:
  Zstd() : stream_(ZSTD_createDStream()) {
    if (stream_) ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  }
  Result<Progress> run(std::span<const std::byte> input, std::span<std::byte> output, bool last) override {
    if (!stream_) return base::fail(base::Code::internal, "cannot set libzstd up");
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{output.data(), output.size(), 0};
    const std::size_t left = ZSTD_decompressStream(stream_.get(), &out, &in);
    if (ZSTD_isError(left)) return damaged(Compression::zstd, ZSTD_getErrorName(left));
    if (in.pos > 0 || out.pos > 0) at_frame_end_ = left == 0;
    const bool all_read = last && in.pos == in.size;
    if (all_read && !at_frame_end_ && out.pos < out.size) return damaged(Compression::zstd, "it ends too early");
    return Progress{in.pos, out.pos, all_read && at_frame_end_};
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool at_frame_end_ = false;
};

}  // namespace

std::string_view to_string(Compression compression) {
  switch (compression) {
    case Compression::none:
      return "uncompressed";
    case Compression::gzip:
      return "gzip";
    case Compression::zstd:
      return "zstd";
  }
  return "";
}

Compression compression_by_magic(std::span<const std::byte> start) {
  if (starts_with(start, kGzipMagic)) return Compression::gzip;
  if (starts_with(start, kZstdMagic)) return Compression::zstd;
  // A skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian.
  if (!start.empty() && (start[0] & std::byte{0xf0}) == std::byte{0x50} &&
      starts_with(start.subspan(1), kZstdSkippable))
    return Compression::zstd;
  return Compression::none;
}

std::unique_ptr<Decompressor> Decompressor::create(Compression compression) {
  switch (compression) {
    case Compression::none:
      return std::make_unique<Copy>();
    case Compression::gzip:
      return std::make_unique<Gzip>();
    case Compression::zstd:
      return std::make_unique<Zstd>();
  }
  return nullptr;
}

}  // namespace cleanroom::image
