#pragma once
// Glob: patterns for paths, as CI users know them from artifact paths.
//   *  any characters but '/'        **  as a whole segment: any number of directories, none too
//   ?  one character but '/'         [a-z] [!a-z]  one of a set        {x,y}  either; may nest
//   \  takes the next character as it is
// Names that begin with '.' are like any other. Patterns are relative; "./" in front and "/" at the end mean nothing.
#include "src/base/os/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::guest {

inline constexpr std::size_t kMaxPattern = 4096;
inline constexpr std::size_t kMaxAlternatives = 256;  // of one pattern, after its braces

class Glob {
 public:
  // invalid_input: absolute, "..", empty, unbalanced, too long or too many alternatives.
  static base::Result<Glob> parse(std::string_view pattern);
  // `path` is relative, "a/b/c".
  bool matches(std::string_view path) const;
  // Whether anything below this directory may match ("" = the top).
  bool may_match_below(std::string_view directory) const;

 private:
  using Segments = std::vector<std::string>;
  std::vector<Segments> alternatives_;
};

// One segment against one name.
bool matches_segment(std::string_view pattern, std::string_view name);

}  // namespace cleanroom::guest
