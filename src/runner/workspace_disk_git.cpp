// git-config(1), "SYNTAX": `[section]`, `[section "sub\"section"]`, `key = value # comment`, values quoted in part or
// whole, backslash escapes \" \\ \n \t \b, a backslash at the end of a line joins it to the next.
#include "src/runner/workspace_disk_git.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace cleanroom::runner {
namespace {

using Names = std::string_view;

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

struct Setting {
  std::string section;     // lower case
  std::string subsection;  // as written, escapes resolved
  bool has_subsection = false;
  std::string key;  // lower case
  std::string value;
  bool has_value = false;  // `key` alone means true
};

bool is_key_char(char c) {
  return base::is_ascii_alnum(c) || c == '-';
}

// Reads one setting after the other; fails for good at the first thing that is not Git configuration.
class ConfigReader {
 public:
  explicit ConfigReader(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
  }
  // nullopt at the end or at an error.
  std::optional<Setting> next();
  bool failed() const { return failed_; }

 private:
  bool at_end() const { return position_ == text_.size(); }
  char peek() const { return text_[position_]; }
  void skip_blanks() {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\r'))
      ++position_;
  }
  void skip_line() { position_ = std::min(text_.find('\n', position_), text_.size()); }
  bool read_section();
  bool read_subsection();
  bool read_value(std::string& value);

  std::string_view text_;
  std::size_t position_ = 0;
  Setting current_;
  bool failed_ = false;
};

bool ConfigReader::read_subsection() {
  skip_blanks();
  if (at_end() || peek() != '"') return false;
  for (++position_; !at_end() && peek() != '"'; ++position_) {
    if (peek() == '\n') return false;
    if (peek() == '\\' && ++position_ == text_.size()) return false;
    current_.subsection += peek();
  }
  if (at_end()) return false;
  ++position_;
  current_.has_subsection = true;
  return true;
}

bool ConfigReader::read_section() {
  current_ = {};
  for (++position_; !at_end() && (is_key_char(peek()) || peek() == '.'); ++position_)
    current_.section += base::ascii_lower(peek());
  if (!at_end() && (peek() == ' ' || peek() == '\t') && !read_subsection()) return false;
  if (at_end() || peek() != ']' || current_.section.empty()) return false;
  ++position_;
  return true;
}

bool ConfigReader::read_value(std::string& value) {
  bool quoted = false;
  std::size_t kept = 0;  // blanks beyond this are dropped at the end unless something follows
  for (; !at_end() && (quoted || peek() != '\n'); ++position_) {
    const char c = peek();
    if (c == '\n') return false;
    if (!quoted && (c == '#' || c == ';')) {
      skip_line();
      break;
    }
    if (c == '"') {
      quoted = !quoted;
      kept = value.size();
      continue;
    }
    if (c == '\\') {
      if (++position_ == text_.size()) return false;
      if (peek() == '\r' && position_ + 1 < text_.size() && text_[position_ + 1] == '\n') ++position_;
      constexpr std::string_view kEscapes = "ntb\"\\", kMeanings = "\n\t\b\"\\";
      if (peek() == '\n') continue;
      const auto which = kEscapes.find(peek());
      if (which == std::string_view::npos) return false;
      value += kMeanings[which];
      kept = value.size();
      continue;
    }
    value += c;
    if (quoted || (c != ' ' && c != '\t' && c != '\r')) kept = value.size();
  }
  value.resize(kept);
  return !quoted;
}

std::optional<Setting> ConfigReader::next() {
  while (true) {
    while (!at_end() && (peek() == '\n' || peek() == ' ' || peek() == '\t' || peek() == '\r'))
      ++position_;
    if (at_end()) return std::nullopt;
    if (peek() == '#' || peek() == ';') {
      skip_line();
    } else if (peek() == '[') {
      if (!read_section()) break;
    } else {
      Setting setting = current_;
      if (setting.section.empty() || std::isalpha(static_cast<unsigned char>(peek())) == 0) break;
      for (; !at_end() && is_key_char(peek()); ++position_)
        setting.key += base::ascii_lower(peek());
      skip_blanks();
      setting.has_value = !at_end() && peek() == '=';
      if (setting.has_value) {
        ++position_;
        skip_blanks();
        if (!read_value(setting.value)) break;
      } else if (!at_end() && (peek() == '#' || peek() == ';')) {
        skip_line();
      } else if (!at_end() && peek() != '\n') {
        break;
      }
      return setting;
    }
  }
  failed_ = true;
  return std::nullopt;
}

constexpr std::array<Names, 20> kCoreKeys{"repositoryformatversion",
                                          "filemode",
                                          "bare",
                                          "logallrefupdates",
                                          "symlinks",
                                          "ignorecase",
                                          "precomposeunicode",
                                          "autocrlf",
                                          "eol",
                                          "safecrlf",
                                          "abbrev",
                                          "sparsecheckout",
                                          "sparsecheckoutcone",
                                          "bigfilethreshold",
                                          "quotepath",
                                          "commitgraph",
                                          "multipackindex",
                                          "sharedrepository",
                                          "untrackedcache",
                                          "trustctime"};
constexpr std::array<Names, 8> kRemoteKeys{
    "url", "pushurl", "fetch", "tagopt", "prune", "promisor", "partialclonefilter", "mirror"};
constexpr std::array<Names, 3> kBranchKeys{"remote", "merge", "rebase"};
constexpr std::array<Names, 7> kSubmoduleKeys{"url", "active", "path", "branch", "update", "ignore", "recurse"};
constexpr std::array<Names, 4> kSubmoduleUpdates{"checkout", "rebase", "merge", "none"};  // "!command" runs a command
constexpr std::array<Names, 3> kIndexKeys{"version", "sparse", "skiphash"};

bool may_pass(const Setting& setting) {
  const std::string_view section = setting.section, key = setting.key;
  if (setting.subsection.find("://") != std::string::npos || setting.subsection.find('\n') != std::string::npos) {
    return false;
  }
  // A submodule's worktree is relative; an absolute one is a path of this host.
  if (section == "core" && key == "worktree") return !setting.value.empty() && setting.value.front() != '/';
  if (section == "core") return !setting.has_subsection && contains(kCoreKeys, key);
  if (section == "extensions") return !setting.has_subsection;
  if (section == "remote") return setting.has_subsection && contains(kRemoteKeys, key);
  if (section == "branch") return setting.has_subsection && contains(kBranchKeys, key);
  if (section == "index") return !setting.has_subsection && contains(kIndexKeys, key);
  if (section == "lfs") return !setting.has_subsection && key == "repositoryformatversion";
  if (section != "submodule" || !contains(kSubmoduleKeys, key)) return false;
  return key != "update" || contains(kSubmoduleUpdates, setting.value);
}

std::string quote(std::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) {
    constexpr std::string_view kSpecial = "\n\t\b\"\\", kLetters = "ntb\"\\";
    const auto which = kSpecial.find(c);
    if (which == std::string_view::npos) {
      quoted += c;
    } else {
      quoted += '\\';
      quoted += kLetters[which];
    }
  }
  return quoted += '"';
}

std::string section_header(const Setting& setting) {
  if (!setting.has_subsection) return "[" + setting.section + "]\n";
  std::string name;
  for (const char c : setting.subsection) {
    if (c == '"' || c == '\\') name += '\\';
    name += c;
  }
  return "[" + setting.section + " \"" + name + "\"]\n";
}

// The start of the scheme that ends at `end`.
std::size_t scheme_start(std::string_view text, std::size_t end) {
  while (end > 0 && (std::isalnum(static_cast<unsigned char>(text[end - 1])) != 0 || text[end - 1] == '+' ||
                     text[end - 1] == '-' || text[end - 1] == '.')) {
    --end;
  }
  return end;
}

}  // namespace

GitEntry classify_git_entry(std::string_view name) {
  constexpr std::array<Names, 22> kCopied{
      "HEAD",        "ORIG_HEAD",    "MERGE_HEAD",     "MERGE_MSG",   "MERGE_MODE", "CHERRY_PICK_HEAD",
      "REVERT_HEAD", "AUTO_MERGE",   "COMMIT_EDITMSG", "packed-refs", "shallow",    "index",
      "description", "info",         "refs",           "reftable",    "branches",   "lfs",
      "annex",       "rebase-merge", "rebase-apply",   "sequencer"};
  constexpr std::array<Names, 6> kNever{"hooks", "worktrees", "gc.log", "gc.pid", "commondir", "gitdir"};
  if (name == "config" || name == "config.worktree") return GitEntry::copy_config;
  if (name == "FETCH_HEAD" || name == "logs") return GitEntry::copy_without_urls;
  if (name == "modules") return GitEntry::modules;
  if (name == "objects") return GitEntry::objects;
  if (contains(kCopied, name) || name.starts_with("sharedindex.") || name.starts_with("BISECT_")) return GitEntry::copy;
  if (contains(kNever, name) || name.ends_with(".lock")) return GitEntry::leave_out;
  return GitEntry::unknown;
}

std::optional<std::string> rewrite_git_config(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  ConfigReader reader(text);
  std::string out, last_header;
  while (const auto setting = reader.next()) {
    if (!may_pass(*setting)) continue;
    if (auto header = section_header(*setting); header != last_header) {
      out += header;
      last_header = std::move(header);
    }
    out += '\t' + setting->key;
    if (setting->has_value) out += " = " + quote(strip_url_credentials(setting->value));
    out += '\n';
  }
  if (reader.failed()) return std::nullopt;
  return out;
}

std::optional<std::string> origin_url(std::string_view text) {
  ConfigReader reader(text);
  std::optional<std::string> url;
  while (const auto setting = reader.next()) {
    if (setting->section == "remote" && setting->subsection == "origin" && setting->key == "url") url = setting->value;
  }
  return reader.failed() ? std::nullopt : url;
}

std::string strip_url_credentials(std::string_view text) {
  std::string out;
  while (true) {
    const auto colon = text.find("://");
    if (colon == std::string_view::npos) break;
    const std::string_view scheme = text.substr(scheme_start(text, colon), colon - scheme_start(text, colon));
    const bool ssh = scheme == "ssh" || scheme == "git+ssh" || scheme == "ssh+git";
    const bool http = scheme.size() >= 4 && base::ascii_lower(scheme[0]) == 'h' && base::ascii_lower(scheme[1]) == 't';
    out += text.substr(0, colon + 3);
    text.remove_prefix(colon + 3);
    const std::string_view authority = text.substr(0, text.find_first_of("/?# \t\r\n\"'<>"));
    if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
      const std::string_view user = authority.substr(0, authority.find(':'));
      if (ssh && user.size() < at) out.append(user).append("@");
      if (ssh && user.size() >= at) out += authority.substr(0, at + 1);
      text.remove_prefix(at + 1);
    }
    if (!http) continue;
    const auto end = std::min(text.find_first_of("? \t\r\n\"'<>"), text.size());
    if (text.substr(0, end).find("://") != std::string_view::npos) continue;  // a URL within: its turn comes
    out += text.substr(0, end);
    text.remove_prefix(end);
    if (text.starts_with('?')) text.remove_prefix(std::min(text.find_first_of(" \t\r\n\"'<>"), text.size()));
  }
  return out += text;
}

bool is_relative_gitfile(std::string_view text) {
  constexpr std::string_view kPrefix = "gitdir: ";
  return text.starts_with(kPrefix) && text.size() > kPrefix.size() && text[kPrefix.size()] != '/';
}

}  // namespace cleanroom::runner
