#pragma once
// What a registry wants to see: the WWW-Authenticate lines of a 401 (RFC 9110 section 11.6.1; Bearer's parameters as
// the distribution project's token authentication names them).
#include "src/base/os/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::registry {

// Printable ASCII, not judged: whether `realm` may have a login is check_token_realm()'s to say.
struct BearerChallenge {
  std::string realm;  // URL of the token service; never empty
  std::string service;
  std::string scope;
  std::string error;  // invalid_token, insufficient_scope; may be empty
};

struct Challenges {
  std::optional<BearerChallenge> bearer;  // the first that has a realm
  bool basic = false;
};

inline constexpr std::size_t kMaxChallengeBytes = 16 * 1024;  // of all values together
inline constexpr std::size_t kMaxChallenges = 32;
inline constexpr std::size_t kMaxChallengeParameters = 32;  // of one challenge

// `values`: of each WWW-Authenticate line, in order. Several challenges may stand in one line. Schemes and parameters
// that nobody here knows are skipped. invalid_input, which quotes nothing, for anything outside the grammar, for a
// parameter given twice, and beyond the limits. Pure.
base::Result<Challenges> parse_challenges(const std::vector<std::string_view>& values);

}  // namespace cleanroom::registry
