#include "src/git_gateway/advertisement_filter.h"

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Result;

namespace {

constexpr std::size_t kMaxCapabilities = 256;

base::Failure refuse_advertisement(std::string_view what) {
  return base::fail(base::Code::unavailable, "upstream_invalid", std::string(what));
}

// gitprotocol-v2 has no other characters in a capability.
bool is_plain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; });
}

// "fetch=shallow wait-for-done packfile-uris" without the last word, with or without a value.
std::string without_word(std::string_view text, std::string_view word) {
  std::string out;
  const auto equals = text.find('=');
  auto rest = equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1);
  if (equals == std::string_view::npos) return std::string(text);
  while (!rest.empty()) {
    const auto end = rest.find(' ');
    const auto value = rest.substr(0, end);
    if (value.substr(0, value.find('=')) != word && !value.empty())
      out += (out.empty() ? "" : " ") + std::string(value);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return std::string(text.substr(0, equals)) + (out.empty() ? "" : "=" + out);
}

bool is_bundle_uri(std::string_view text) {
  return text == "bundle-uri" || text.starts_with("bundle-uri=");
}

}  // namespace

Result<void> AdvertisementFilter::feed(std::string_view bytes, std::string& out) {
  if (phase_ == Phase::refs && pending_.empty()) {
    out += bytes;
    return {};
  }
  pending_ += bytes;
  std::string_view rest = pending_;
  while (!rest.empty() && phase_ != Phase::refs) {
    CR_ASSIGN(const auto packet, first_packet(rest));
    if (!packet) break;
    CR_TRY(take(*packet, rest.substr(0, packet->size), out));
    rest.remove_prefix(packet->size);
  }
  if (phase_ == Phase::refs) {
    out += rest;
    rest = {};
  }
  pending_.erase(0, pending_.size() - rest.size());
  return {};
}

Result<AdvertisementFilter::Phase> AdvertisementFilter::phase_after(const Packet& packet, std::string_view text) const {
  const bool is_data = packet.kind == Packet::Kind::data;
  if (phase_ == Phase::header) {
    if (packet.kind != Packet::Kind::flush)
      return refuse_advertisement("upstream's list of refs has a line where none belongs");
    return Phase::version;
  }
  if (phase_ == Phase::start) {
    if (!is_data) return refuse_advertisement("upstream's list of refs does not begin with a line");
    if (text.starts_with("# service=")) return Phase::header;
  }
  if (!is_data || text.substr(0, text.find('\0')) != "version 2") return Phase::refs;
  if (!is_plain(text))
    return refuse_advertisement("upstream's protocol version has characters that do not belong there");
  return Phase::capabilities;
}

Result<void> AdvertisementFilter::take(const Packet& packet, std::string_view bytes, std::string& out) {
  if (++packets_ > kMaxCapabilities) return refuse_advertisement("upstream lists too many capabilities");
  const auto text = packet_text(packet);
  if (phase_ != Phase::capabilities) {
    CR_ASSIGN(phase_, phase_after(packet, text));
    out += bytes;
    return {};
  }
  if (!is_plain(text)) return refuse_advertisement("upstream's capabilities have characters that do not belong there");
  if (is_bundle_uri(text)) return {};
  if (text.starts_with("fetch="))
    out += data_packet(without_word(text, "packfile-uris") + (text.size() < packet.payload.size() ? "\n" : ""));
  else
    out += bytes;
  return {};
}

Result<void> AdvertisementFilter::finish() {
  if (pending_.empty() && (phase_ == Phase::capabilities || phase_ == Phase::refs)) return {};
  return refuse_advertisement("upstream's list of refs is cut short");
}

}  // namespace cleanroom::git_gateway
