// F7. However a ClientHello arrives, ClientHelloReader gives the same verdict, name and ECH flag; what it keeps is a
// prefix of the input below its caps, and a name it reports is a canonical DNS name.
#include "src/egress/limits.h"
#include "src/egress/tls_client_hello.h"
#include "tests/fuzz/support.h"

#include <cstring>

using namespace cleanroom;
using egress::ClientHelloReader;

namespace {

ClientHelloReader read(std::string_view input, fuzz::Cut cut) {
  // The piece that decides may be a whole read of the relay long.
  constexpr std::size_t kMaxKept = 6 * egress::kMaxClientHelloBytes + egress::kRelayBuffer;
  ClientHelloReader reader;
  std::size_t fed = 0;
  fuzz::feed_in_pieces(input, cut, [&](std::string_view piece) {
    const auto before = reader.state();
    FUZZ_CHECK(before == ClientHelloReader::State::need_more);
    const auto state = reader.feed(fuzz::as_bytes(piece));
    fed += piece.size();
    FUZZ_CHECK(state == reader.state());
    return state == ClientHelloReader::State::need_more;
  });
  const auto& kept = reader.received();
  FUZZ_CHECK(kept.size() == fed && (cut == fuzz::Cut::nowhere || kept.size() <= kMaxKept));
  FUZZ_CHECK(kept.empty() || std::memcmp(kept.data(), input.data(), kept.size()) == 0);
  return reader;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input = fuzz::unroll(fuzz::as_text(data, size));
  const auto whole = read(input, fuzz::Cut::nowhere);
  for (const auto cut : fuzz::kCuts) {
    auto reader = read(input, cut);
    FUZZ_CHECK(reader.state() == whole.state());
    FUZZ_CHECK((reader.state() == ClientHelloReader::State::invalid) == !reader.problem().empty());
    if (reader.state() == ClientHelloReader::State::need_more) continue;
    // What follows the verdict changes nothing.
    reader.feed(fuzz::as_bytes("\x16\x03\x01"));
    FUZZ_CHECK(reader.state() == whole.state());
    if (reader.state() != ClientHelloReader::State::complete) continue;
    FUZZ_CHECK(reader.hello().server_name == whole.hello().server_name);
    FUZZ_CHECK(reader.hello().has_ech == whole.hello().has_ech);
  }
  if (whole.state() == ClientHelloReader::State::complete && whole.hello().server_name) {
    const auto& name = *whole.hello().server_name;
    FUZZ_CHECK(!name.is_ip() && model::HostName::parse_wire(name.text()) == name);
  }
  return 0;
}
