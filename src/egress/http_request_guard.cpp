#include "src/egress/http_request_guard.h"

#include "src/base/os/ascii.h"
#include "src/egress/connect_target.h"
#include "src/egress/limits.h"

#include <algorithm>
#include <optional>

namespace cleanroom::egress {
namespace {

constexpr std::string_view kCrlf = "\r\n";
constexpr std::string_view kBlankLine = "\r\n\r\n";

bool is_token_char(char c) {
  return base::is_ascii_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

// A field value or a chunk extension: no control characters but tab. Bytes above ASCII pass, as obs-text.
bool is_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<std::uint64_t> read_number(std::string_view text, unsigned radix, std::size_t max_digits) {
  if (text.empty() || text.size() > max_digits) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    const int digit = base::hex_value(c);
    if (digit < 0 || static_cast<unsigned>(digit) >= radix) return std::nullopt;
    value = value * radix + static_cast<unsigned>(digit);
  }
  return value;
}

}  // namespace

struct HttpRequestGuard::Head {
  std::string_view method;
  bool http_1_0 = false;
  std::optional<std::string> host;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool wants_upgrade = false;
};

HttpRequestGuard::State HttpRequestGuard::refuse(std::string_view problem) {
  if (state_ != State::refused) problem_ = problem;
  pending_.clear();
  begin_ = 0;
  return state_ = State::refused;
}

HttpRequestGuard::State HttpRequestGuard::feed(std::span<const std::byte> bytes, std::vector<std::byte>& forward) {
  if (state_ == State::refused) return state_;
  if (state_ == State::opaque) {
    forward.insert(forward.end(), bytes.begin(), bytes.end());
    return state_;
  }
  pending_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  advance(forward);
  if (state_ == State::upgrade_asked && pending_.size() > kMaxHttpHeadBytes)
    return refuse("too much data before the upgrade");
  return state_;
}

HttpRequestGuard::State HttpRequestGuard::upgrade_answered(bool switched, std::vector<std::byte>& forward) {
  if (state_ != State::upgrade_asked) return state_;
  if (switched) {
    state_ = State::opaque;
    forward_text(pending_, forward);
    pending_.clear();
    return state_;
  }
  state_ = State::checking;
  advance(forward);
  return state_;
}

void HttpRequestGuard::forward_text(std::string_view text, std::vector<std::byte>& forward) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  forward.insert(forward.end(), bytes.begin(), bytes.end());
}

// Takes what is unread up to and including `end`, at most `limit` bytes, as `block`; false when it is not all there (or
// was refused). The verdict does not depend on how much has arrived by when.
bool HttpRequestGuard::take_line_block(std::size_t limit, std::string_view end, std::string& block) {
  const auto text = unread();
  const auto found = text.find(end, scanned_ - std::min(scanned_, end.size() - 1));
  const bool whole = found != std::string_view::npos && found + end.size() <= limit;
  if (!whole && text.size() >= limit) {
    refuse("a head or line above the size limit");
    return false;
  }
  if (!whole) {
    scanned_ = text.size();  // one-byte writes must not make it look at everything again each time
    return false;
  }
  scanned_ = 0;
  block = text.substr(0, found + end.size());
  begin_ += block.size();
  return true;
}

// False when the line end is not all there, or something else is (refused).
bool HttpRequestGuard::take_crlf(std::string_view problem, std::vector<std::byte>& forward) {
  const auto text = unread();
  if (text.size() < kCrlf.size() && text[0] == '\r') return false;
  if (!text.starts_with(kCrlf)) {
    refuse(problem);
    return false;
  }
  forward_text(kCrlf, forward);
  begin_ += kCrlf.size();
  return true;
}

void HttpRequestGuard::advance(std::vector<std::byte>& forward) {
  judge_pending(forward);
  pending_.erase(0, begin_);
  begin_ = 0;
}

void HttpRequestGuard::judge_pending(std::vector<std::byte>& forward) {
  std::string block;
  while (state_ == State::checking && !unread().empty()) {
    switch (phase_) {
      case Phase::head:
        // An empty line first, or a bare LF, is where two parsers part.
        if (unread()[0] == '\r' || unread()[0] == '\n') {
          refuse("an empty line before a request");
          return;
        }
        if (!take_line_block(kMaxHttpHeadBytes, kBlankLine, block)) return;
        read_head(block, forward);
        break;
      case Phase::body:
      case Phase::chunk_data:
        forward_body(forward);
        break;
      case Phase::chunk_size:
        if (!take_line_block(kMaxChunkLineBytes, kCrlf, block)) return;
        read_chunk_size(block, forward);
        break;
      case Phase::chunk_end:
        if (!take_crlf("a chunk longer than it said", forward)) return;
        phase_ = Phase::chunk_size;
        break;
      case Phase::trailers:
        // No client needs trailers here, and servers differ about them.
        if (!take_crlf("trailers after a chunked body", forward)) return;
        phase_ = Phase::head;
        break;
    }
  }
}

void HttpRequestGuard::forward_body(std::vector<std::byte>& forward) {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, unread().size()));
  forward_text(unread().substr(0, size), forward);
  begin_ += size;
  body_left_ -= size;
  if (body_left_ == 0) phase_ = phase_ == Phase::body ? Phase::head : Phase::chunk_end;
}

void HttpRequestGuard::read_chunk_size(const std::string& line, std::vector<std::byte>& forward) {
  const auto text = std::string_view(line).substr(0, line.size() - kCrlf.size());
  const auto size = read_number(text.substr(0, text.find(';')), 16, 15);
  if (!size || !is_value(text)) {
    refuse("a malformed chunk size");
    return;
  }
  forward_text(line, forward);
  body_left_ = *size;
  phase_ = *size == 0 ? Phase::trailers : Phase::chunk_data;
}

void HttpRequestGuard::read_head(const std::string& block, std::vector<std::byte>& forward) {
  Head head;
  std::string_view rest(block);
  rest.remove_suffix(kCrlf.size());  // each line, the last too, now ends with one CRLF
  for (std::size_t number = 0; !rest.empty(); ++number) {
    const auto end = rest.find(kCrlf);
    const auto line = rest.substr(0, end);
    rest.remove_prefix(end + kCrlf.size());
    if (number > kMaxHttpFields) {
      refuse("too many header fields");
      return;
    }
    if (number == 0 ? !read_request_line(line, head) : !read_field(line, head)) return;
  }
  if (!check_head(head)) return;
  forward_text(block, forward);
  ++requests_;
  body_left_ = head.content_length.value_or(0);
  if (head.chunked)
    phase_ = Phase::chunk_size;
  else if (body_left_ > 0)
    phase_ = Phase::body;
  if (head.wants_upgrade) state_ = State::upgrade_asked;
}

bool HttpRequestGuard::read_request_line(std::string_view line, Head& head) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  const bool shaped = first != std::string_view::npos && last > first;
  const auto target = shaped ? line.substr(first + 1, last - first - 1) : std::string_view();
  const auto version = shaped ? line.substr(last + 1) : std::string_view();
  head.method = line.substr(0, shaped ? first : 0);
  head.http_1_0 = version == "HTTP/1.0";
  if (!is_token(head.method) || (version != "HTTP/1.1" && !head.http_1_0)) {
    refuse("not an HTTP/1.1 request");
    return false;
  }
  const bool clean =
      std::none_of(target.begin(), target.end(), [](char c) { return c == 0x7f || (c >= 0 && c <= 0x20); });
  const bool origin_form = target.starts_with('/');
  const bool asterisk = target == "*" && head.method == "OPTIONS";
  if (!clean || head.method == "CONNECT" || (!origin_form && !asterisk)) {
    refuse("a request target that is not a path");
    return false;
  }
  return true;
}

bool HttpRequestGuard::read_field(std::string_view line, Head& head) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)) || !is_value(line)) {
    refuse("a malformed or folded header field");
    return false;
  }
  const auto name = base::ascii_lower(line.substr(0, colon));
  const auto value = trim(line.substr(colon + 1));
  if (name == "host") {
    if (head.host) {
      refuse("two Host fields");
      return false;
    }
    head.host = std::string(value);
  } else if (name == "content-length") {
    const auto length = read_number(value, 10, 18);
    if (head.content_length || !length) {
      refuse("a malformed or repeated Content-Length");
      return false;
    }
    head.content_length = length;
  } else if (name == "transfer-encoding") {
    if (head.chunked || base::ascii_lower(value) != "chunked") {
      refuse("a Transfer-Encoding other than chunked");
      return false;
    }
    head.chunked = true;
  } else if (name == "upgrade") {
    if (base::ascii_lower(value) != "websocket" || requests_ > 0) {
      refuse("an upgrade other than to websocket on the first request");
      return false;
    }
    head.wants_upgrade = true;
  }
  return true;
}

bool HttpRequestGuard::check_head(const Head& head) {
  if (head.chunked && (head.content_length || head.http_1_0)) {
    refuse("a body with two lengths");
    return false;
  }
  if (head.wants_upgrade && (head.chunked || head.content_length.value_or(0) > 0)) {
    refuse("an upgrade with a body");
    return false;
  }
  if (!head.host) {
    refuse("no Host field");
    return false;
  }
  return check_host(*head.host);
}

bool HttpRequestGuard::check_host(std::string_view value) {
  // `name` or `name:port`; an IPv6 address is in brackets either way.
  const auto colon = value.rfind(':');
  const bool has_port = colon != std::string_view::npos && !value.ends_with(']');
  const auto name = model::HostName::parse_wire(value.substr(0, has_port ? colon : value.size()));
  const bool port_fits = has_port ? parse_port(value.substr(colon + 1)).value_or(0) == port_ : port_ == 80;
  if (name && *name == host_ && port_fits) return true;
  refused_host_ = value;
  refuse("Host is not the name that was connected to");
  return false;
}

}  // namespace cleanroom::egress
