#include "src/policy/pipeline_pattern.h"

#include <fnmatch.h>

#include <algorithm>
#include <string>

namespace cleanroom::policy {
namespace {

bool has_two_parts(std::string_view text) {
  const auto slash = text.find('/');
  return std::count(text.begin(), text.end(), '/') == 1 && slash > 0 && slash + 1 < text.size();
}

}  // namespace

bool is_pipeline_pattern(std::string_view text) {
  // Other glob characters would mean something to fnmatch(3) that nobody wrote them for.
  return text.find_first_of("?[]\\") == std::string_view::npos && has_two_parts(text);
}

bool pipeline_matches(std::string_view pattern, std::string_view slug) {
  if (!has_two_parts(slug)) return false;
  return ::fnmatch(std::string(pattern).c_str(), std::string(slug).c_str(), FNM_PATHNAME | FNM_NOESCAPE) == 0;
}

}  // namespace cleanroom::policy
