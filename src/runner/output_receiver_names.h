#pragma once
// Which names a guest may give to a file of the host's checkout.
#include <cstddef>
#include <string>
#include <string_view>

namespace cleanroom::runner {

struct NameVerdict {
  std::string path;  // relative, '/'-separated, without "./" in front and '/' behind; "" is the workspace itself
  std::string_view refused;  // why, as in "'x' was refused: its name <refused>"; empty = it may be used
};

// `raw` is a path from an archive. Refused: absolute, empty, '.' and '..' components, a component of more than 255
// bytes, more than `max_depth` components or `max_bytes` bytes, bytes that are not UTF-8, control, invisible and
// bidirectional characters, a component that is a spelling of `.git` or `.buildkite`, our own staging directories.
NameVerdict judge_output_name(std::string_view raw, std::size_t max_depth, std::size_t max_bytes);

// True for a path component that some file system or Git takes for `name` (lower case ASCII with a leading dot, as
// ".git"): other case, trailing dots and blanks, characters that HFS+ ignores, an NTFS stream, its short name, a
// backslash as separator.
bool is_spelling_of(std::string_view component, std::string_view name);

}  // namespace cleanroom::runner
