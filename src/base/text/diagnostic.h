#pragma once
// Diagnostics: everything that is wrong with one text file, in the order of its lines, so that a person fixes all of it
// in one go.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::base {

// Where something stands in a text. Lines and columns count from 1, columns in Unicode code points; 0 = the file as a
// whole.
struct TextPosition {
  std::size_t line = 0;
  std::size_t column = 0;
  auto operator<=>(const TextPosition&) const = default;
};

enum class Severity { error, warning };

struct Diagnostic {
  Severity severity = Severity::error;
  TextPosition position;
  std::string key_path;  // sandbox.network.allow[0].ports[1]; empty for the file as a whole
  std::string message;   // lower-case, no trailing dot, control characters escaped
  std::string reason;    // stable snake_case: policy_invalid, policy_conflict, ...
};

// The diagnostics of one file.
class Diagnostics {
 public:
  // No more than this many are kept: a hostile file does not get to flood a job log.
  static constexpr std::size_t kMaxKept = 100;

  Diagnostics(std::string file, std::string reason) : file_(std::move(file)), reason_(std::move(reason)) {}

  // `reason` defaults to the one given to the constructor.
  void error(TextPosition position, std::string key_path, std::string message, std::string reason = {});
  void warning(TextPosition position, std::string key_path, std::string message);

  bool has_errors() const { return errors_ > 0; }
  std::size_t error_count() const { return errors_; }  // counts those beyond kMaxKept too
  const std::string& file() const { return file_; }
  // The text came from elsewhere than first thought (look-up in a checkout).
  void set_file(std::string file) { file_ = std::move(file); }
  // Sorted by position.
  std::vector<Diagnostic> sorted() const;
  // One line each: `file:line:column: key.path: message`; warnings carry `warning: ` before the message.
  std::vector<std::string> lines() const;

 private:
  void add(Diagnostic diagnostic);
  std::string file_;
  std::string reason_;
  std::vector<Diagnostic> kept_;
  std::size_t errors_ = 0;
};

// `text` in single quotes for a message: control characters and non-UTF-8 bytes as \xNN, cut at `max_bytes` with "...".
std::string quote_text(std::string_view text, std::size_t max_bytes = 80);

}  // namespace cleanroom::base
