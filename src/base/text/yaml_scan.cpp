#include "src/base/text/yaml_scan.h"

#include "src/base/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace cleanroom::base {
namespace {

constexpr std::size_t kMaxReports = 10;

// The first thing wrong with a line, with its column in code points.
struct LineFault {
  std::size_t column = 0;
  std::string message;
};

std::optional<LineFault> check_characters(std::string_view line) {
  std::size_t column = 1;
  for (; !line.empty(); ++column) {
    const auto decoded = decode_utf8(line);
    if (decoded.length == 0) return LineFault{column, "the file is not UTF-8"};
    const bool harmless = decoded.value == '\t' || (decoded.value == '\r' && line.size() == 1);
    if (!harmless && is_invisible_or_control(decoded.value)) {
      return LineFault{column,
                       fmt::format("control or invisible character U+{:04X}; write it as an escape in double quotes",
                                   decoded.value)};
    }
    line.remove_prefix(decoded.length);
  }
  return std::nullopt;
}

std::optional<LineFault> check_line(std::string_view line) {
  const std::size_t indent = std::min(line.find_first_not_of(" \t"), line.size());
  const std::size_t tab = line.substr(0, indent).find('\t');
  if (tab != std::string_view::npos) return LineFault{tab + 1, "tab in indentation; use spaces"};
  if (!line.empty() && line.front() == '%') return LineFault{1, "directives (%YAML, %TAG) are not accepted"};
  return check_characters(line);
}

bool looks_like_utf16_or_32(std::string_view text) {
  const auto starts = [&](std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; };
  using namespace std::string_view_literals;
  if (starts("\xFF\xFE"sv) || starts("\xFE\xFF"sv) || starts("\0\0\xFE\xFF"sv)) return true;
  return text.size() >= 2 && (text[0] == '\0') != (text[1] == '\0');
}

}  // namespace

std::vector<std::size_t> line_starts(std::string_view text) {
  std::vector<std::size_t> starts = {0};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

bool scan_yaml_bytes(std::string_view text, const YamlLimits& limits, Diagnostics& diagnostics) {
  if (text.size() > limits.max_bytes) {
    diagnostics.error({}, {}, fmt::format("the file is longer than {} bytes", limits.max_bytes));
    return false;
  }
  if (looks_like_utf16_or_32(text)) {
    diagnostics.error({1, 1}, {}, "the file is UTF-16 or UTF-32; save it as UTF-8");
    return false;
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    diagnostics.error({1, 1}, {}, "the file starts with a byte order mark; save it without");
    return false;
  }
  std::size_t faults = 0;
  std::size_t line_number = 0;
  while (!text.empty() && faults < kMaxReports) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    ++line_number;
    if (auto fault = check_line(text.substr(0, end))) {
      diagnostics.error({line_number, fault->column}, {}, std::move(fault->message));
      ++faults;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return faults == 0;
}

}  // namespace cleanroom::base
