#pragma once
// OutputGlobs: which files of the guest come back, by path relative to the workspace.
//
//   *        any run of characters but '/', a leading dot included
//   ?        one character but '/' (a UTF-8 character, not a byte)
//   [a-z_]   one of a set; [!...] or [^...] none of it; ']' first is itself; never '/'
//   **       as a whole component: any number of components, none included (`a/**/b` matches `a/b`; `build/**` matches
//            all below `build`); beside other characters it is a '*'
//   {a,b/c}  either; may nest; expanded when parsed, to at most kMaxGlobAlternatives
//   \x       the character x itself
//   dir/     the same as `dir/**`; a leading `./` and doubled slashes mean nothing
// Absolute patterns, `~`, `..` components and control characters are refused. A pattern matches whole paths: `build`
// is the file `build`, not what is below it. Matching takes O(pattern * path): no pattern is slow.
// The guest selects with a matcher of its own; this one decides what the host takes.
#include "src/base/os/result.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

inline constexpr std::size_t kMaxGlobBytes = 4096;        // one pattern as written
inline constexpr std::size_t kMaxGlobAlternatives = 256;  // that one pattern's braces give
inline constexpr std::size_t kMaxGlobs = 1024;            // alternatives of all patterns together

class OutputGlobs {
 public:
  // Adds one pattern. invalid_input says what is wrong with it; nothing is added then.
  base::Result<void> add(std::string_view pattern);
  // True when one of the patterns matches `path` (relative, '/'-separated, no empty, '.' or '..' components).
  bool matches(std::string_view path) const;
  bool empty() const { return written_.empty(); }
  // As they were given, for the request to the guest.
  const std::vector<std::string>& patterns() const { return written_; }

 private:
  using Components = std::vector<std::string>;  // "**" stands for itself; others may hold * ? [ and backslash
  std::vector<std::string> written_;
  std::vector<Components> alternatives_;
};

// The patterns of a `;`-separated list (BUILDKITE_ARTIFACT_PATHS), blanks around them removed, empty ones left out.
std::vector<std::string> split_artifact_paths(std::string_view list);
// Absolute or `~`: the agent uploads such files of the host itself; they mean nothing in a guest.
bool is_host_pattern(std::string_view pattern);

}  // namespace cleanroom::runner
