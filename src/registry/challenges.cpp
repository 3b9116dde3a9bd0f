// The grammar, with `*SP` short for optional blanks:
//   value     = [ challenge ] *( *SP "," *SP [ challenge ] )
//   challenge = scheme [ 1*SP ( token68 / [ parameter ] *( *SP "," *SP [ parameter ] ) ) ]
//   parameter = token *SP "=" *SP ( token / quoted-string )
// A comma ends a parameter and a challenge alike: what follows is a parameter when a `=` comes after its name.
#include "src/registry/challenges.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <set>

namespace cleanroom::registry {
namespace {

using base::Result;

bool is_token_char(char c) {
  return base::is_ascii_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_token68_char(char c) {
  return base::is_ascii_alnum(c) || std::string_view("-._~+/").find(c) != std::string_view::npos;
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
base::Failure malformed(std::string_view why) {
  return base::fail(base::Code::invalid_input, fmt::format("cannot read the registry's WWW-Authenticate: {}", why));
}

class Parser {
 public:
  explicit Parser(Challenges& out) : out_(out) {}

  Result<void> parse(std::string_view text) {
    text_ = text;
    in_challenge_ = false;
    bool separated = true;  // a comma, or the start of the line, stands before what comes
    for (;;) {
      skip_blanks();
      if (text_.empty()) break;
      if (take(',')) {
        separated = true;
        continue;
      }
      const auto name = token();
      if (name.empty()) return malformed("it has bytes where a scheme or a parameter is due");
      if (next_is_value()) {
        CR_TRY(parameter(name, separated));
      } else if (separated) {
        finish();
        CR_TRY(scheme(name));
      } else {
        return malformed("a comma is missing");
      }
      separated = false;
    }
    finish();
    return {};
  }

 private:
  void skip_blanks() {
    while (!text_.empty() && is_blank(text_.front()))
      text_.remove_prefix(1);
  }
  bool take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::string_view token() {
    const auto* const end = std::find_if_not(text_.begin(), text_.end(), is_token_char);
    const auto name = text_.substr(0, static_cast<std::size_t>(end - text_.begin()));
    text_.remove_prefix(name.size());
    return name;
  }
  bool next_is_value() const {
    const auto at = text_.find_first_not_of(" \t");
    return at != std::string_view::npos && text_[at] == '=';
  }

  Result<void> scheme(std::string_view name) {
    if (++challenges_ > kMaxChallenges) return malformed("it has too many challenges");
    if (!text_.empty() && !is_blank(text_.front()) && text_.front() != ',') return malformed("a scheme is no token");
    in_challenge_ = true;
    scheme_ = base::ascii_lower(name);
    has_token68_ = false;
    first_parameter_ = true;
    seen_.clear();
    bearer_ = {};
    // A token68 stands alone up to the comma; else these bytes are the first parameter.
    auto rest = text_;
    while (!rest.empty() && is_blank(rest.front()))
      rest.remove_prefix(1);
    const auto all = rest;
    while (!rest.empty() && is_token68_char(rest.front()))
      rest.remove_prefix(1);
    if (rest.size() == all.size()) return {};
    while (!rest.empty() && rest.front() == '=')
      rest.remove_prefix(1);
    while (!rest.empty() && is_blank(rest.front()))
      rest.remove_prefix(1);
    if (!rest.empty() && rest.front() != ',') return {};
    has_token68_ = true;
    text_ = rest;
    return {};
  }

  Result<void> parameter(std::string_view name, bool separated) {
    if (!in_challenge_ || has_token68_) return malformed("a parameter has no scheme");
    if (!separated && !first_parameter_) return malformed("a comma is missing");
    first_parameter_ = false;
    auto key = base::ascii_lower(name);
    skip_blanks();
    take('=');
    skip_blanks();
    CR_ASSIGN(auto value, this->value());
    if (seen_.size() >= kMaxChallengeParameters) return malformed("it has too many parameters");
    if (!seen_.insert(key).second) return malformed("a parameter stands twice");
    if (scheme_ != "bearer") return {};
    std::string* const field = key == "realm"     ? &bearer_.realm
                               : key == "service" ? &bearer_.service
                               : key == "scope"   ? &bearer_.scope
                               : key == "error"   ? &bearer_.error
                                                  : nullptr;
    if (field == nullptr) return {};
    if (!base::is_ascii_printable(value)) return malformed("a parameter of Bearer is not printable ASCII");
    *field = std::move(value);
    return {};
  }

  Result<std::string> value() {
    if (!take('"')) {
      auto word = token();
      if (word.empty()) return malformed("a parameter has no value");
      return std::string(word);
    }
    std::string out;
    while (!text_.empty() && text_.front() != '"') {
      take('\\');  // the next byte stands for itself
      if (text_.empty()) break;
      const char c = text_.front();
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return malformed("it has control bytes");
      out += c;
      text_.remove_prefix(1);
    }
    if (!take('"')) return malformed("a quoted text does not end");
    return out;
  }

  void finish() {
    if (!in_challenge_) return;
    in_challenge_ = false;
    if (scheme_ == "basic") out_.basic = true;
    if (scheme_ == "bearer" && !out_.bearer && !bearer_.realm.empty()) out_.bearer = std::move(bearer_);
  }

  Challenges& out_;
  std::string_view text_;
  std::size_t challenges_ = 0;
  bool in_challenge_ = false;  // the rest is about the one being read
  std::string scheme_;
  bool has_token68_ = false;
  bool first_parameter_ = false;
  std::set<std::string> seen_;
  BearerChallenge bearer_;
};

}  // namespace

Result<Challenges> parse_challenges(const std::vector<std::string_view>& values) {
  Challenges out;
  Parser parser(out);
  std::size_t bytes = 0;
  for (const auto value : values) {
    bytes += value.size();
    if (bytes > kMaxChallengeBytes) return malformed("it is too long");
    CR_TRY(parser.parse(value));
  }
  return out;
}

}  // namespace cleanroom::registry
