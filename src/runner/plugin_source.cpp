#include "src/runner/plugin_source.h"

#include "src/base/os/ascii.h"

#include <algorithm>

namespace cleanroom::runner {
namespace {

void remove_all(std::string& text, std::string_view what) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at))
    text.erase(at, what.size());
}

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

// How many segments of the location name the repository.
std::size_t repository_segments(const std::vector<std::string_view>& parts) {
  if (parts.front() == "github.com" || parts.front() == "bitbucket.org") return std::min<std::size_t>(3, parts.size());
  if (parts.front() == "gitlab.com") return parts.size();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].ends_with(".git")) return i + 1;
  }
  return parts.size();
}

}  // namespace

PluginSource PluginSource::parse(std::string_view source) {
  PluginSource result;
  const std::size_t hash = source.find('#');
  if (hash != std::string_view::npos) result.version = std::string(source.substr(hash + 1));
  std::string_view rest = source.substr(0, hash);
  rest = rest.substr(0, rest.find('?'));
  if (const std::size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
    result.scheme = std::string(rest.substr(0, scheme));
    rest.remove_prefix(scheme + 3);
    const std::size_t host_end = std::min(rest.find('/'), rest.size());
    const std::size_t at = rest.substr(0, host_end).rfind('@');
    if (at != std::string_view::npos) rest.remove_prefix(at + 1);
  }
  result.location = std::string(rest);
  result.vendored = rest.starts_with('.');
  return result;
}

std::string PluginSource::name() const {
  std::string_view path = location;
  while (path.ends_with('/'))
    path.remove_suffix(1);
  std::string_view last = segments(path).back();
  while (last.starts_with('.'))
    last.remove_prefix(1);
  std::string result;
  for (const char c : last) {
    result += base::is_ascii_alnum(c) ? base::ascii_lower(c) : '-';
  }
  remove_all(result, "-buildkite-plugin-git");
  remove_all(result, "-buildkite-plugin");
  return result;
}

std::string PluginSource::identifier() const {
  std::string result;
  for (const char c : version.empty() ? location : location + "#" + version) {
    if (base::is_ascii_alnum(c))
      result += c;
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  while (result.ends_with('-'))
    result.pop_back();
  return result;
}

std::string PluginSource::subdirectory() const {
  const auto parts = segments(location);
  std::string result;
  for (std::size_t i = repository_segments(parts); i < parts.size(); ++i)
    result += (result.empty() ? "" : "/") + std::string(parts[i]);
  return result;
}

}  // namespace cleanroom::runner
