#include "src/image/layer_stream.h"

#include "src/image/image_error.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>
#include <system_error>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr std::size_t kRawBytes = 256u << 10;
constexpr std::size_t kSlotBytes = 512u << 10;
constexpr std::uint64_t kDiskCheckEvery = 64u << 20;

}  // namespace

Result<void> ExpansionBudget::take(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
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
  return base::fail(
      base::Error(base::Code::failed_precondition, "image_limit",
                  fmt::format("less than {} MiB would stay free on the image store's file system",
                              limits_.disk_reserve_bytes >> 20))
          .with_hint("remove images that are no longer used (cleanroom image gc), or set XDG_DATA_HOME to "
                     "a larger disk"));
}

LayerStream::LayerStream(std::unique_ptr<ContentReader> blob, LayerExpectation expected, ExpansionBudget& budget)
    : blob_(std::move(blob)), expected_(std::move(expected)), budget_(budget) {}

Result<std::unique_ptr<LayerStream>> LayerStream::open(std::unique_ptr<ContentReader> blob, LayerExpectation expected,
                                                       ExpansionBudget& budget) {
  std::unique_ptr<LayerStream> stream(new LayerStream(std::move(blob), std::move(expected), budget));
  CR_TRY(stream->start());
  return stream;
}

Result<void> LayerStream::start() {
  try {
    producer_ = std::thread([this] { decompress_all(); });
    if (expected_.diff_id) hasher_ = std::thread([this] { hash_all(); });
  } catch (const std::system_error& error) {
    return base::fail(base::errno_error("start", "a thread", error.code().value()));
  }
  return {};
}

LayerStream::~LayerStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  blob_->abort();
  if (producer_.joinable()) producer_.join();
  if (hasher_.joinable()) hasher_.join();
}

// Keeps what is not yet consumed: a decompressor may want two bytes at once.
Result<bool> LayerStream::fill_raw() {
  if (raw_ended_) return false;
  const std::size_t kept = raw_.size() - raw_at_;
  if (kept > 0 && raw_at_ > 0) std::memmove(raw_.data(), raw_.data() + raw_at_, kept);
  raw_at_ = 0;
  raw_.resize(kRawBytes);
  std::size_t have = kept;
  while (have < raw_.size()) {
    CR_ASSIGN(const std::size_t n, blob_->read(std::span(raw_).subspan(have)));
    if (n == 0) {
      raw_ended_ = true;
      break;
    }
    have += n;
  }
  raw_.resize(have);
  const auto fresh = std::span(raw_).subspan(kept);
  raw_bytes_ += fresh.size();
  if (expected_.digest) raw_hash_.update(fresh);
  if (expected_.size && raw_bytes_ > *expected_.size) {
    return image_invalid(fmt::format("a layer is larger than the {} bytes of its descriptor", *expected_.size));
  }
  return !fresh.empty();
}

Result<void> LayerStream::check_start() {
  CR_ASSIGN(const bool any, fill_raw());
  static_cast<void>(any);
  const Compression found = compression_by_magic(raw_);
  if (!expected_.compression) expected_.compression = found;
  if (*expected_.compression == found) return {};
  return image_invalid(fmt::format("a layer is {} by its media type and {} by its content",
                                   to_string(*expected_.compression), to_string(found)));
}

// Fills `slot` as far as the stream goes. False: that was the end of the tar.
Result<bool> LayerStream::fill_slot(Decompressor& decompressor, std::vector<std::byte>& slot) {
  slot.resize(kSlotBytes);
  std::size_t have = 0;
  bool ended = false;
  while (have < slot.size() && !ended) {
    const auto input = std::span<const std::byte>(raw_).subspan(raw_at_);
    CR_ASSIGN(const auto progress, decompressor.run(input, std::span(slot).subspan(have), raw_ended_));
    raw_at_ += progress.consumed;
    have += progress.produced;
    ended = progress.ended;
    if (!ended && progress.produced == 0 && !raw_ended_) {
      CR_ASSIGN(const bool more, fill_raw());
      static_cast<void>(more);  // the decompressor judges the end
    }
  }
  slot.resize(have);
  tar_bytes_ += have;
  CR_TRY(budget_.take(have));
  const Limits& limits = budget_.limits();
  if (tar_bytes_ > limits.ratio_grace_bytes && tar_bytes_ / limits.ratio > raw_bytes_) {
    return image_limit(fmt::format("a layer expands to more than {} times its size", limits.ratio));
  }
  return !ended;
}

bool LayerStream::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] {
    const std::uint64_t oldest = expected_.diff_id ? std::min(hashed_, consumed_) : consumed_;
    return stopping_ || filled_ - oldest < kSlots;
  });
  return !stopping_;
}

Result<void> LayerStream::decompress_blob() {
  CR_TRY(check_start());
  const auto decompressor = Decompressor::create(*expected_.compression);
  for (bool more = true; more;) {
    if (!wait_for_room()) return base::fail(base::Code::cancelled, "the layer is no longer wanted");
    CR_ASSIGN(more, fill_slot(*decompressor, slots_[filled_ % kSlots]));
    {
      const std::lock_guard lock(mutex_);
      ++filled_;
    }
    changed_.notify_all();
  }
  return check_blob();
}

Result<void> LayerStream::check_blob() {
  for (bool more = true; more;) {
    raw_at_ = raw_.size();
    CR_ASSIGN(more, fill_raw());
  }
  if (expected_.size && raw_bytes_ != *expected_.size) {
    return image_invalid(fmt::format("a layer has {} bytes, its descriptor says {}", raw_bytes_, *expected_.size));
  }
  if (expected_.digest && raw_hash_.finish_hex() != expected_.digest->hex()) {
    return image_invalid(
        fmt::format("the content of the layer {} is not what its digest says", expected_.digest->to_string()));
  }
  return {};
}

void LayerStream::decompress_all() {
  auto done = decompress_blob();
  {
    const std::lock_guard lock(mutex_);
    if (!done) error_ = std::move(done.error());
    produced_all_ = true;
  }
  changed_.notify_all();
}

void LayerStream::hash_all() {
  for (;;) {
    std::uint64_t slot = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || hashed_ < filled_ || produced_all_; });
      if (stopping_ || hashed_ == filled_) return;
      slot = hashed_;
    }
    tar_hash_.update(slots_[slot % kSlots]);
    {
      const std::lock_guard lock(mutex_);
      ++hashed_;
    }
    changed_.notify_all();
  }
}

Result<bool> LayerStream::next_part() {
  {
    std::unique_lock lock(mutex_);
    if (std::exchange(slot_held_, false)) ++consumed_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return consumed_ < filled_ || produced_all_; });
    if (consumed_ == filled_) {
      part_ = {};
      return error_ ? Result<bool>(base::fail(*error_)) : Result<bool>(false);
    }
    slot_held_ = true;
  }
  part_ = slots_[consumed_ % kSlots];
  return true;
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
  for (bool more = true; more;) {
    CR_ASSIGN(more, next_part());
  }
  if (!expected_.diff_id) return {};
  hasher_.join();
  if (tar_hash_.finish_hex() != expected_.diff_id->hex()) {
    return image_invalid(
        fmt::format("the tar of the layer with diff_id {} is not what it says", expected_.diff_id->to_string()));
  }
  return {};
}

}  // namespace cleanroom::image
