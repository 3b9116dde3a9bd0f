#pragma once
// BlobDownloads: the blobs of an image, fetched in parallel and read in order, without touching the disk.
//
// The blobs are one long sequence, cut into chunks. Worker threads fetch chunks by range requests, never further ahead
// of what has been read than a window allows, so memory is bounded and a slow reader slows the network down. A reader
// sees the bytes of a chunk as they arrive. A fetch that breaks off goes on where it broke off. A registry that knows
// no ranges serves each blob in one answer, and the chunks are filled from that.
#include "src/image/file_set.h"
#include "src/model/digest.h"
#include "src/registry/registry_session.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

namespace cleanroom::registry {

struct BlobRequest {
  model::Digest digest;
  std::uint64_t size = 0;
};

class BlobDownloads {
 public:
  struct Options {
    unsigned parallel = 4;
    std::uint64_t chunk_bytes = 4u << 20;
    std::uint64_t window_bytes = 48u << 20;
    std::function<void(std::uint64_t)> received;  // called by the workers with the bytes of each step; may be empty
  };
  // Begins to fetch. `session` is borrowed. Each blob is read once, in this order, perhaps several at a time.
  BlobDownloads(RegistrySession& session, std::vector<BlobRequest> blobs, Options options);
  // Ends all fetches.
  ~BlobDownloads();

  // Nullptr when there is no such blob, or it was opened before. What cannot be had shows at its read():
  // image_pull_failed, image_not_found, image_access_denied, cancelled.
  std::unique_ptr<image::FileReader> open(const model::Digest& digest);

 private:
  friend class BlobReader;
  friend class ChunkSink;
  struct Chunk {
    std::size_t blob = 0;
    std::uint64_t offset = 0;    // in the blob
    std::uint64_t sequence = 0;  // bytes of the whole sequence before it
    std::size_t length = 0;
    std::size_t have = 0;   // bytes of `data` that are there
    std::size_t owner = 0;  // the fetch that may write here: this chunk's own, or the one that fills the blob
    bool busy = false;      // it copies into `data`
    bool read = false;      // all of it; `data` is gone
    std::vector<std::byte> data;
  };
  struct Blob {
    BlobRequest request;
    std::size_t first_chunk = 0;
    std::size_t end_chunk = 0;
    bool opened = false;
    std::optional<std::size_t> filler;  // no ranges here: the fetch, by its chunk, whose one answer fills all chunks
    std::uint64_t delivered = 0;
    std::optional<base::Error> error;
  };

  bool is_over() const { return stop_.stop_requested(); }
  void start_workers();
  void work();
  std::optional<std::size_t> take_chunk();
  void fetch(base::HttpClient& client, std::size_t chunk);
  base::Result<void> try_fetch(base::HttpClient& client, std::size_t chunk, std::optional<base::HttpResponse>& passing);
  // Blocks until the window lets bytes of this chunk in. False: the end.
  bool wait_for_window(std::unique_lock<std::mutex>& lock, const Chunk& chunk);
  std::uint64_t first_gap(const Blob& blob) const;  // the offset of the first byte that is not there
  // Bytes of a blob from `offset` on, by the fetch of chunk `owner`. already_exists: another fetch has taken over.
  base::Result<void> deliver(std::size_t owner, std::uint64_t offset, std::span<const std::byte> bytes);
  base::Result<std::size_t> read(std::size_t blob, std::uint64_t offset, std::span<std::byte> into,
                                 const bool& aborted);
  void wake() { changed_.notify_all(); }

  RegistrySession& session_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Blob> blobs_;
  std::deque<Chunk> chunks_;
  std::size_t next_chunk_ = 0;
  std::size_t oldest_ = 0;      // the first chunk that is not read
  std::uint64_t consumed_ = 0;  // bytes of the sequence before it
  std::vector<std::thread> workers_;
  std::size_t working_ = 0;  // of workers_, how many have not come to their end
  // Of this object's end, and of the session's.
  std::stop_source stop_;
  std::optional<std::stop_callback<std::function<void()>>> session_stop_;
};

}  // namespace cleanroom::registry
