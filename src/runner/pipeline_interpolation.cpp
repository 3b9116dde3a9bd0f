#include "src/runner/pipeline_interpolation.h"

#include "src/base/os/ascii.h"
#include "src/base/text/diagnostic.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::Result;

constexpr int kMaxNesting = 64;
constexpr std::size_t kMaxResult = 4 * 1024 * 1024;

base::Failure refuse_interpolation(std::string message) {
  return base::fail(Code::invalid_input, "pipeline_invalid", std::move(message));
}

bool is_name_character(char c) {
  return base::is_ascii_alnum(c) || c == '_';
}

class Interpolator {
 public:
  Interpolator(std::string_view text, const Environment& environment) : text_(text), environment_(environment) {}

  // Up to the end, or to the '}' that ends a default.
  Result<std::string> expression(bool in_brace, int nesting) {
    if (nesting > kMaxNesting) return refuse_interpolation("cannot expand a variable: too many nested defaults");
    std::string out;
    while (!at_end() && !(in_brace && peek() == '}')) {
      if (starts_with("\\\\")) {
        out += "\\\\";
        position_ += 2;
      } else if (starts_with("\\$") || starts_with("$$")) {
        out += '$';
        position_ += 2;
      } else if (peek() == '$' && position_ + 1 < text_.size() && text_[position_ + 1] != '(') {
        ++position_;
        CR_ASSIGN(const std::string value, expansion(nesting));
        out += value;
      } else {
        out += text_[position_++];
      }
      if (out.size() > kMaxResult) return refuse_interpolation("cannot expand a variable: the result is too long");
    }
    return out;
  }

 private:
  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return text_[position_]; }
  bool starts_with(std::string_view what) const { return text_.substr(position_).starts_with(what); }

  std::string_view name() {
    const std::size_t start = position_;
    while (!at_end() && is_name_character(peek()))
      ++position_;
    return text_.substr(start, position_ - start);
  }

  std::optional<std::string_view> lookup(std::string_view name) const {
    const auto found = environment_.find(name);
    if (found == environment_.end()) return std::nullopt;
    return found->second;
  }

  // After the '$'.
  Result<std::string> expansion(int nesting) {
    if (peek() == '{') {
      ++position_;
      return brace(nesting);
    }
    if (!base::is_ascii_letter(peek())) return std::string("$");
    return std::string(lookup(name()).value_or(""));
  }

  Result<std::string> brace(int nesting) {
    if (at_end() || !base::is_ascii_letter(peek()))
      return refuse_interpolation("cannot expand '${': a variable's name is expected");
    const std::string_view variable = name();
    const auto value = lookup(variable);
    std::string result(value.value_or(""));
    if (starts_with(":-") || starts_with("-")) {
      const bool or_empty = peek() == ':';
      position_ += or_empty ? 2 : 1;
      CR_ASSIGN(std::string otherwise, expression(true, nesting + 1));
      if (!value || (or_empty && value->empty())) result = std::move(otherwise);
    } else if (starts_with("?")) {
      ++position_;
      CR_ASSIGN(const std::string message, expression(true, nesting + 1));
      if (!value)
        return refuse_interpolation(fmt::format("cannot expand ${}: {}", variable, base::quote_text(message)));
    } else if (starts_with(":")) {
      ++position_;
      CR_ASSIGN(result, substring(result));
    }
    if (at_end() || peek() != '}')
      return refuse_interpolation(fmt::format("cannot expand '${{{}': '}}' is expected", variable));
    ++position_;
    return result;
  }

  std::optional<long> number(std::string_view stops) {
    const std::size_t end = std::min(text_.find_first_of(stops, position_), text_.size());
    std::string_view digits = text_.substr(position_, end - position_);
    while (digits.starts_with(' '))
      digits.remove_prefix(1);
    while (digits.ends_with(' '))
      digits.remove_suffix(1);
    position_ = end;
    long value = 0;
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || rest != digits.data() + digits.size()) return std::nullopt;
    return value;
  }

  // After the ':'. A negative offset counts from the end, a negative length ends that far before it.
  Result<std::string> substring(const std::string& value) {
    const long size = static_cast<long>(value.size());
    const auto offset = number(":}");
    if (!offset) return refuse_interpolation("cannot expand a substring: a number is expected");
    const long start = std::clamp<long>(*offset < 0 ? std::max(size + *offset, 0L) : *offset, 0, size);
    long end = size;
    if (!at_end() && peek() == ':') {
      ++position_;
      const auto length = number("}");
      if (!length) return refuse_interpolation("cannot expand a substring: a number is expected");
      end = *length < 0 ? size + *length : (*length > size - start ? size : start + *length);
    }
    return end <= start ? std::string()
                        : value.substr(static_cast<std::size_t>(start), static_cast<std::size_t>(end - start));
  }

  std::string_view text_;
  const Environment& environment_;
  std::size_t position_ = 0;
};

}  // namespace

Result<std::string> interpolate(std::string_view text, const Environment& environment) {
  return Interpolator(text, environment).expression(false, 0);
}

}  // namespace cleanroom::runner
