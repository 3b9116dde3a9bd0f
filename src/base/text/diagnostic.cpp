#include "src/base/text/diagnostic.h"

#include "src/base/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace cleanroom::base {

void Diagnostics::add(Diagnostic diagnostic) {
  if (diagnostic.severity == Severity::error) ++errors_;
  if (kept_.size() < kMaxKept) kept_.push_back(std::move(diagnostic));
}

void Diagnostics::error(TextPosition position, std::string key_path, std::string message, std::string reason) {
  add({Severity::error, position, std::move(key_path), std::move(message),
       reason.empty() ? reason_ : std::move(reason)});
}

void Diagnostics::warning(TextPosition position, std::string key_path, std::string message) {
  add({Severity::warning, position, std::move(key_path), std::move(message), {}});
}

std::vector<Diagnostic> Diagnostics::sorted() const {
  auto list = kept_;
  std::stable_sort(list.begin(), list.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.position < b.position; });
  return list;
}

std::vector<std::string> Diagnostics::lines() const {
  std::vector<std::string> out;
  for (const auto& item : sorted()) {
    std::string line = escape_for_display(file_);
    if (item.position.line != 0) line += fmt::format(":{}:{}", item.position.line, item.position.column);
    line += ": ";
    if (!item.key_path.empty()) line += item.key_path + ": ";
    if (item.severity == Severity::warning) line += "warning: ";
    out.push_back(line + item.message);
  }
  if (errors_ > kMaxKept) out.push_back(fmt::format("{}: and {} more errors", file_, errors_ - kMaxKept));
  return out;
}

std::string quote_text(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return "'" + escape_for_display(text) + "'";
  // Cut where a code point ends.
  std::size_t cut = max_bytes;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80)
    --cut;
  return "'" + escape_for_display(text.substr(0, cut)) + "...'";
}

}  // namespace cleanroom::base
