#include "src/runner/output_globs.h"

#include "src/base/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Failure;
using base::Result;

Failure bad_pattern(std::string_view pattern, std::string_view cause) {
  return fail(Code::invalid_input,
              fmt::format("cannot use output pattern '{}': {}", base::escape_for_display(pattern), cause));
}

// The length of the bracket expression at the start of `text`, 0 when it has no end.
std::size_t bracket_length(std::string_view text) {
  std::size_t i = 1;
  if (i < text.size() && (text[i] == '!' || text[i] == '^')) ++i;
  if (i < text.size() && text[i] == ']') ++i;
  for (; i < text.size() && text[i] != ']'; ++i) {
    if (text[i] == '\\') ++i;
  }
  return i < text.size() ? i + 1 : 0;
}

// The length of the element at the start of `text` that braces and components must not be looked for in.
std::size_t element_length(std::string_view text) {
  if (text.front() == '\\' && text.size() > 1) return 2;
  if (text.front() == '[') return std::max<std::size_t>(bracket_length(text), 1);
  return 1;
}

struct Brace {
  std::size_t open = 0;
  std::size_t close = 0;
  std::vector<std::string_view> choices;
};

// The first brace expression of `pattern` at the outermost level; nullopt when there is none.
std::optional<Brace> find_brace(std::string_view pattern) {
  std::size_t depth = 0, start = 0;
  Brace brace;
  for (std::size_t i = 0; i < pattern.size(); i += element_length(pattern.substr(i))) {
    const char c = pattern[i];
    if (c == '{' && depth++ == 0) {
      brace.open = i;
      start = i + 1;
    } else if ((c == ',' && depth == 1) || (c == '}' && depth == 1)) {
      brace.choices.push_back(pattern.substr(start, i - start));
      start = i + 1;
    }
    if (c == '}' && depth > 0 && --depth == 0) {
      brace.close = i;
      return brace;
    }
  }
  return std::nullopt;
}

// Depth first with a worklist; each round removes one brace expression.
std::optional<std::vector<std::string>> expand_braces(std::string_view pattern) {
  std::vector<std::string> done, todo{std::string(pattern)};
  while (!todo.empty()) {
    const std::string next = std::move(todo.back());
    todo.pop_back();
    const auto brace = find_brace(next);
    if (!brace) {
      done.push_back(next);
    } else {
      for (auto choice = brace->choices.rbegin(); choice != brace->choices.rend(); ++choice) {
        todo.push_back(next.substr(0, brace->open));
        todo.back().append(*choice).append(next, brace->close + 1);
      }
    }
    if (done.size() + todo.size() > kMaxGlobAlternatives) return std::nullopt;
  }
  return done;
}

// Splits at '/'; empty and "." components vanish. The caller has refused absolute patterns.
std::vector<std::string> split_components(std::string_view pattern) {
  std::vector<std::string> components(1);
  for (std::size_t i = 0; i < pattern.size();) {
    const std::size_t length = pattern[i] == '/' ? 1 : element_length(pattern.substr(i));
    if (pattern[i] == '/') {
      components.emplace_back();
    } else {
      components.back().append(pattern.substr(i, length));
    }
    i += length;
  }
  const bool directory = components.back().empty();
  std::erase_if(components, [](const std::string& c) { return c.empty() || c == "."; });
  if (directory && !components.empty() && components.back() != "**") components.emplace_back("**");
  // Runs of "**" mean the same as one.
  components.erase(std::unique(components.begin(), components.end(),
                               [](const auto& a, const auto& b) { return a == "**" && b == "**"; }),
                   components.end());
  return components;
}

// `set` is what stands between the brackets.
bool in_set(std::string_view set, std::uint32_t c) {
  const bool negated = set.front() == '!' || set.front() == '^';
  if (negated) set.remove_prefix(1);
  const auto take = [&set] {
    if (set.front() == '\\' && set.size() > 1) set.remove_prefix(1);
    const auto decoded = base::decode_utf8(set);
    set.remove_prefix(decoded.length);
    return decoded.value;
  };
  bool found = false;
  while (!set.empty()) {
    const std::uint32_t low = take();
    std::uint32_t high = low;
    if (set.size() > 1 && set.front() == '-') {
      set.remove_prefix(1);
      high = take();
    }
    found = found || (c >= low && c <= high);
  }
  return found != negated;
}

// Matches one element of `pattern` that is not '*' with the character at the start of `name`; the lengths of both, or
// nothing.
struct ElementMatch {
  std::size_t pattern = 0;
  std::size_t name = 0;
};
std::optional<ElementMatch> match_element(std::string_view pattern, std::string_view name) {
  const auto decoded = base::decode_utf8(name);
  const std::size_t length = decoded.length == 0 ? 1 : decoded.length;
  if (pattern.front() == '?') return ElementMatch{1, length};
  if (pattern.front() == '[') {
    const std::size_t end = bracket_length(pattern);
    if (!in_set(pattern.substr(1, end - 2), decoded.value)) return std::nullopt;
    return ElementMatch{end, length};
  }
  const std::size_t quote = pattern.front() == '\\' ? 1 : 0;
  if (pattern[quote] != name.front()) return std::nullopt;
  return ElementMatch{quote + 1, 1};
}

// One component. Only the last '*' is ever tried again, so the time is the product of the lengths.
bool match_component(std::string_view pattern, std::string_view name) {
  std::optional<std::pair<std::string_view, std::string_view>> retry;
  while (!name.empty()) {
    if (!pattern.empty() && pattern.front() == '*') {
      pattern.remove_prefix(1);
      retry.emplace(pattern, name);
      continue;
    }
    const auto matched = pattern.empty() ? std::nullopt : match_element(pattern, name);
    if (matched) {
      pattern.remove_prefix(matched->pattern);
      name.remove_prefix(matched->name);
    } else if (retry) {
      const auto decoded = base::decode_utf8(retry->second);
      retry->second.remove_prefix(decoded.length == 0 ? 1 : decoded.length);
      std::tie(pattern, name) = *retry;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*') == std::string_view::npos;
}

// The same with components for characters and "**" for '*'.
bool match_components(std::span<const std::string> pattern, std::span<const std::string_view> path) {
  std::optional<std::pair<std::span<const std::string>, std::span<const std::string_view>>> retry;
  while (!path.empty()) {
    if (!pattern.empty() && pattern.front() == "**") {
      pattern = pattern.subspan(1);
      retry.emplace(pattern, path);
    } else if (!pattern.empty() && match_component(pattern.front(), path.front())) {
      pattern = pattern.subspan(1);
      path = path.subspan(1);
    } else if (retry) {
      retry->second = retry->second.subspan(1);
      std::tie(pattern, path) = *retry;
    } else {
      return false;
    }
  }
  // A trailing "**" stands for what is below a directory, never for the directory itself.
  return pattern.empty();
}

// What is wrong with a pattern before braces are expanded; empty when nothing is.
std::string_view find_fault(std::string_view pattern) {
  if (pattern.empty()) return "it is empty";
  if (pattern.size() > kMaxGlobBytes) return "it is too long";
  std::size_t braces = 0;
  for (std::string_view rest = pattern; !rest.empty();) {
    const auto decoded = base::decode_utf8(rest);
    if (decoded.length == 0) return "it is not UTF-8";
    if (decoded.value < 0x20 || decoded.value == 0x7F) return "it has a control character";
    rest.remove_prefix(decoded.length);
  }
  for (std::size_t i = 0; i < pattern.size(); i += element_length(pattern.substr(i))) {
    if (pattern[i] == '\\' && i + 1 == pattern.size()) return "it ends with a lone backslash";
    if (pattern[i] == '[') {
      const std::size_t length = bracket_length(pattern.substr(i));
      if (length == 0) return "a '[' is never closed (write \\[ for the character)";
      if (pattern.substr(i, length).find('/') != std::string_view::npos) return "a set holds a '/'";
    }
    if (pattern[i] == '{') ++braces;
    if (pattern[i] == '}' && braces-- == 0) return "a '}' was never opened (write \\} for the character)";
  }
  return braces != 0 ? "a '{' is never closed (write \\{ for the character)" : std::string_view{};
}

// A component with its backslashes taken away, to see through `\.\.`.
std::string unquoted(std::string_view component) {
  std::string plain;
  for (std::size_t i = 0; i < component.size(); ++i) {
    if (component[i] == '\\' && i + 1 < component.size()) ++i;
    plain += component[i];
  }
  return plain;
}

}  // namespace

Result<void> OutputGlobs::add(std::string_view pattern) {
  if (const auto fault = find_fault(pattern); !fault.empty()) return bad_pattern(pattern, fault);
  const auto expanded = expand_braces(pattern);
  if (!expanded)
    return bad_pattern(pattern, fmt::format("its braces give more than {} alternatives", kMaxGlobAlternatives));
  if (alternatives_.size() + expanded->size() > kMaxGlobs) return bad_pattern(pattern, "there are too many patterns");
  std::vector<Components> added;
  for (const auto& alternative : *expanded) {
    if (is_host_pattern(alternative)) {
      return bad_pattern(pattern, "only paths relative to the workspace come back from a guest");
    }
    auto components = split_components(alternative);
    if (components.empty()) return bad_pattern(pattern, "it names no file");
    if (std::any_of(components.begin(), components.end(), [](const auto& c) { return unquoted(c) == ".."; })) {
      return bad_pattern(pattern, "'..' leads out of the workspace");
    }
    added.push_back(std::move(components));
  }
  std::move(added.begin(), added.end(), std::back_inserter(alternatives_));
  written_.emplace_back(pattern);
  return {};
}

bool OutputGlobs::matches(std::string_view path) const {
  std::vector<std::string_view> components;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    components.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return std::any_of(alternatives_.begin(), alternatives_.end(),
                     [&](const Components& pattern) { return match_components(pattern, components); });
}

std::vector<std::string> split_artifact_paths(std::string_view list) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::vector<std::string> patterns;
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(';', start), list.size());
    std::string_view item = list.substr(start, end - start);
    start = end + 1;
    item.remove_prefix(std::min(item.find_first_not_of(kBlanks), item.size()));
    if (item.empty()) continue;
    item.remove_suffix(item.size() - item.find_last_not_of(kBlanks) - 1);
    patterns.emplace_back(item);
  }
  return patterns;
}

bool is_host_pattern(std::string_view pattern) {
  const std::string plain = unquoted(pattern.substr(0, 2));
  return plain.starts_with('/') || pattern.starts_with('~');
}

}  // namespace cleanroom::runner
