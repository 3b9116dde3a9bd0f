// Escape sequences as ECMA-48 and xterm's ctlseqs have them:
//   CSI  ESC [ parameters (0x30-0x3F) intermediates (0x20-0x2F) final (0x40-0x7E)
//   OSC  ESC ] text, APC ESC _, DCS ESC P, PM ESC ^, SOS ESC X: strings, ended by ST (ESC \) or, by custom, BEL
//   C1   0x80-0x9F: the same introducers in one byte; in UTF-8 text they can only come as U+0080 to U+009F
// Only CSI and the strings that are dropped need states; a sequence that is shown needs none beyond its introducer.
#include "src/runner/log_filter.h"

#include "src/base/text/utf8.h"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <string_view>

namespace cleanroom::runner {
namespace {

constexpr unsigned char kEscape = 0x1B;
constexpr unsigned char kBell = 0x07;
constexpr unsigned char kCancel = 0x18;
constexpr unsigned char kSubstitute = 0x1A;
constexpr std::size_t kMaxOscNumberBytes = 16;

constexpr std::array<bool, 256> make_plain_table() {
  std::array<bool, 256> table{};
  for (std::size_t c = 0x20; c < 0x7F; ++c)
    table[c] = true;
  table['\t'] = table['\r'] = table['\n'] = true;
  return table;
}
constexpr auto kPlain = make_plain_table();

bool is_digit(unsigned char byte) {
  return byte >= '0' && byte <= '9';
}
bool is_mark(unsigned char byte) {
  return byte == '-' || byte == '+' || byte == '~' || byte == '^';
}
bool is_unicode_blank(std::uint32_t c) {
  return c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000 || c == 0xFEFF;
}

// `held` is ESC ] and digits: does it open a link, an inline image or one of Buildkite's own strings?
bool is_dropped_osc(std::string_view held) {
  held.remove_prefix(2);
  while (held.size() > 1 && held.front() == '0')
    held.remove_prefix(1);
  return held == "8" || held == "1337" || held == "1338" || held == "1339";
}

}  // namespace

void LogFilter::feed(std::span<const std::byte> input, std::string& output) {
  while (!input.empty()) {
    if (state_ == State::ground) {
      const std::size_t run = plain_run(input);
      output.append(reinterpret_cast<const char*>(input.data()), run);
      input = input.subspan(run);
      if (input.empty()) return;
    }
    const auto byte = std::to_integer<unsigned char>(input.front());
    while (!step(byte, output)) {
    }
    input = input.subspan(1);
  }
}

void LogFilter::finish(std::string& output) {
  show_held(output);
  if (styled_) output += "\x1b[0m";
  *this = LogFilter(options_);
}

// How many bytes at the front can be copied as they are without looking at them again.
std::size_t LogFilter::plain_run(std::span<const std::byte> input) const {
  const bool marks = options_.group_marks == GroupMarks::neutralise;
  if (marks && column_ != Column::middle) return 0;
  std::size_t run = 0;
  while (run < input.size() && kPlain[std::to_integer<unsigned char>(input[run])]) {
    if (marks && (input[run] == std::byte{'\n'} || input[run] == std::byte{'\r'})) break;
    ++run;
  }
  return run;
}

bool LogFilter::step(unsigned char byte, std::string& output) {
  switch (state_) {
    case State::ground:
      return step_ground(byte, output);
    case State::utf8:
      return step_utf8(byte, output);
    case State::escape:
      return step_escape(byte, output);
    case State::csi:
      return step_csi(byte, output);
    case State::osc_number:
      return step_osc_number(byte, output);
    case State::dropped:
      return step_dropped(byte);
    case State::dropped_escape:
      return step_dropped_escape(byte);
  }
  return true;
}

bool LogFilter::step_ground(unsigned char byte, std::string& output) {
  if (kPlain[byte]) {
    put_plain(byte, output);
  } else if (byte == kEscape) {
    hold(State::escape, byte);
  } else if (byte >= 0xC2 && byte <= 0xF4) {
    utf8_length_ = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    hold(State::utf8, byte);
  } else {
    put_escaped(byte, output);
  }
  return true;
}

bool LogFilter::step_utf8(unsigned char byte, std::string& output) {
  if ((byte & 0xC0) != 0x80) {
    show_held(output);
    return false;
  }
  held_ += static_cast<char>(byte);
  if (held_.size() == utf8_length_) put_held_code_point(output);
  return true;
}

bool LogFilter::step_escape(unsigned char byte, std::string& output) {
  switch (byte) {
    case '[':
      hold(State::csi, byte);
      return true;
    case ']':
      hold(State::osc_number, byte);
      return true;
    case '_':
      held_.clear();
      dropped_bytes_ = 0;
      state_ = State::dropped;
      return true;
    default:
      show_held(output);
      return false;
  }
}

bool LogFilter::step_csi(unsigned char byte, std::string& output) {
  if (byte == 'm') {
    styled_ = held_.find_first_not_of("0;", 2) != std::string::npos;
    output += held_;
    output += 'm';
  } else if (byte == 'K' && (held_.size() == 2 || std::string_view(held_).substr(2) == "0")) {
    // Erases nothing where the cursor is at the end of the line, which is all that a log has.
  } else if ((is_digit(byte) || byte == ';' || byte == ':') && held_.size() + 1 < kMaxSgrBytes) {
    hold(State::csi, byte);
    return true;
  } else {
    show_held(output);
    return false;
  }
  held_.clear();
  state_ = State::ground;
  return true;
}

bool LogFilter::step_osc_number(unsigned char byte, std::string& output) {
  if (is_digit(byte) && held_.size() < kMaxOscNumberBytes) {
    hold(State::osc_number, byte);
    return true;
  }
  if (is_dropped_osc(held_)) {
    held_.clear();
    dropped_bytes_ = 0;
    state_ = State::dropped;
  } else {
    show_held(output);
  }
  return false;
}

bool LogFilter::step_dropped(unsigned char byte) {
  if (byte == kEscape) {
    state_ = State::dropped_escape;
    return true;
  }
  if (byte == '\r' || byte == '\n') {
    state_ = State::ground;
    return false;
  }
  if (byte == kBell || byte == kCancel || byte == kSubstitute || ++dropped_bytes_ == kMaxDroppedBytes) {
    state_ = State::ground;
  }
  return true;
}

bool LogFilter::step_dropped_escape(unsigned char byte) {
  if (byte == '\\') {
    state_ = State::ground;
    return true;
  }
  hold(State::escape, kEscape);
  return false;
}

// A character that may pass, tab, CR and LF included; the only place that moves column_ on.
void LogFilter::put_plain(unsigned char byte, std::string& output) {
  if (options_.group_marks == GroupMarks::neutralise) {
    if (byte == '\n' || byte == '\r') {
      column_ = byte == '\n' ? Column::line_start : Column::after_cr;
    } else if (after_group_mark() && (byte == ' ' || byte == '\t')) {
      put_escaped(byte, output);
      return;
    } else if (column_ == Column::in_mark && byte == mark_ && mark_count_ < 3) {
      ++mark_count_;
    } else if (column_ == Column::line_start && is_mark(byte)) {
      column_ = Column::in_mark;
      mark_ = byte;
      mark_count_ = 1;
    } else {
      if (column_ == Column::after_cr && is_mark(byte)) output += ' ';
      column_ = Column::middle;
    }
  }
  output += static_cast<char>(byte);
}

void LogFilter::put_held_code_point(std::string& output) {
  const auto decoded = base::decode_utf8(held_);
  if (decoded.length == 0) {
    show_held(output);
    return;
  }
  const bool c1 = decoded.value < 0xA0;
  if (c1 || (after_group_mark() && is_unicode_blank(decoded.value))) {
    fmt::format_to(std::back_inserter(output), "\\u{{{:x}}}", decoded.value);
  } else {
    output += held_;
  }
  column_ = Column::middle;
  held_.clear();
  state_ = State::ground;
}

void LogFilter::put_escaped(unsigned char byte, std::string& output) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  output += "\\x";
  output += kDigits[byte >> 4];
  output += kDigits[byte & 15];
  column_ = Column::middle;
}

void LogFilter::hold(State state, unsigned char byte) {
  held_ += static_cast<char>(byte);
  state_ = state;
}

// The held bytes are no sequence that may pass: shown, and the ground state is back.
void LogFilter::show_held(std::string& output) {
  for (const char c : held_) {
    const auto byte = static_cast<unsigned char>(c);
    if (kPlain[byte]) {
      put_plain(byte, output);
    } else {
      put_escaped(byte, output);
    }
  }
  held_.clear();
  state_ = State::ground;
}

}  // namespace cleanroom::runner
