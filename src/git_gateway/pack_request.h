#pragma once
// What a POST to git-upload-pack asks for, as far as a mirror has to know it (gitprotocol-v2 "fetch" and "ls-refs",
// gitprotocol-pack for v0 and v1). Pure; never fails: what is not understood whole is `other`, and upstream's business.
#include "src/base/os/result.h"
#include "src/git_gateway/object_id.h"

#include <vector>

namespace cleanroom::git_gateway {

struct PackRequest {
  enum class Kind {
    other,      // not understood, or with an option that only upstream can answer (deepen-not, want-ref, ...)
    list_refs,  // v2 only
    fetch,      // every line of it is one that this host's git answers as upstream's would
  };
  Kind kind = Kind::other;
  std::vector<ObjectId> wants;
};

// `body` as after decoding.
PackRequest parse_pack_request(std::string_view body, bool is_v2);

// A gzip member (RFC 1952) with a plain header, as git sends it. invalid_input: anything else, or what becomes larger
// than `limit`.
base::Result<std::string> gunzip(std::string_view bytes, std::size_t limit);

}  // namespace cleanroom::git_gateway
