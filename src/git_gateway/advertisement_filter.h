#pragma once
// What upstream says it can do, without what would send the guest to other hosts: `bundle-uri` and `packfile-uris`
// (gitprotocol-v2). In v2 that is a short list; in v0 and v1 these capabilities do not exist and the refs pass as they
// are.
//
// It takes the strict form only, so that git, which skips lines before the version, ends a line at its NUL and cuts
// words at any white space, cannot read a v2 where this saw none, or a word that this did not.
//
// Feed it the body of an answer to info/refs in pieces of any size.
#include "src/base/os/result.h"
#include "src/git_gateway/pkt_line.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace cleanroom::git_gateway {

class AdvertisementFilter {
 public:
  // What may go to the guest is appended to `out`. upstream_invalid: not an advertisement.
  base::Result<void> feed(std::string_view bytes, std::string& out);
  // At the end of the body: fails when it ended within a packet, or before one.
  base::Result<void> finish();
  bool is_v2() const { return phase_ == Phase::capabilities; }

 private:
  enum class Phase { start, header, version, capabilities, refs };
  base::Result<void> take(const Packet& packet, std::string_view bytes, std::string& out);
  base::Result<Phase> phase_after(const Packet& packet, std::string_view text) const;

  Phase phase_ = Phase::start;
  std::string pending_;
  std::size_t packets_ = 0;
};

}  // namespace cleanroom::git_gateway
