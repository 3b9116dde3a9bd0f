#pragma once
// RefScanner: which objects upstream says that it has refs to, read from an answer that streams by: that of ls-refs
// (v2), or the advertisement of v0 and v1.
#include "src/git_gateway/object_id.h"

#include <set>
#include <string>

namespace cleanroom::git_gateway {

class RefScanner {
 public:
  // Feed it the body in pieces of any size. What is no list of refs makes it useless, not wrong: ids() stays empty.
  void feed(std::string_view bytes);
  // Empty when the body was cut short, was no list, or named more than kMaxMirrorRefs.
  std::set<ObjectId> take();

 private:
  bool take_packets();
  bool take_line(std::string_view line);
  std::string pending_;
  std::set<ObjectId> ids_;
  bool failed_ = false;
  bool ended_ = false;
};

}  // namespace cleanroom::git_gateway
