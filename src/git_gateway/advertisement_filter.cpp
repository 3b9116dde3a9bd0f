#include "src/git_gateway/advertisement_filter.h"

#include "src/git_gateway/pkt_line.h"

namespace cleanroom::git_gateway {

using base::Result;

namespace {

constexpr std::size_t kMaxCapabilities = 256;

// "fetch=shallow wait-for-done packfile-uris" without the last word.
std::string without_word(std::string_view text, std::string_view word) {
  std::string out;
  const auto equals = text.find('=');
  auto rest = equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1);
  if (equals == std::string_view::npos) return std::string(text);
  while (!rest.empty()) {
    const auto end = rest.find(' ');
    const auto value = rest.substr(0, end);
    if (value != word && !value.empty()) out += (out.empty() ? "" : " ") + std::string(value);
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
    const bool is_data = packet->kind == Packet::Kind::data;
    CR_TRY(take(rest.substr(0, packet->size), packet_text(*packet), is_data, out));
    rest.remove_prefix(packet->size);
  }
  if (phase_ == Phase::refs) {
    out += rest;
    rest = {};
  }
  pending_.erase(0, pending_.size() - rest.size());
  return {};
}

Result<void> AdvertisementFilter::take(std::string_view packet, std::string_view text, bool is_data, std::string& out) {
  if (++packets_ > kMaxCapabilities)
    return base::fail(base::Code::unavailable, "upstream_invalid", "upstream lists too many capabilities");
  if (phase_ == Phase::start) {
    if (is_data && text == "version 2")
      phase_ = Phase::capabilities;
    else if (is_data && !text.starts_with("# service="))
      phase_ = Phase::refs;
    out += packet;
    return {};
  }
  if (is_data && is_bundle_uri(text)) return {};
  if (is_data && text.starts_with("fetch="))
    out += data_packet(without_word(text, "packfile-uris") + "\n");
  else
    out += packet;
  return {};
}

Result<void> AdvertisementFilter::finish() {
  if (pending_.empty() && phase_ != Phase::start) return {};
  return base::fail(base::Code::unavailable, "upstream_invalid", "upstream's list of refs is cut short");
}

}  // namespace cleanroom::git_gateway
