#include "src/git_gateway/ref_scanner.h"

#include "src/git_gateway/limits.h"
#include "src/git_gateway/pkt_line.h"

namespace cleanroom::git_gateway {

void RefScanner::feed(std::string_view bytes) {
  if (failed_) return;
  pending_ += bytes;
  failed_ = !take_packets();
  if (!failed_) return;
  pending_.clear();
  ids_.clear();
}

bool RefScanner::take_packets() {
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const auto packet = first_packet(rest);
    if (!packet) return false;
    if (!*packet) break;
    ended_ = (*packet)->kind == Packet::Kind::flush;
    if ((*packet)->kind == Packet::Kind::data && !take_line(packet_text(**packet))) return false;
    rest.remove_prefix((*packet)->size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return true;
}

// "OID name", with capabilities after a NUL (v0), or "peeled:OID" among the words after the name (v2).
bool RefScanner::take_line(std::string_view line) {
  if (line.starts_with("ERR ")) return false;
  const auto nul = line.find('\0');
  line = line.substr(0, nul);
  const auto id = ObjectId::parse(line.substr(0, ObjectId::kHexSize));
  // "# service=", "version 1", "unborn HEAD", "shallow OID".
  if (!id || line.size() <= ObjectId::kHexSize || line[ObjectId::kHexSize] != ' ') return true;
  ids_.insert(*id);
  constexpr std::string_view kPeeled = " peeled:";
  if (const auto at = line.find(kPeeled); at != std::string_view::npos)
    if (const auto peeled = ObjectId::parse(line.substr(at + kPeeled.size(), ObjectId::kHexSize))) ids_.insert(*peeled);
  return ids_.size() <= kMaxMirrorRefs;
}

std::set<ObjectId> RefScanner::take() {
  if (!ended_ || failed_ || !pending_.empty()) return {};
  return std::move(ids_);
}

}  // namespace cleanroom::git_gateway
