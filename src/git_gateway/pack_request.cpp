#include "src/git_gateway/pack_request.h"

#include "src/base/os/ascii.h"
#include "src/git_gateway/pkt_line.h"

#include <boost/beast/zlib/inflate_stream.hpp>

#include <algorithm>
#include <array>

namespace cleanroom::git_gateway {

using base::Code;
using base::Result;

namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 10 && std::all_of(text.begin(), text.end(), base::is_ascii_digit);
}

// `sparse:oid` and combinations are left to upstream.
bool is_known_filter(std::string_view text) {
  if (text == "blob:none") return true;
  if (text.starts_with("tree:")) return is_number(text.substr(5));
  return text.starts_with("blob:limit=") && is_number(text.substr(11));
}

bool is_one_of(std::string_view word, const auto& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// One line of a fetch in either protocol. False: not one that a mirror answers.
bool take_line(std::string_view line, PackRequest& request) {
  constexpr std::array<std::string_view, 7> kWords{"done",      "thin-pack",     "no-progress",    "include-tag",
                                                   "ofs-delta", "wait-for-done", "deepen-relative"};
  if (is_one_of(line, kWords)) return true;
  const auto space = line.find(' ');
  if (space == std::string_view::npos) return false;
  const auto key = line.substr(0, space);
  const auto value = line.substr(space + 1);
  if (key == "want") {
    const auto id = ObjectId::parse(value);
    if (id) request.wants.push_back(*id);
    return id.has_value();
  }
  if (key == "have" || key == "shallow") return ObjectId::parse(value).has_value();
  if (key == "deepen" || key == "deepen-since") return is_number(value);
  return key == "filter" && is_known_filter(value);
}

// The words after the first want of v0 (gitprotocol-capabilities).
bool takes_capabilities(std::string_view words) {
  constexpr std::array<std::string_view, 15> kWords{
      "multi_ack",    "multi_ack_detailed", "no-done",     "side-band",       "side-band-64k",
      "thin-pack",    "ofs-delta",          "no-progress", "include-tag",     "shallow",
      "deepen-since", "deepen-not",         "filter",      "deepen-relative", "object-format=sha1"};
  while (!words.empty()) {
    const auto end = words.find(' ');
    const auto word = words.substr(0, end);
    if (!word.empty() && !word.starts_with("agent=") && !word.starts_with("session-id=") && !is_one_of(word, kWords))
      return false;
    words.remove_prefix(end == std::string_view::npos ? words.size() : end + 1);
  }
  return true;
}

PackRequest parse_v2(std::string_view body) {
  PackRequest request;
  auto kind = PackRequest::Kind::other;
  bool in_arguments = false;
  while (!body.empty()) {
    const auto packet = first_packet(body);
    if (!packet || !*packet) return {};
    body.remove_prefix((*packet)->size);
    const auto line = packet_text(**packet);
    switch ((*packet)->kind) {
      case Packet::Kind::delimiter:
        if (in_arguments) return {};
        in_arguments = true;
        break;
      case Packet::Kind::flush:
        if (!body.empty()) return {};
        request.kind = kind;
        return request;
      case Packet::Kind::response_end:
        return {};
      case Packet::Kind::data:
        if (in_arguments) {
          if (kind == PackRequest::Kind::fetch && !take_line(line, request)) return {};
        } else if (line == "command=fetch" || line == "command=ls-refs") {
          if (kind != PackRequest::Kind::other) return {};
          kind = line == "command=fetch" ? PackRequest::Kind::fetch : PackRequest::Kind::list_refs;
        } else if (!line.starts_with("agent=") && !line.starts_with("session-id=") && line != "object-format=sha1") {
          return {};
        }
    }
  }
  return {};
}

PackRequest parse_v0(std::string_view body) {
  PackRequest request;
  while (!body.empty()) {
    const auto packet = first_packet(body);
    if (!packet || !*packet) return {};
    body.remove_prefix((*packet)->size);
    if ((*packet)->kind == Packet::Kind::flush) continue;
    if ((*packet)->kind != Packet::Kind::data) return {};
    auto line = packet_text(**packet);
    constexpr std::size_t kFirstWant = 5 + ObjectId::kHexSize;
    if (request.wants.empty()) {
      if (!line.starts_with("want ")) return {};
      if (line.size() > kFirstWant) {
        if (!takes_capabilities(line.substr(kFirstWant))) return {};
        line = line.substr(0, kFirstWant);
      }
    }
    if (!take_line(line, request)) return {};
  }
  if (!request.wants.empty()) request.kind = PackRequest::Kind::fetch;
  return request;
}

}  // namespace

PackRequest parse_pack_request(std::string_view body, bool is_v2) {
  auto request = is_v2 ? parse_v2(body) : parse_v0(body);
  if (request.kind == PackRequest::Kind::fetch && request.wants.empty()) return {};
  return request;
}

Result<std::string> gunzip(std::string_view bytes, std::size_t limit) {
  constexpr std::size_t kHead = 10;
  constexpr std::size_t kTrailer = 8;
  const auto broken = [] { return base::fail(Code::invalid_input, "gateway_request_invalid", "not a gzip body"); };
  // Magic, deflate, no optional fields.
  if (bytes.size() < kHead + kTrailer || !bytes.starts_with(std::string_view("\x1f\x8b\x08\x00", 4))) return broken();
  const auto packed = bytes.substr(kHead, bytes.size() - kHead - kTrailer);
  boost::beast::zlib::inflate_stream stream;
  boost::beast::zlib::z_params io;
  io.next_in = packed.data();
  io.avail_in = packed.size();
  std::string out;
  std::array<char, 16 * 1024> piece{};
  for (;;) {
    io.next_out = piece.data();
    io.avail_out = piece.size();
    boost::system::error_code ec;
    stream.write(io, boost::beast::zlib::Flush::sync, ec);
    const auto made = piece.size() - io.avail_out;
    if (out.size() + made > limit) return base::fail(Code::invalid_input, "gateway_limit", "the body grows too large");
    out.append(piece.data(), made);
    if (ec == boost::beast::zlib::error::end_of_stream) break;
    if (ec || made == 0) return broken();
  }
  return out;
}

}  // namespace cleanroom::git_gateway
