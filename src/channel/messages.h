#pragma once
// The control stream's requests. The host is the HTTP/2 client, the agent the server.
//
//   GET  /v1/health                     200, body: the nonce of START in hex
//   POST /v1/exec                       body: ExecRequest as one length-prefixed record (32 bits), then stdin bytes
//   until the
//                                       stream ends; 200, body: frames (OutputFrame), the last one `exited`
//   POST /v1/exec/signal?exec=ID&signal=N      204; to the process group of that exec
//   POST /v1/exec/resize?exec=ID&rows=R&columns=C   204
//   PUT  /v1/files?path=DIR             body: tar, unpacked below DIR; 204
//   GET  /v1/files?path=DIR&pattern=GLOB[&pattern=...]   200, body: tar (pax) of what the patterns match below DIR
//   POST /v1/shutdown                   204; power off (no disk outlives the VM: nothing is synced)
// Values in a query are percent-encoded. Errors: 4xx/5xx with one line of text (at most kMaxErrorText bytes).
#include "src/base/os/result.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::channel {

inline constexpr std::size_t kMaxExecRequest = 8 << 20;
inline constexpr std::size_t kMaxFrame = 256 * 1024;
inline constexpr std::size_t kMaxErrorText = 1024;

struct ExecRequest {
  std::string id;                                  // [a-z0-9-]{1,64}, chosen by the host
  std::vector<std::vector<std::string>> commands;  // argv alternatives: the first whose program exists is run
  std::vector<std::string> environment;            // "K=V", complete
  std::string working_directory;                   // absolute; must exist
  std::string user;  // OCI `User`: name|uid[:group|gid], resolved in the image; empty = root
  std::uint8_t tty = 0;
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  std::uint8_t has_stdin = 0;  // 0: stdin is /dev/null
};
inline constexpr std::size_t kExecRequestHead = 4;  // its length, 32 bits
// The record with its length in front.
std::vector<std::byte> encode(const ExecRequest& request);
base::Result<ExecRequest> decode_exec_request(std::span<const std::byte> record);

// Down: type (8 bits), length (32 bits), payload.
enum class FrameType : std::uint8_t { standard_output = 1, standard_error = 2, exited = 3, failed = 4 };

struct Exited {
  std::uint8_t status = 0;
  std::uint8_t signal = 0;  // 0 = exited by itself
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_rss_kib = 0;
  std::uint8_t out_of_memory = 0;  // the guest's kernel killed it for memory
};
// The command could not be started at all.
struct ExecFailed {
  std::uint32_t os_errno = 0;
  std::string message;
};

std::vector<std::byte> encode_output(FrameType type, std::span<const std::byte> bytes);
std::vector<std::byte> encode(const Exited& exited);
std::vector<std::byte> encode(const ExecFailed& failed);

// Cuts a byte stream into frames; rejects unknown types, frames over kMaxFrame and anything after `exited` or `failed`.
class FrameDecoder {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // FrameType::standard_output or standard_error; may come in several pieces a frame.
    virtual void on_output(FrameType type, std::span<const std::byte> bytes) = 0;
    virtual void on_exited(const Exited& exited) = 0;
    virtual void on_failed(const ExecFailed& failed) = 0;
  };
  explicit FrameDecoder(Sink& sink) : sink_(sink) {}
  base::Result<void> feed(std::span<const std::byte> bytes);
  bool is_complete() const { return complete_; }

 private:
  base::Result<void> begin_frame();
  base::Result<void> end_record();
  Sink& sink_;
  std::vector<std::byte> head_;
  std::vector<std::byte> record_;  // payload of exited and failed
  FrameType type_ = FrameType::standard_output;
  std::size_t left_ = 0;
  bool complete_ = false;
};

// Percent-encoding of query values (RFC 3986 section 2.1): everything but unreserved characters and '/'.
std::string percent_encode(std::string_view text);
// invalid escapes are protocol_error.
base::Result<std::string> percent_decode(std::string_view text);

struct RequestTarget {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  std::optional<std::string> value(std::string_view name) const;
  std::vector<std::string> values(std::string_view name) const;
};
base::Result<RequestTarget> parse_target(std::string_view target);

}  // namespace cleanroom::channel
