#pragma once
// LogFilter: turns what a job wrote into what may stand in a job log or go to something that is not a terminal.
//
// A log is read by people, by terminals (`cat log`) and by a CI server that knows escape sequences of its own, and the
// job must not speak to any of them. The rule is a list of what passes; all else becomes visible text:
//   passes    UTF-8, tab, CR, LF, and SGR (ESC [ parameters m; digits, ';' and ':' only, at most kMaxSgrBytes long)
//   dropped   APC strings (`ESC _bk;t=...` would forge the server's timestamps), OSC 8 and 1337 to 1339 (links and
//             inline images), and `ESC [ K`, `ESC [ 0 K`, which gcc and grep write after each SGR and which do nothing
//             at the end of a line
//   escaped   everything else, byte for byte: `\x1b]0;title\x07`, `\x1b[2A`, `\x08`, `\x9b`, `\u{9b}` (C1 written in
//             UTF-8), bytes that are not UTF-8 (overlong and surrogates too)
// Nothing is hidden by escaping: only the introducer is rewritten, what follows is text again. A dropped string ends at
// BEL, ST, any other ESC, CAN, SUB, CR, LF, or after kMaxDroppedBytes, so one that never ends swallows at most that.
//
// Streaming: the output does not depend on how the input is cut. State is a few dozen bytes. One instance a stream.
// Bidirectional marks pass: they are text, and a log is not source code.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace cleanroom::runner {

// Buildkite folds a log at lines that begin with `--- `, `+++ `, `~~~ ` or `^^^ +++`.
enum class GroupMarks {
  keep,
  // The blank after the mark is escaped (`---\x20title`), and a line rewritten after CR that begins with one of the
  // marks' characters gets a blank before it.
  neutralise,
};

struct LogFilterOptions {
  GroupMarks group_marks = GroupMarks::keep;
};

inline constexpr std::size_t kMaxSgrBytes = 128;
inline constexpr std::size_t kMaxDroppedBytes = 4096;

class LogFilter {
 public:
  explicit LogFilter(LogFilterOptions options = {}) : options_(options) {}

  // Appends to `output`: at most 4 bytes for each byte of `input`, and kMaxSgrBytes + 16. Never blocks or fails.
  void feed(std::span<const std::byte> input, std::string& output);
  // The end of the stream: an unfinished sequence is shown escaped, and colours left on are switched off.
  void finish(std::string& output);

 private:
  enum class State : std::uint8_t { ground, utf8, escape, csi, osc_number, dropped, dropped_escape };
  // Where the next character stands, for group marks.
  enum class Column : std::uint8_t { line_start, after_cr, in_mark, middle };

  // Each takes one byte; false = the byte is still to be judged, in the state set meanwhile.
  bool step(unsigned char byte, std::string& output);
  bool step_ground(unsigned char byte, std::string& output);
  bool step_utf8(unsigned char byte, std::string& output);
  bool step_escape(unsigned char byte, std::string& output);
  bool step_csi(unsigned char byte, std::string& output);
  bool step_osc_number(unsigned char byte, std::string& output);
  bool step_dropped(unsigned char byte);
  bool step_dropped_escape(unsigned char byte);

  std::size_t plain_run(std::span<const std::byte> input) const;
  void put_plain(unsigned char byte, std::string& output);
  void put_held_code_point(std::string& output);
  void put_escaped(unsigned char byte, std::string& output);
  bool after_group_mark() const { return column_ == Column::in_mark && mark_count_ == 3; }
  void hold(State state, unsigned char byte);
  void show_held(std::string& output);

  LogFilterOptions options_;
  State state_ = State::ground;
  Column column_ = Column::line_start;
  unsigned char mark_ = 0;        // in_mark: the character,
  unsigned char mark_count_ = 0;  // and how many stand there (1 to 3)
  bool styled_ = false;           // the last SGR was not a reset
  unsigned char utf8_length_ = 0;
  std::size_t dropped_bytes_ = 0;
  std::string held_;  // the unfinished sequence; at most kMaxSgrBytes
};

}  // namespace cleanroom::runner
