#pragma once
// receive_outputs: takes the tar stream in which the guest returns its results, and puts files into the checkout.
//
// Every byte is the guest's. The stream is read entry by entry with libarchive (tar formats only, no compression, a cap
// on the bytes of one header). Bytes go to a private staging directory under numbers, never under the guest's names:
// `<checkout>/.cleanroom-outputs-<random>`, 0700, on the same file system, locked (flock) while in use. Only when the
// whole stream was good are the files moved to their names, each with one rename below directories that are opened with
// openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS). So a link in the checkout is never followed,
// an existing regular file is replaced as a whole, and a stream that fails leaves nothing.
//
// Taken: regular files, and directories that a pattern matches. An entry is refused, listed in the report, and the rest
// goes on, when it is a link, device or FIFO; has holes (sparse); no pattern matches it (a directory is passed over in
// silence then); its name is refused (output_receiver_names.h); it is too large, too deep; or something other than a
// regular file stands at its place. A name that comes twice is the later one. Permissions are the guest's less set-id
// bits and write for group and others, with read and write for the owner; owner, xattrs and ACLs are never looked at; a
// modification time in the future becomes now.
//
// A leftover staging directory of a killed run is removed by the next call for that checkout.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/runner/output_globs.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

struct OutputLimits {
  std::size_t entries = 100'000;                  // in the stream, refused ones included: beyond it the stream fails
  std::uint64_t total_bytes = 10ull << 30;        // of content taken: beyond it the stream fails
  std::uint64_t file_bytes = 5ull << 30;          // one file: refused
  std::uint64_t stream_bytes = 12ull << 30;       // of the tar itself: beyond it the stream fails
  std::size_t depth = 64;                         // components: refused
  std::size_t path_bytes = 1024;                  // refused
  std::size_t all_paths_bytes = 16u << 20;        // of the paths taken: beyond it the stream fails
  std::uint64_t disk_reserve_bytes = 256u << 20;  // stays free on the checkout's file system: else the stream fails
};

struct OutputOptions {
  std::filesystem::path checkout;
  OutputGlobs globs;
  OutputLimits limits;
  base::Deadline deadline;  // for the whole stream
  std::stop_token stop;     // asked between reads
};

struct RejectedOutput {
  std::string path;   // escaped for display, shortened
  std::string cause;  // "is a symbolic link"
};

struct OutputReport {
  std::uint64_t files = 0;
  std::uint64_t directories = 0;  // made because a pattern matches them; parents of files not counted
  std::uint64_t bytes = 0;
  std::vector<RejectedOutput> rejected;   // at most kMaxRejectedListed
  std::uint64_t rejected_not_listed = 0;  // reason of all of them: output_rejected
};

inline constexpr std::size_t kMaxRejectedListed = 100;

// Reads `stream` (the read end of a pipe or a socket; the caller feeds the other end) to the end of the archive, then
// drains it to end of file. The writer sees back-pressure; close the write end to end the stream early, and expect
// EPIPE when this fails first and the caller drops the read end. Blocks: call it in a pool.
// Errors: guest_failure `output_rejected` (not a tar, cut short, a limit), timeout, cancelled, and `output_failed` for
// this host's file system. Nothing was put into the checkout then, except when the file system fails during the moves:
// files already moved stay, and the message says so.
base::Result<OutputReport> receive_outputs(const base::Fd& stream, const OutputOptions& options);

// Every staging directory's name begins so; a checkout is copied without them.
inline constexpr std::string_view kStagingPrefix = ".cleanroom-outputs-";

}  // namespace cleanroom::runner
