#include "src/runner/log_filter.h"

#include "src/base/os/io.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>

namespace cleanroom::runner {
namespace {

using namespace std::string_literals;

constexpr LogFilterOptions kNeutral{.group_marks = GroupMarks::neutralise};

// Feeds `input` in pieces of `piece` bytes; 0 = at once.
std::string filter(std::string_view input, LogFilterOptions options = {}, std::size_t piece = 0) {
  LogFilter filter(options);
  std::string output;
  while (piece != 0 && input.size() > piece) {
    filter.feed(base::as_bytes(input.substr(0, piece)), output);
    input.remove_prefix(piece);
  }
  filter.feed(base::as_bytes(input), output);
  filter.finish(output);
  return output;
}

struct Case {
  std::string input;
  std::string output;
};

const Case kCases[] = {
    {"plain\ttext\r\nnext\n", "plain\ttext\r\nnext\n"},
    {"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"},
    {"\x1b[38;2;1;2;3m\x1b[4:3mx\x1b[m", "\x1b[38;2;1;2;3m\x1b[4:3mx\x1b[m"},
    // Colours left on do not reach what we print next.
    {"\x1b[31mred", "\x1b[31mred\x1b[0m"},
    {"\x1b[38;5;0mx", "\x1b[38;5;0mx\x1b[0m"},
    // What gcc and grep write.
    {"\x1b[01;31m\x1b[Kerror:\x1b[m\x1b[K x", "\x1b[01;31merror:\x1b[m x"},
    {"50%\r\x1b[0K60%", "50%\r60%"},
    // CSI that moves, erases, reports, scrolls, sets modes, or only looks like SGR.
    {"\x1b[2Aover", "\\x1b[2Aover"},
    {"\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"},
    {"\x1b[1K\x1b[2K", "\\x1b[1K\\x1b[2K"},
    {"\x1b[6n\x1b[21t\x1b[?25l", "\\x1b[6n\\x1b[21t\\x1b[?25l"},
    {"\x1b[>4;1m\x1b[?1m", "\\x1b[>4;1m\\x1b[?1m"},
    {"\x1b[1 m\x1b[1!p", "\\x1b[1 m\\x1b[1!p"},
    {"\x1b[3\n1m", "\\x1b[3\n1m"},
    {"\x1b[3\x1b[1m", "\\x1b[3\x1b[1m\x1b[0m"},
    {"\x1b[" + std::string(kMaxSgrBytes, '1') + "m", "\\x1b[" + std::string(kMaxSgrBytes, '1') + "m"},
    // OSC: titles, clipboard, colours, notifications are shown; links, images, Buildkite's own are gone.
    {"\x1b]0;title\x07x", "\\x1b]0;title\\x07x"},
    {"\x1b]52;c;aGk=\x1b\\x", "\\x1b]52;c;aGk=\\x1b\\x"},
    {"\x1b]8;;http://evil/\x1b\\text\x1b]8;;\x1b\\.", "text."},
    {"\x1b]8;;http://evil/\x07text\x1b]8;;\x07.", "text."},
    {"a\x1b]1338;url=x;alt=y\x07"
     "b",
     "ab"},
    {"a\x1b]1339;url=x;content=y\x07"
     "b",
     "ab"},
    {"a\x1b]1337;File=n;inline=1:QUJD\x07"
     "b",
     "ab"},
    {"a\x1b]01339;url=x\x07"
     "b",
     "ab"},
    {"a\x1b]1339\x07"
     "b",
     "ab"},
    {"a\x1b]13390;x\x07", "a\\x1b]13390;x\\x07"},
    {"a\x1b]133;A\x07", "a\\x1b]133;A\\x07"},
    // APC and the other strings.
    {"a\x1b_bk;t=1700000000000\x07"
     "b",
     "ab"},
    {"a\x1b_bk;t=1\x1b\\b", "ab"},
    {"a\x1b_Gf=100;AAAA\x1b\\b", "ab"},
    {"a\x1b_bk;t=1\nb", "a\nb"},
    {"a\x1b_bk;t=1\x1b[31mb", "a\x1b[31mb\x1b[0m"},
    {"a\x1b_bk;t=1\x1b\x1b_q\x07"
     "b",
     "a\\x1bb"},
    {"a\x1b_bk\x18"
     "b\x1b_bk\x1a"
     "c",
     "abc"},
    {"\x1bP+q544e\x1b\\", "\\x1bP+q544e\\x1b\\"},
    {"\x1b^pm\x1b\\ \x1bXsos\x1b\\", "\\x1b^pm\\x1b\\ \\x1bXsos\\x1b\\"},
    // Other escapes and controls.
    {"\x1b"
     "c\x1b(0\x1b#8\x1b"
     "7\x1b=",
     "\\x1bc\\x1b(0\\x1b#8\\x1b7\\x1b="},
    {"a\x1b", "a\\x1b"},
    {"a\x1b[3", "a\\x1b[3"},
    {"a\x1b]13", "a\\x1b]13"},
    {"\x07\x08\x0b\x0c\x0e\x7f"s + '\0', "\\x07\\x08\\x0b\\x0c\\x0e\\x7f\\x00"},
    // 8-bit C1, raw and as UTF-8.
    {"\x9b"
     "31m\x9d"
     "0;t\x9c\x90\x9f",
     "\\x9b31m\\x9d0;t\\x9c\\x90\\x9f"},
    {"\xc2\x9b"
     "31m\xc2\x85\xc2\xa0",
     "\\u{9b}31m\\u{85}\xc2\xa0"},
    // UTF-8.
    {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbf", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbf"},
    {"\xc0\xaf\xc1\xbf", "\\xc0\\xaf\\xc1\\xbf"},
    {"\xe0\x80\x9b\xf0\x80\x80\x9b", "\\xe0\\x80\\x9b\\xf0\\x80\\x80\\x9b"},
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
    {"\xf4\x90\x80\x80\xf5\xff\xfe", "\\xf4\\x90\\x80\\x80\\xf5\\xff\\xfe"},
    {"\xe2\x82x\xc3\x1b[1mx", "\\xe2\\x82x\\xc3\x1b[1mx\x1b[0m"},
    {"\x80\xbf\xe2\x82", "\\x80\\xbf\\xe2\\x82"},
};

// The words of a hostile stream, put together at random.
std::string random_stream(std::mt19937& random) {
  static const std::string words[] = {
      "\x1b", "[",    "]",    "_",    "P",    "\\",           "\x07",     "31",       ";",      "m",   "K",
      "0",    "1339", "8",    "-",    "--- ", "+++",          "^^^ ",     "~",        "\r",     "\n",  " ",
      "\t",   "x",    "\x9b", "\xc2", "\x9f", "\xe2\x80\x83", "\xf0\x9f", "\x98\x80", "bk;t=1", "\x18"};
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += words[random() % std::size(words)];
  return text;
}

// What the rule in log_filter.h lets through, written as a check of the output alone.
bool is_harmless(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0x1b) {
      if (text.substr(i, 2) != "\x1b[") return false;
      const auto end = text.find_first_not_of("0123456789;:", i + 2);
      if (end == std::string_view::npos || text[end] != 'm') return false;
      i = end;
    } else if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f) {
      return false;
    } else if (c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return false;
    }
  }
  return true;
}

TEST_CASE("LOG-01 only SGR, tab, CR and LF pass, the rest is shown escaped or dropped") {
  for (const auto& [input, output] : kCases)
    CHECK(filter(input) == output);
}

TEST_CASE("LOG-02 every split of every sequence gives the same output") {
  for (const auto& [input, output] : kCases) {
    for (std::size_t cut = 0; cut <= input.size(); ++cut) {
      LogFilter split;
      std::string joined;
      split.feed(base::as_bytes(std::string_view(input).substr(0, cut)), joined);
      split.feed(base::as_bytes(std::string_view(input).substr(cut)), joined);
      split.finish(joined);
      CHECK(joined == output);
    }
    CHECK(filter(input, {}, 1) == output);
  }
}

TEST_CASE("LOG-02 random streams are harmless, and the same in pieces of any size") {
  std::mt19937 random(20261123);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_stream(random);
    for (const auto options : {LogFilterOptions{}, kNeutral}) {
      const std::string whole = filter(text, options);
      REQUIRE(is_harmless(whole));
      REQUIRE(filter(text, options, 1) == whole);
      REQUIRE(filter(text, options, 1 + random() % 7) == whole);
    }
  }
}

TEST_CASE("LOG-02 a string of 1 MB without an end does not swallow what comes later") {
  const std::string filler(1 << 20, 'a');
  for (const std::string opening : {"\x1b_bk;t=", "\x1b]1339;url=", "\x1b]0;", "\x1bP", "\x1b[", "\x1b]"}) {
    CAPTURE(opening);
    const std::string same_line = filter("before" + opening + filler + "SAME LINE");
    CHECK(same_line.starts_with("before"));
    CHECK(same_line.ends_with("SAME LINE"));
    CHECK(same_line.size() >= filler.size() - kMaxDroppedBytes);
    CHECK(filter(opening + "hidden\nNEXT LINE\n").ends_with("\nNEXT LINE\n"));
    CHECK(filter("before" + opening + filler + "SAME LINE", {}, 1000) == same_line);
  }
}

TEST_CASE("LOG-03 forged group marks are neutralised by option, timestamps and images always") {
  const Case cases[] = {
      {"--- title\n+++ t\n~~~ t\n^^^ +++\n", "---\\x20title\n+++\\x20t\n~~~\\x20t\n^^^\\x20+++\n"},
      {"---\ttitle", "---\\x09title"},
      {"---\xc2\xa0title", "---\\u{a0}title"},
      {"---\n---\r\n", "---\n---\r\n"},
      {"---- a\n-- b\n - c\n-+- d\n--+ e\nx--- f\n", "---- a\n-- b\n - c\n-+- d\n--+ e\nx--- f\n"},
      {"x\r\n--- title", "x\r\n---\\x20title"},
      {"x\r--- title", "x\r --- title"},
      {"xxx title\r-\x1b[m--", "xxx title\r -\x1b[m--"},
      {"\x1b[1m-\x1b[31m-\x1b[m- title", "\x1b[1m-\x1b[31m-\x1b[m-\\x20title"},
      {"\x1b_bk;t=1\x07-\x1b]8;;\x07-- title", "---\\x20title"},
      {"\x1b[K--- title", "---\\x20title"},
      {"\x07--- not at the start", "\\x07--- not at the start"},
      {"\xc3\xa9\n+++ t", "\xc3\xa9\n+++\\x20t"},
  };
  for (const auto& [input, output] : cases) {
    CHECK(filter(input, kNeutral) == output);
    CHECK(filter(input, kNeutral, 1) == output);
  }
  CHECK(filter("--- title\n^^^ +++\n") == "--- title\n^^^ +++\n");
}

TEST_CASE("LOG-06 output grows at most fourfold and stdout and stderr do not touch each other") {
  const std::string worst(100'000, '\x01');
  CHECK(filter(worst).size() == 4 * worst.size());
  LogFilter out, err;
  std::string out_text, err_text;
  out.feed(base::as_bytes("\x1b[3"), out_text);
  err.feed(base::as_bytes("1m plain"), err_text);
  out.feed(base::as_bytes("1mred"), out_text);
  CHECK(out_text == "\x1b[31mred");
  CHECK(err_text == "1m plain");
}

TEST_CASE("a line of 64 MB passes without being held") {
  LogFilter filter;
  const std::string piece(1 << 20, 'x');
  std::string output;
  for (int i = 0; i < 64; ++i) {
    output.clear();
    filter.feed(base::as_bytes(piece), output);
    REQUIRE(output.size() == piece.size());
  }
}

}  // namespace
}  // namespace cleanroom::runner
