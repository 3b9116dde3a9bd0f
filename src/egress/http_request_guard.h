#pragma once
// Watches what a client sends on a plain HTTP/1.1 connection (RFC 9112) and lets it pass only while every request is
// for the name that policy allowed. A head is forwarded when it has been read and judged whole; bodies stream through.
//
// It accepts the unambiguous part of HTTP only, so that it and the server cannot see different requests in the same
// bytes: CRLF line ends, origin-form targets (and `OPTIONS *`), exactly one Host, no folded lines, Content-Length or
// `chunked` but not both, no other transfer coding. `Upgrade: websocket` may be the first request; the caller then
// holds the client's bytes until the server's first status line says whether it switched.
#include "src/model/host_name.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::egress {

class HttpRequestGuard {
 public:
  enum class State {
    checking,       // feed more
    upgrade_asked,  // feed nothing until upgrade_answered()
    opaque,         // the server switched protocols: everything passes
    refused,        // problem() says why; nothing more passes
  };

  HttpRequestGuard(model::HostName host, std::uint16_t port) : host_(std::move(host)), port_(port) {}

  // Appends to `forward` what may go upstream. Bytes after an upgrade request are kept until upgrade_answered().
  State feed(std::span<const std::byte> bytes, std::vector<std::byte>& forward);
  State upgrade_answered(bool switched, std::vector<std::byte>& forward);

  State state() const { return state_; }
  const std::string& problem() const { return problem_; }            // fixed text
  const std::string& refused_host() const { return refused_host_; }  // Host as sent, when that was the problem
  std::uint64_t requests() const { return requests_; }               // heads that passed

 private:
  enum class Phase { head, body, chunk_size, chunk_data, chunk_end, trailers };
  struct Head;

  State refuse(std::string_view problem);
  void advance(std::vector<std::byte>& forward);
  void judge_pending(std::vector<std::byte>& forward);
  std::string_view unread() const { return std::string_view(pending_).substr(begin_); }
  bool take_crlf(std::string_view problem, std::vector<std::byte>& forward);
  bool take_line_block(std::size_t limit, std::string_view end, std::string& block);
  void forward_text(std::string_view text, std::vector<std::byte>& forward);
  void forward_body(std::vector<std::byte>& forward);
  void read_head(const std::string& block, std::vector<std::byte>& forward);
  bool read_request_line(std::string_view line, Head& head);
  bool read_field(std::string_view line, Head& head);
  bool check_head(const Head& head);
  bool check_host(std::string_view value);
  void read_chunk_size(const std::string& line, std::vector<std::byte>& forward);

  model::HostName host_;
  std::uint16_t port_;
  State state_ = State::checking;
  Phase phase_ = Phase::head;
  std::string pending_;          // received
  std::size_t begin_ = 0;        // of pending_, judged already: cut off once a feed, for a chunk may be a byte long
  std::size_t scanned_ = 0;      // of unread(), without the end of a head or line
  std::uint64_t body_left_ = 0;  // of the body or the current chunk
  std::uint64_t requests_ = 0;
  std::string problem_;
  std::string refused_host_;
};

}  // namespace cleanroom::egress
