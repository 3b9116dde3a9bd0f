// F1. The handshake's records, the messages and FrameDecoder take any bytes: what is accepted encodes to bytes that
// decode to the same, frames come out the same however they arrive, and no output is invented or lost. The first byte
// of the input chooses which of them reads it.
#include "src/channel/handshake.h"
#include "src/channel/messages.h"
#include "tests/fuzz/support.h"

#include <algorithm>

using namespace cleanroom;
using namespace cleanroom::channel;

namespace {

using Bytes = std::span<const std::byte>;

void read_ready(Bytes input) {
  std::array<std::byte, kReadySize> record{};
  std::copy_n(input.begin(), std::min(input.size(), record.size()), record.begin());
  const auto ready = decode_ready(record);
  if (!ready) return;
  const auto again = decode_ready(encode(*ready));
  FUZZ_CHECK(again && again->agent_version == ready->agent_version);
}

void read_start(Bytes input) {
  const auto start = decode_start_body(input);
  if (!start) return;
  const auto encoded = encode(*start);
  FUZZ_CHECK(encoded.size() == kStartHeadSize + input.size());
  FUZZ_CHECK(std::equal(input.begin(), input.end(), encoded.begin() + kStartHeadSize));
  const auto size = decode_start_head(Bytes(encoded).first<kStartHeadSize>());
  FUZZ_CHECK(size && *size == input.size());
}

void read_exec(Bytes input) {
  const auto request = decode_exec_request(input);
  if (!request) return;
  const auto encoded = encode(*request);
  constexpr std::size_t kLengthPrefix = 4;
  FUZZ_CHECK(encoded.size() == kLengthPrefix + input.size());
  FUZZ_CHECK(std::equal(input.begin(), input.end(), encoded.begin() + kLengthPrefix));
}

void read_target(Bytes input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const auto target = parse_target(text);
  if (target) {
    for (const auto& [name, value] : target->query)
      FUZZ_CHECK(percent_decode(percent_encode(value)) == value && target->value(name));
  }
  FUZZ_CHECK(percent_decode(percent_encode(text)) == text);
}

struct Collector final : FrameDecoder::Sink {
  void on_output(FrameType type, Bytes bytes) override {
    FUZZ_CHECK(!bytes.empty() && !ended);
    auto& into = type == FrameType::standard_output ? out : err;
    into.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void on_exited(const Exited& value) override {
    end();
    last = encode(value);
  }
  void on_failed(const ExecFailed& value) override {
    end();
    last = encode(value);
  }
  void end() {
    FUZZ_CHECK(!ended);
    ended = true;
  }
  std::string out;
  std::string err;
  std::vector<std::byte> last;
  bool ended = false;
  bool refused = false;
};

Collector decode(std::string_view input, fuzz::Cut cut) {
  Collector sink;
  FrameDecoder decoder(sink);
  fuzz::feed_in_pieces(input, cut, [&](std::string_view piece) {
    sink.refused = !decoder.feed(fuzz::as_bytes(piece));
    return !sink.refused;
  });
  FUZZ_CHECK(decoder.is_complete() == sink.ended);
  FUZZ_CHECK(sink.out.size() + sink.err.size() <= input.size());
  return sink;
}

void read_frames(std::string_view input) {
  const auto whole = decode(input, fuzz::Cut::nowhere);
  for (const auto cut : {fuzz::Cut::everywhere, fuzz::Cut::somewhere}) {
    const auto pieces = decode(input, cut);
    FUZZ_CHECK(pieces.out == whole.out && pieces.err == whole.err && pieces.last == whole.last);
    FUZZ_CHECK(pieces.ended == whole.ended && pieces.refused == whole.refused);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto text = fuzz::as_text(data + 1, size - 1);
  const auto bytes = fuzz::as_bytes(text);
  switch (data[0] % 5) {
    case 0:
      read_ready(bytes);
      break;
    case 1:
      read_start(bytes);
      break;
    case 2:
      read_exec(bytes);
      break;
    case 3:
      read_target(bytes);
      break;
    default:
      read_frames(text);
      break;
  }
  return 0;
}
