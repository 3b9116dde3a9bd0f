#include "src/image/layer_stream.h"

#include "src/image/image_error.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr std::size_t kRawBytes = 256u << 10;
constexpr std::uint64_t kDiskCheckEvery = 64u << 20;

std::string_view name_of(Compression compression) {
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

Compression by_magic(std::span<const std::byte> start) {
  const auto starts = [&](std::string_view magic) {
    return start.size() >= magic.size() && std::memcmp(start.data(), magic.data(), magic.size()) == 0;
  };
  if (starts("\x1f\x8b")) return Compression::gzip;
  if (starts("\x28\xb5\x2f\xfd")) return Compression::zstd;
  return Compression::none;
}

}  // namespace

Result<void> ExpansionBudget::take(std::uint64_t bytes) {
  used_ += bytes;
  if (used_ > limits_.expanded_bytes) {
    return image_limit(fmt::format("the layers expand to more than {} MiB", limits_.expanded_bytes >> 20));
  }
  if (checked_ && used_ - checked_at_ < kDiskCheckEvery) return {};
  checked_ = true;
  checked_at_ = used_;
  struct statvfs info {};
  if (::fstatvfs(directory_.get(), &info) != 0) return base::fail(base::errno_error("measure", "the image store"));
  if (std::uint64_t{info.f_bavail} * info.f_frsize >= limits_.disk_reserve_bytes) return {};
  return base::fail(base::Error(base::Code::failed_precondition, "image_limit",
                                fmt::format("less than {} MiB would stay free on the image store's file system",
                                            limits_.disk_reserve_bytes >> 20))
                        .with_hint("remove images that are no longer used, or set XDG_DATA_HOME to a larger disk"));
}

void LayerStream::FreeArchive::operator()(archive* a) const {
  archive_read_free(a);
}

LayerStream::LayerStream(std::unique_ptr<ContentReader> blob, LayerExpectation expected, ExpansionBudget& budget)
    : blob_(std::move(blob)), expected_(std::move(expected)), budget_(budget) {}
LayerStream::~LayerStream() = default;

Result<std::unique_ptr<LayerStream>> LayerStream::open(std::unique_ptr<ContentReader> blob, LayerExpectation expected,
                                                       ExpansionBudget& budget) {
  std::unique_ptr<LayerStream> stream(new LayerStream(std::move(blob), std::move(expected), budget));
  CR_TRY(stream->start());
  return stream;
}

Result<bool> LayerStream::fill_raw() {
  if (std::exchange(raw_held_, false)) return !raw_.empty();
  raw_.resize(kRawBytes);
  std::size_t have = 0;
  while (have < raw_.size()) {
    CR_ASSIGN(const std::size_t n, blob_->read(std::span(raw_).subspan(have)));
    if (n == 0) break;
    have += n;
  }
  raw_.resize(have);
  raw_bytes_ += have;
  if (expected_.digest) raw_hash_.update(raw_);
  if (expected_.size && raw_bytes_ > *expected_.size) {
    return image_invalid(fmt::format("a layer is larger than the {} bytes of its descriptor", *expected_.size));
  }
  return have > 0;
}

ssize_t LayerStream::on_read(archive*, void* self, const void** buffer) {
  auto& stream = *static_cast<LayerStream*>(self);
  const auto more = stream.fill_raw();
  if (!more) {
    stream.blob_error_ = more.error();
    return -1;
  }
  *buffer = stream.raw_.data();
  return static_cast<ssize_t>(stream.raw_.size());
}

base::Failure LayerStream::decompress_error() {
  if (blob_error_) return base::fail(*blob_error_);
  const char* text = archive_error_string(archive_.get());
  return image_invalid(
      fmt::format("a layer cannot be decompressed ({}): {}", name_of(compression_), text ? text : "no reason given"));
}

Result<void> LayerStream::start() {
  const auto more = fill_raw();
  if (!more) return base::fail(more.error());
  raw_held_ = true;
  compression_ = by_magic(raw_);
  if (expected_.compression && *expected_.compression != compression_) {
    return image_invalid(fmt::format("a layer is {} by its media type and {} by its content",
                                     name_of(*expected_.compression), name_of(compression_)));
  }
  if (compression_ == Compression::none) return {};
  archive_.reset(archive_read_new());
  archive* const a = archive_.get();
  const bool ready = a && archive_read_support_format_raw(a) == ARCHIVE_OK &&
                     (compression_ == Compression::gzip ? archive_read_support_filter_gzip(a)
                                                        : archive_read_support_filter_zstd(a)) == ARCHIVE_OK;
  if (!ready) return base::fail(base::Code::internal, "cannot set libarchive up");
  archive_entry* entry = nullptr;
  const int opened = archive_read_open(a, this, nullptr, on_read, nullptr);
  if (opened != ARCHIVE_OK || archive_filter_count(a) != 2) return decompress_error();
  const int header = archive_read_next_header(a, &entry);
  if (header == ARCHIVE_EOF) ended_ = true;
  if (header != ARCHIVE_OK && header != ARCHIVE_EOF) return decompress_error();
  return {};
}

Result<bool> LayerStream::next_part() {
  if (ended_) return false;
  if (compression_ == Compression::none) {
    CR_ASSIGN(const bool more, fill_raw());
    ended_ = !more;
    part_ = raw_;
  } else {
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int read = archive_read_data_block(archive_.get(), &data, &size, &offset);
    if (read != ARCHIVE_OK && read != ARCHIVE_EOF) return decompress_error();
    ended_ = read == ARCHIVE_EOF;
    part_ = {static_cast<const std::byte*>(data), ended_ ? 0 : size};
  }
  tar_bytes_ += part_.size();
  if (expected_.diff_id) tar_hash_.update(part_);
  CR_TRY(budget_.take(part_.size()));
  const Limits& limits = budget_.limits();
  if (tar_bytes_ > limits.ratio_grace_bytes && tar_bytes_ / limits.ratio > raw_bytes_) {
    return image_limit(fmt::format("a layer expands to more than {} times its size", limits.ratio));
  }
  return !ended_;
}

Result<std::size_t> LayerStream::read(std::span<std::byte> into) {
  while (part_.empty()) {
    CR_ASSIGN(const bool more, next_part());
    if (!more) return std::size_t{0};
  }
  const std::size_t n = std::min(into.size(), part_.size());
  std::memcpy(into.data(), part_.data(), n);
  part_ = part_.subspan(n);
  return n;
}

Result<void> LayerStream::finish() {
  while (!ended_) {
    const auto more = next_part();
    if (!more) return base::fail(more.error());
  }
  for (;;) {
    CR_ASSIGN(const bool more, fill_raw());
    if (!more) break;
  }
  if (expected_.size && raw_bytes_ != *expected_.size) {
    return image_invalid(fmt::format("a layer has {} bytes, its descriptor says {}", raw_bytes_, *expected_.size));
  }
  if (expected_.digest && raw_hash_.finish_hex() != expected_.digest->hex()) {
    return image_invalid(
        fmt::format("the content of the layer {} is not what its digest says", expected_.digest->to_string()));
  }
  if (expected_.diff_id && tar_hash_.finish_hex() != expected_.diff_id->hex()) {
    return image_invalid(
        fmt::format("the tar of the layer with diff_id {} is not what it says", expected_.diff_id->to_string()));
  }
  return {};
}

}  // namespace cleanroom::image
