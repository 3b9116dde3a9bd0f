#pragma once
// What upstream says it can do, without what would send the guest to other hosts: `bundle-uri` and `packfile-uris`
// (gitprotocol-v2). In v2 that is a short list; in v0 and v1 these capabilities do not exist and the refs pass as they
// are.
//
// Feed it the body of an answer to info/refs in pieces of any size.
#include "src/base/os/result.h"

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
  enum class Phase { start, capabilities, refs };
  base::Result<void> take(std::string_view packet, std::string_view text, bool is_data, std::string& out);

  Phase phase_ = Phase::start;
  std::string pending_;
  std::size_t packets_ = 0;
};

}  // namespace cleanroom::git_gateway
