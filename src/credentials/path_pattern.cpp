#include "src/credentials/path_pattern.h"

#include <algorithm>
#include <vector>

namespace cleanroom::credentials {
namespace {

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto slash = text.find('/');
    parts.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    text.remove_prefix(slash + 1);
  }
}

bool is_dots(std::string_view part) {
  return part == "." || part == "..";
}

// The usual wildcard walk: on a mismatch, the last `*` takes one character more. Linear in memory, quadratic at worst.
bool part_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  return pattern.substr(p).find_first_not_of('*') == std::string_view::npos;
}

}  // namespace

bool is_path_pattern(std::string_view text) {
  const auto bad = [](char c) {
    return c <= ' ' || c == '\x7f' || std::string_view("?[]\\%#:").find(c) != std::string_view::npos;
  };
  if (std::any_of(text.begin(), text.end(), bad)) return false;
  const auto parts = parts_of(text);
  return std::all_of(parts.begin(), parts.end(), [](std::string_view part) {
    return !part.empty() && !is_dots(part) && (part == "**" || part.find("**") == std::string_view::npos);
  });
}

bool is_plain_path(std::string_view path) {
  const auto bad = [](char c) {
    return c <= ' ' || c >= '\x7f' || std::string_view("%\\?#:").find(c) != std::string_view::npos;
  };
  if (std::any_of(path.begin(), path.end(), bad)) return false;
  const auto parts = parts_of(path);
  return std::all_of(parts.begin(), parts.end(), [](std::string_view part) { return !part.empty() && !is_dots(part); });
}

std::string_view without_dot_git(std::string_view text) {
  if (text.ends_with(".git")) text.remove_suffix(4);
  return text;
}

bool path_matches(std::string_view pattern, std::string_view text) {
  const auto wanted = parts_of(pattern);
  const auto given = parts_of(text);
  if (std::any_of(given.begin(), given.end(), [](std::string_view part) { return part.empty(); })) return false;
  // reached[i]: the first i parts of the text match the parts of the pattern so far.
  std::vector<char> reached(given.size() + 1, 0);
  reached[0] = 1;
  for (const auto& want : wanted) {
    std::vector<char> next(given.size() + 1, 0);
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (want == "**") {
        next[i + 1] = static_cast<char>(reached[i] != 0 || next[i] != 0);
      } else {
        next[i + 1] = static_cast<char>(reached[i] != 0 && part_matches(want, given[i]));
      }
    }
    reached = std::move(next);
  }
  return reached.back() != 0;
}

Specificity specificity_of(std::string_view pattern) {
  const auto stars = static_cast<std::size_t>(std::count(pattern.begin(), pattern.end(), '*'));
  const auto parts = parts_of(pattern);
  return {.exact = stars == 0,
          .literals = pattern.size() - stars,
          .single_parts = std::find(parts.begin(), parts.end(), "**") == parts.end()};
}

}  // namespace cleanroom::credentials
