#pragma once
// May the token service that a registry names get the registry's login? Whoever answers for a registry can name any
// URL, so the operator's words and the shape of the names decide, never the registry's.
#include "src/base/os/result.h"

#include <string>
#include <string_view>

namespace cleanroom::registry {

struct TokenRealmRules {
  std::string_view registry;     // host[:port]; of a mirror the mirror's
  bool insecure = false;         // the operator allows plain HTTP for this registry
  std::string_view token_realm;  // the operator's host[:port]; empty: none
};

inline constexpr std::size_t kMaxRealmBytes = 2048;

// The URL to ask, written anew (scheme and host in lower case, a port only where it is not the scheme's own, a path, a
// query where there is one), so that no client reads another host in it than was judged here. A login may go there when
// it is https, or the registry is insecure, and its host is the registry's (on any port), or of the same registrable
// domain (libpsl's list), or host and port are the operator's `token_realm`. An address is nobody's domain.
// policy_denied (image_access_denied): it may not, the hint says how to allow it. invalid_input (image_pull_failed): it
// is no such URL; user names, fragments, blanks, backslashes and the like make it none. Pure.
base::Result<std::string> check_token_realm(std::string_view url, const TokenRealmRules& rules);

}  // namespace cleanroom::registry
