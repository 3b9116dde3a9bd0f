#pragma once
// An answer to a fetch by this host's git in a mirror.
#include "src/git_gateway/gateway_state.h"

#include <filesystem>

namespace cleanroom::git_gateway {

enum class MirrorAnswer {
  served,
  declined,    // nothing was sent; git lacks what is asked for
  broken,      // nothing was sent; git failed
  broken_off,  // git failed within the pack: the guest sees a broken one
};

// `body` is the guest's request, decoded: git's standard input. The answer is held back until git sends of the pack, so
// that most failures can still be made good by upstream. Errors: the guest left.
base::Awaitable<base::Result<MirrorAnswer>> answer_from_mirror(GitExchange& exchange, std::filesystem::path repository,
                                                               const std::string& body, bool is_v2);

}  // namespace cleanroom::git_gateway
