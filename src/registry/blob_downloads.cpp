#include "src/registry/blob_downloads.h"

#include "src/base/os/check.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace cleanroom::registry {

using base::Code;
using base::fail;
using base::HttpResponse;
using base::Result;

namespace {

constexpr std::chrono::hours kRequestTimeLimit{12};  // of one answer; a stall or a trickle ends it much earlier
constexpr std::uint64_t kProgress = 256u << 10;      // what an answer must bring for the next failure to be a first one

base::Failure ended() {
  return fail(Code::cancelled, "cancelled", "the pull was cancelled");
}

// The first byte of `Content-Range: bytes 5-9/10`.
std::optional<std::uint64_t> range_start(std::string_view value) {
  if (!value.starts_with("bytes ")) return std::nullopt;
  value.remove_prefix(6);
  std::uint64_t start = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), start);
  const bool whole = parsed.ec == std::errc() && parsed.ptr != value.data() + value.size() && *parsed.ptr == '-';
  return whole ? std::optional(start) : std::nullopt;
}

}  // namespace

class BlobReader final : public image::FileReader {
 public:
  BlobReader(BlobDownloads& downloads, std::size_t blob, std::uint64_t size)
      : downloads_(downloads), blob_(blob), size_(size) {}
  std::uint64_t size() const override { return size_; }
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (at_ == size_) return std::size_t{0};
    CR_ASSIGN(const std::size_t n, downloads_.read(blob_, at_, into, aborted_));
    at_ += n;
    return n;
  }
  void abort() noexcept override {
    const std::lock_guard lock(downloads_.mutex_);
    aborted_ = true;
    downloads_.wake();
  }

 private:
  BlobDownloads& downloads_;
  const std::size_t blob_;
  const std::uint64_t size_;
  std::uint64_t at_ = 0;
  bool aborted_ = false;  // under the downloads' mutex
};

// One answer on its way into chunks, for the fetch of one chunk. With 206 it starts at the offset asked for; with 200
// at the blob's start, and then this answer alone fills the blob.
class ChunkSink final : public base::HttpSink {
 public:
  ChunkSink(BlobDownloads& downloads, std::size_t chunk, std::uint64_t offset, std::uint64_t end)
      : downloads_(downloads), chunk_(chunk), at_(offset), end_(end) {}

  Result<void> head(const HttpResponse& response) override {
    if (response.status == 206 && range_start(response.header("content-range")) == at_) return {};
    if (response.status == 206)
      return fail(Code::unavailable, "image_pull_failed", "the registry answers with another range than asked for");
    const std::lock_guard lock(downloads_.mutex_);
    BlobDownloads::Blob& blob = downloads_.blobs_[downloads_.chunks_[chunk_].blob];
    if (blob.end_chunk - blob.first_chunk > 1) {
      // Another fetch has such an answer already; this chunk is filled by that one.
      if (blob.filler && *blob.filler != chunk_) return fail(Code::already_exists, "another answer fills the blob");
      blob.filler = chunk_;
      // Its own chunk may be any of the blob's: the answer fills them all.
      at_ = downloads_.first_gap(blob);
    }
    skip_ = at_;
    end_ = blob.request.size;
    return {};
  }
  Result<void> body(std::span<const std::byte> bytes) override {
    const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, bytes.size()));
    skip_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (bytes.size() > end_ - at_)
      return fail(Code::invalid_input, "image_invalid", "a blob is larger than its descriptor says");
    CR_TRY(downloads_.deliver(chunk_, at_, bytes));
    at_ += bytes.size();
    return {};
  }

 private:
  BlobDownloads& downloads_;
  const std::size_t chunk_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::uint64_t skip_ = 0;
};

BlobDownloads::BlobDownloads(RegistrySession& session, std::vector<BlobRequest> blobs, Options options)
    : session_(session), options_(std::move(options)) {
  std::uint64_t sequence = 0;
  for (BlobRequest& request : blobs) {
    Blob blob{.request = std::move(request), .first_chunk = chunks_.size()};
    for (std::uint64_t offset = 0; offset < blob.request.size;) {
      // No tiny last chunk: a request costs more than its bytes.
      const std::uint64_t left = blob.request.size - offset;
      const std::uint64_t length = left < options_.chunk_bytes * 3 / 2 ? left : options_.chunk_bytes;
      chunks_.push_back({.blob = blobs_.size(),
                         .offset = offset,
                         .sequence = sequence,
                         .length = static_cast<std::size_t>(length),
                         .owner = chunks_.size()});
      offset += length;
      sequence += length;
    }
    blob.end_chunk = chunks_.size();
    blobs_.push_back(std::move(blob));
  }
  session_stop_.emplace(session_.stop(), [this] {
    stop_.request_stop();
    wake();
  });
  start_workers();
}

void BlobDownloads::start_workers() {
  const std::size_t count = std::min<std::size_t>(std::max(1u, options_.parallel), chunks_.size());
  const std::lock_guard lock(mutex_);
  try {
    for (; working_ < count; ++working_)
      workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // Fewer do as well; a reader finds out when there are none.
  }
}

BlobDownloads::~BlobDownloads() {
  session_stop_.reset();
  stop_.request_stop();
  {
    const std::lock_guard lock(mutex_);  // nobody is between a look at stop_ and the wait
  }
  wake();
  for (std::thread& worker : workers_)
    worker.join();
}

std::unique_ptr<image::FileReader> BlobDownloads::open(const model::Digest& digest) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < blobs_.size(); ++i) {
    if (blobs_[i].opened || blobs_[i].request.digest != digest) continue;
    blobs_[i].opened = true;
    return std::make_unique<BlobReader>(*this, i, blobs_[i].request.size);
  }
  return nullptr;
}

bool BlobDownloads::wait_for_window(std::unique_lock<std::mutex>& lock, const Chunk& chunk) {
  // The oldest chunk always fits: whatever the window, somebody makes progress.
  changed_.wait(lock, [&] {
    return is_over() || chunk.sequence <= consumed_ ||
           chunk.sequence + chunk.length <= consumed_ + options_.window_bytes;
  });
  return !is_over();
}

// In their order; several workers may wait for the same one.
std::optional<std::size_t> BlobDownloads::take_chunk() {
  std::unique_lock lock(mutex_);
  while (next_chunk_ < chunks_.size()) {
    const std::size_t index = next_chunk_;
    if (!wait_for_window(lock, chunks_[index])) return std::nullopt;
    if (next_chunk_ != index) continue;  // another worker has it
    ++next_chunk_;
    const Blob& blob = blobs_[chunks_[index].blob];
    if (!blob.filler && !blob.error) return index;
  }
  return std::nullopt;
}

void BlobDownloads::work() {
  base::HttpClient client;
  while (const auto chunk = take_chunk())
    fetch(client, *chunk);
  const std::lock_guard lock(mutex_);
  --working_;
  wake();
}

void BlobDownloads::fetch(base::HttpClient& client, std::size_t index) {
  const Chunk& chunk = chunks_[index];
  const auto progress = [&] {
    const std::lock_guard lock(mutex_);
    const Blob& blob = blobs_[chunk.blob];
    return blob.filler ? blob.delivered : chunk.have;
  };
  std::uint64_t before = progress();
  for (int attempt = 1;; ++attempt) {
    std::optional<HttpResponse> passing;
    auto fetched = try_fetch(client, index, passing);
    if (fetched && !passing) return;
    if (!fetched && fetched.error().code == Code::already_exists) return;
    const std::uint64_t now = progress();
    if (now >= before + kProgress) {
      attempt = 1;
      before = now;
    }
    const bool again = passing || RegistrySession::is_passing(fetched.error());
    if (again && session_.pause(attempt, passing ? &*passing : nullptr, stop_.get_token())) continue;
    base::Error error = passing ? base::Error(Code::unavailable, "image_pull_failed",
                                              fmt::format("the registry answers {} for a blob", passing->status))
                                : std::move(fetched.error());
    if (is_over()) error = ended().value();
    if (error.reason.empty()) error.reason = "image_pull_failed";
    const std::lock_guard lock(mutex_);
    auto& kept = blobs_[chunk.blob].error;
    if (!kept) kept = std::move(error).with_context(blobs_[chunk.blob].request.digest.to_string());
    wake();
    return;
  }
}

std::uint64_t BlobDownloads::first_gap(const Blob& blob) const {
  for (std::size_t i = blob.first_chunk; i < blob.end_chunk; ++i) {
    if (chunks_[i].have < chunks_[i].length) return chunks_[i].offset + chunks_[i].have;
  }
  return blob.request.size;
}

Result<void> BlobDownloads::try_fetch(base::HttpClient& client, std::size_t index,
                                      std::optional<HttpResponse>& passing) {
  const Chunk& chunk = chunks_[index];
  const Blob& blob = blobs_[chunk.blob];
  // What this fetch has to bring: the rest of its chunk, or of the blob that it fills. Empty when another one does.
  const auto wanted = [&]() -> std::pair<std::uint64_t, std::uint64_t> {
    const std::lock_guard lock(mutex_);
    if (blob.filler == index) return {first_gap(blob), blob.request.size};
    if (blob.filler || chunk.owner != index) return {0, 0};
    return {chunk.offset + chunk.have, chunk.offset + chunk.length};
  };
  const auto [from, end] = wanted();
  if (from == end) return {};
  RegistrySession::Request asked{
      .path = "blobs/" + blob.request.digest.to_string(), .time_limit = kRequestTimeLimit, .stop = stop_.get_token()};
  if (from > 0 || end < blob.request.size) asked.headers.push_back(fmt::format("Range: bytes={}-{}", from, end - 1));
  ChunkSink sink(*this, index, from, end);
  CR_ASSIGN(HttpResponse response, session_.get(client, asked, &sink));
  if (response.status / 100 != 2) {
    passing = std::move(response);
    return {};
  }
  const auto [rest, rest_end] = wanted();
  if (rest == rest_end) return {};
  return fail(Code::unavailable, "image_pull_failed", "the registry's answer ends too early");
}

Result<void> BlobDownloads::deliver(std::size_t owner, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (options_.received && !bytes.empty()) options_.received(bytes.size());
  std::unique_lock lock(mutex_);
  Blob& blob = blobs_[chunks_[owner].blob];
  std::size_t index = blob.first_chunk + static_cast<std::size_t>(offset / options_.chunk_bytes);
  for (; !bytes.empty(); ++index) {
    index = std::min(index, blob.end_chunk - 1);
    Chunk& chunk = chunks_[index];
    if (!wait_for_window(lock, chunk)) return ended();
    // The place is its owner's alone, until `have` says that there is something. What fills the blob takes over.
    changed_.wait(lock, [&] { return is_over() || !chunk.busy; });
    if (is_over()) return ended();
    if (blob.filler == owner) chunk.owner = owner;
    if (chunk.owner != owner) return fail(Code::already_exists, "another answer fills the blob");
    const auto at = static_cast<std::size_t>(offset - chunk.offset);
    const std::size_t part = std::min(bytes.size(), chunk.length - at);
    const std::size_t known = chunk.have > at ? std::min(part, chunk.have - at) : 0;
    if (at > chunk.have) return fail(Code::internal, "a part of a blob arrives before its place");
    if (known < part) {
      chunk.data.resize(chunk.length);
      chunk.busy = true;
      lock.unlock();
      std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(known), bytes.begin() + static_cast<std::ptrdiff_t>(part),
                chunk.data.begin() + static_cast<std::ptrdiff_t>(at + known));
      lock.lock();
      chunk.busy = false;
      chunk.have = at + part;
      blob.delivered += part - known;
      wake();
    }
    offset += part;
    bytes = bytes.subspan(part);
  }
  return is_over() ? ended() : Result<void>();
}

Result<std::size_t> BlobDownloads::read(std::size_t blob_index, std::uint64_t offset, std::span<std::byte> into,
                                        const bool& aborted) {
  std::unique_lock lock(mutex_);
  const Blob& blob = blobs_[blob_index];
  std::size_t index = blob.first_chunk + static_cast<std::size_t>(offset / options_.chunk_bytes);
  index = std::min(index, blob.end_chunk - 1);
  Chunk& chunk = chunks_[index];
  const auto at = static_cast<std::size_t>(offset - chunk.offset);
  changed_.wait(lock, [&] { return is_over() || aborted || chunk.have > at || blob.error || working_ == 0; });
  if (is_over() || aborted) return ended();
  if (chunk.have <= at && blob.error) return fail(*blob.error);
  if (chunk.have <= at)
    return fail(Code::unavailable, "image_pull_failed", "nothing fetches the image: no thread could be started");
  const std::size_t n = std::min(into.size(), chunk.have - at);
  lock.unlock();
  std::copy_n(chunk.data.begin() + static_cast<std::ptrdiff_t>(at), n, into.begin());
  if (at + n < chunk.length) return n;
  lock.lock();
  std::vector<std::byte>().swap(chunk.data);  // assigning {} would keep the memory
  // Blobs may be read side by side: the window follows the oldest chunk that is not yet read.
  chunk.read = true;
  while (oldest_ < chunks_.size() && chunks_[oldest_].read)
    consumed_ += chunks_[oldest_++].length;
  wake();
  return n;
}

}  // namespace cleanroom::registry
