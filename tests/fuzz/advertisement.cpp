// F2 of git. However an upstream's advertisement arrives, AdvertisementFilter gives out the same bytes; and git, which
// reads each line up to its NUL and cuts words at any white space, finds in them neither bundle-uri nor packfile-uris.
#include "src/git_gateway/advertisement_filter.h"
#include "src/git_gateway/pkt_line.h"
#include "tests/fuzz/support.h"

#include <tuple>

using namespace cleanroom;
using git_gateway::AdvertisementFilter;

namespace {

struct Outcome {
  std::string out;
  bool failed = false;
  bool whole = false;
  bool is_v2 = false;
  bool operator==(const Outcome& other) const {
    return std::tie(out, failed, whole, is_v2) == std::tie(other.out, other.failed, other.whole, other.is_v2);
  }
};

Outcome run(std::string_view input, fuzz::Cut cut) {
  AdvertisementFilter filter;
  Outcome outcome;
  fuzz::feed_in_pieces(input, cut, [&](std::string_view piece) {
    outcome.failed = !filter.feed(piece, outcome.out);
    return !outcome.failed;
  });
  outcome.whole = !outcome.failed && filter.finish().has_value();
  outcome.is_v2 = filter.is_v2();
  return outcome;
}

bool is_git_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// As git's parse_feature_value(): the word at the start or after white space, and then white space, `=` or the end.
bool git_finds_word(std::string_view text, std::string_view word) {
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    if (at > 0 && !is_git_space(text[at - 1])) continue;
    const auto end = at + word.size();
    if (end == text.size() || text[end] == '=' || is_git_space(text[end])) return true;
  }
  return false;
}

// Whether `name`, alone or with a value, is what this line announces.
bool git_finds_capability(std::string_view line, std::string_view name) {
  return line.starts_with(name) && (line.size() == name.size() || line[name.size()] == '=');
}

void check_as_git_reads(std::string_view out) {
  enum class At { start, header, version, capabilities } at = At::start;
  while (!out.empty()) {
    const auto packet = git_gateway::first_packet(out);
    if (!packet || !*packet) return;  // git ends here with an error
    out.remove_prefix((*packet)->size);
    const bool is_data = (*packet)->kind == git_gateway::Packet::Kind::data;
    auto line = git_gateway::packet_text(**packet);
    line = line.substr(0, line.find('\0'));
    if (at == At::header) {  // git skips lines until an empty one, or a flush
      if (!is_data || line.empty()) at = At::version;
      continue;
    }
    if (!is_data) return;
    if (at == At::start && line.starts_with("# service=")) {
      at = At::header;
      continue;
    }
    if (at != At::capabilities) {
      if (line != "version 2") return;
      at = At::capabilities;
      continue;
    }
    FUZZ_CHECK(!git_finds_capability(line, "bundle-uri"));
    if (line.starts_with("fetch=")) FUZZ_CHECK(!git_finds_word(line.substr(6), "packfile-uris"));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::as_text(data, size);
  const auto whole = run(input, fuzz::Cut::nowhere);
  for (const auto cut : {fuzz::Cut::everywhere, fuzz::Cut::somewhere})
    FUZZ_CHECK(run(input, cut) == whole);
  FUZZ_CHECK(whole.out.size() <= input.size());
  check_as_git_reads(whole.out);
  return 0;
}
