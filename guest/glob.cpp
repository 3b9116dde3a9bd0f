#include "guest/glob.h"

#include <optional>

namespace cleanroom::guest {
namespace {

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto end = path.find('/');
    if (end != 0) parts.emplace_back(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end + 1);
  }
  return parts;
}

// End of the set that begins at `at` ('['), or npos when it is a plain '['. A ']' right after the start is a member.
std::size_t set_end(std::string_view pattern, std::size_t at) {
  std::size_t from = at + 1;
  if (from < pattern.size() && (pattern[from] == '!' || pattern[from] == '^')) ++from;
  return pattern.find(']', from + 1);
}

bool in_set(std::string_view set, char c) {
  const bool negated = set.front() == '!' || set.front() == '^';
  if (negated) set.remove_prefix(1);
  bool found = false;
  const auto byte = static_cast<unsigned char>(c);
  for (std::size_t i = 0; i < set.size(); ++i) {
    const auto low = static_cast<unsigned char>(set[i]);
    const bool is_range = i + 2 < set.size() && set[i + 1] == '-';
    const auto high = is_range ? static_cast<unsigned char>(set[i + 2]) : low;
    found = found || (byte >= low && byte <= high);
    if (is_range) i += 2;
  }
  return found != negated;
}

// Matches one pattern character or set at `at` with `c`; where the pattern goes on, or nullopt.
std::optional<std::size_t> match_one(std::string_view pattern, std::size_t at, char c) {
  switch (pattern[at]) {
    case '?':
      return at + 1;
    case '[':
      if (const auto end = set_end(pattern, at); end != std::string_view::npos) {
        return in_set(pattern.substr(at + 1, end - at - 1), c) ? std::optional(end + 1) : std::nullopt;
      }
      break;
    case '\\':
      if (at + 1 < pattern.size()) return pattern[at + 1] == c ? std::optional(at + 2) : std::nullopt;
      break;
    default:
      break;
  }
  return pattern[at] == c ? std::optional(at + 1) : std::nullopt;
}

struct Braces {
  std::size_t begin = 0;
  std::size_t end = 0;  // of '}'
  std::vector<std::string_view> choices;
};

// The first group of braces; nullopt when there is none. `broken` when it does not close.
std::optional<Braces> find_braces(std::string_view pattern, bool& broken) {
  Braces braces;
  int depth = 0;
  std::size_t choice = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (c == '{' && depth++ == 0) {
      braces.begin = i;
      choice = i + 1;
    } else if (c == ',' && depth == 1) {
      braces.choices.push_back(pattern.substr(choice, i - choice));
      choice = i + 1;
    } else if (c == '}' && depth > 0 && --depth == 0) {
      braces.choices.push_back(pattern.substr(choice, i - choice));
      braces.end = i;
      return braces;
    }
  }
  broken = depth > 0;
  return std::nullopt;
}

base::Error bad_pattern(std::string_view pattern, std::string_view why) {
  return base::Error(base::Code::invalid_input, fmt::format("cannot use pattern '{}': {}", pattern, why));
}

base::Result<std::vector<std::string>> expand_braces(std::string_view pattern) {
  std::vector<std::string> open{std::string(pattern)};
  std::vector<std::string> done;
  while (!open.empty()) {
    const std::string text = std::move(open.back());
    open.pop_back();
    bool broken = false;
    const auto braces = find_braces(text, broken);
    if (broken) return base::fail(bad_pattern(pattern, "a '{' without its '}'"));
    if (!braces) {
      done.push_back(text);
    } else {
      for (const auto choice : braces->choices)
        open.push_back(text.substr(0, braces->begin) + std::string(choice) + text.substr(braces->end + 1));
    }
    if (open.size() + done.size() > kMaxAlternatives) return base::fail(bad_pattern(pattern, "too many alternatives"));
  }
  return done;
}

// Both walk pattern and path with a set of states: which prefixes of the pattern match the path so far. No
// backtracking, so no pattern is slow.
std::vector<bool> advance(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  const auto close = [&](std::vector<bool>& states) {
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (states[i] && pattern[i] == "**") states[i + 1] = true;
    }
  };
  std::vector<bool> states(pattern.size() + 1);
  states[0] = true;
  close(states);
  for (const auto& name : path) {
    std::vector<bool> next(pattern.size() + 1);
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (!states[i]) continue;
      if (pattern[i] == "**") {
        next[i] = true;
      } else if (matches_segment(pattern[i], name)) {
        next[i + 1] = true;
      }
    }
    close(next);
    states = std::move(next);
  }
  return states;
}

}  // namespace

bool matches_segment(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;  // after the last '*', and the name's part it takes so far
  std::size_t star_name = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_name = n;
    } else if (const auto next = p < pattern.size() ? match_one(pattern, p, name[n]) : std::nullopt) {
      p = *next;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*')
    ++p;
  return p == pattern.size();
}

base::Result<Glob> Glob::parse(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxPattern) return base::fail(bad_pattern(pattern, "empty or too long"));
  CR_ASSIGN(const auto texts, expand_braces(pattern));
  Glob glob;
  for (const auto& text : texts) {
    if (text.starts_with('/')) return base::fail(bad_pattern(pattern, "it must be relative"));
    Segments segments;
    for (auto& part : split_path(text)) {
      if (part == ".") continue;
      if (part == "..") return base::fail(bad_pattern(pattern, "'..' is not allowed"));
      segments.push_back(std::move(part));
    }
    if (!segments.empty()) glob.alternatives_.push_back(std::move(segments));
  }
  if (glob.alternatives_.empty()) return base::fail(bad_pattern(pattern, "it names nothing"));
  return glob;
}

bool Glob::matches(std::string_view path) const {
  const auto parts = split_path(path);
  for (const auto& segments : alternatives_) {
    if (advance(segments, parts).back()) return true;
  }
  return false;
}

bool Glob::may_match_below(std::string_view directory) const {
  const auto parts = split_path(directory);
  for (const auto& segments : alternatives_) {
    const auto states = advance(segments, parts);
    for (std::size_t i = 0; i < segments.size(); ++i) {
      if (states[i]) return true;
    }
  }
  return false;
}

}  // namespace cleanroom::guest
