// F2. However a client's bytes arrive, HttpRequestGuard lets the same ones through: a prefix of what it was fed, in
// which a parser that is not ours (Beast's) finds the same number of requests, each for the one allowed host.
#include "src/egress/http_request_guard.h"
#include "src/egress/limits.h"
#include "src/gateway/http_message.h"
#include "tests/fuzz/support.h"

#include <cstring>

using namespace cleanroom;
using egress::HttpRequestGuard;

namespace {

struct Outcome {
  HttpRequestGuard::State state{};
  std::string forwarded;
  std::uint64_t requests = 0;
  std::string refused_host;
};

const model::HostName& allowed_host() {
  static const auto host = model::HostName::parse("a.test").value();
  return host;
}

// `switched`: what the server answers to an upgrade; it answers when all that the client sends has arrived.
Outcome run(std::string_view input, fuzz::Cut cut, bool switched) {
  HttpRequestGuard guard(allowed_host(), 80);
  std::vector<std::byte> forwarded;
  fuzz::feed_in_pieces(input, cut, [&](std::string_view piece) {
    guard.feed(fuzz::as_bytes(piece), forwarded);
    return guard.state() != HttpRequestGuard::State::refused;
  });
  if (guard.state() == HttpRequestGuard::State::upgrade_asked) guard.upgrade_answered(switched, forwarded);
  FUZZ_CHECK((guard.state() == HttpRequestGuard::State::refused) == !guard.problem().empty());
  return {.state = guard.state(),
          .forwarded = std::string(reinterpret_cast<const char*>(forwarded.data()), forwarded.size()),
          .requests = guard.requests(),
          .refused_host = guard.refused_host()};
}

// The heads that Beast finds in `text`, each checked; stops where Beast refuses, as a server would.
std::uint64_t count_requests(std::string_view text) {
  gateway::MessageReader reader(gateway::MessageKind::request);
  std::vector<std::byte> body(4096);
  std::uint64_t heads = 0;
  bool in_body = false;
  for (;;) {
    const auto room = reader.prepare();
    const auto size = std::min(room.size(), text.size());
    std::memcpy(room.data(), text.data(), size);
    reader.commit(size);
    text.remove_prefix(size);
    if (!in_body) {
      const auto whole = reader.read_head();
      if (!whole) return heads;
      if (!*whole && text.empty()) return heads;
      if (!*whole) continue;
      const auto host = reader.head().field("host");
      FUZZ_CHECK(host);
      FUZZ_CHECK(model::HostName::parse_wire(host->substr(0, host->rfind(':'))) == allowed_host());
      ++heads;
      in_body = true;
    }
    const auto got = reader.read_body(body);
    if (!got) return heads;
    if (*got == 0 && reader.is_done()) {
      reader.next();
      in_body = false;
    } else if (*got == 0 && text.empty()) {
      return heads;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input = fuzz::unroll(fuzz::as_text(data, size));
  for (const bool switched : {false, true}) {
    const auto whole = run(input, fuzz::Cut::nowhere, switched);
    FUZZ_CHECK(input.starts_with(whole.forwarded));
    for (const auto cut : {fuzz::Cut::everywhere, fuzz::Cut::somewhere}) {
      const auto pieces = run(input, cut, switched);
      FUZZ_CHECK(pieces.state == whole.state);
      FUZZ_CHECK(pieces.forwarded == whole.forwarded);
      FUZZ_CHECK(pieces.requests == whole.requests);
      FUZZ_CHECK(pieces.refused_host == whole.refused_host);
    }
    if (whole.state != HttpRequestGuard::State::opaque) FUZZ_CHECK(count_requests(whole.forwarded) <= whole.requests);
  }
  return 0;
}
