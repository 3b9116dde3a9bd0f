#pragma once
// Patterns of repository paths and branches: parts between slashes; `*` is any text within a part, a part `**` is one
// or more parts. All else is compared byte by byte: no case folding, no percent-decoding, no dot segments.
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>

namespace cleanroom::credentials {

inline constexpr std::string_view kPathPatternRule =
    "expected parts between slashes, where * is any text within a part and ** any number of parts";
// For operator files: no empty part, `.`, `..`, `***`, and no character that other glob languages know.
bool is_path_pattern(std::string_view text);

// The path of a repository as it stands in a URL, when it names one thing only: printable ASCII parts, none of them
// empty, `.` or `..`, without % \ ? # : and blanks.
bool is_plain_path(std::string_view path);

// `text` without one trailing `.git`: hosts take either spelling for the same repository.
std::string_view without_dot_git(std::string_view text);

bool path_matches(std::string_view pattern, std::string_view text);

// Greater is more specific: no wildcard at all, then more literal characters, then no `**`.
struct Specificity {
  bool exact = false;
  std::size_t literals = 0;
  bool single_parts = false;
  auto operator<=>(const Specificity&) const = default;
};
Specificity specificity_of(std::string_view pattern);

}  // namespace cleanroom::credentials
