#include "src/channel/handshake.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::channel;

namespace {

StartRecord sample() {
  StartRecord start;
  start.nonce.fill(std::byte{7});
  start.entropy.fill(std::byte{9});
  start.wall_clock_ns = 1'700'000'000'123'456'789;
  start.hostname = "job-1";
  start.mounts = {{.slot = 2, .path = "/workspace"}, {.slot = 3, .path = "/cache", .read_only = 1}};
  start.network = {.names = {"example.com", "*.ok.test"}, .ports = {80, 443}, .addresses = {"10.0.0.0/8"}};
  return start;
}

std::span<const std::byte, kStartHeadSize> head_of(const std::vector<std::byte>& bytes) {
  return std::span(bytes).first<kStartHeadSize>();
}

}  // namespace

TEST_CASE("READY survives the wire and is told from anything else") {
  const auto bytes = encode(ReadyRecord{.agent_version = "1.2.3"});
  CHECK(decode_ready(bytes).value().agent_version == "1.2.3");
  for (std::size_t at = 0; at < 10; ++at) {  // magic and version
    auto changed = bytes;
    changed[at] ^= std::byte{1};
    CHECK_FALSE(decode_ready(changed));
  }
  auto long_text = bytes;
  long_text[10] = std::byte{0xff};
  CHECK_FALSE(decode_ready(long_text));
}

TEST_CASE("START survives the wire") {
  const auto bytes = encode(sample());
  CHECK(decode_start_head(head_of(bytes)).value() == bytes.size() - kStartHeadSize);
  const auto start = decode_start_body(std::span(bytes).subspan(kStartHeadSize));
  REQUIRE(start);
  CHECK(start->wall_clock_ns == sample().wall_clock_ns);
  CHECK(start->mounts.at(1).path == "/cache");
  CHECK(start->mounts.at(1).read_only == 1);
  CHECK(start->network.names == sample().network.names);
  CHECK(start->network.ports == sample().network.ports);
  CHECK(start->network.addresses == sample().network.addresses);
}

TEST_CASE("RLY-01 RLY-02 START: every truncation, trailing bytes, lengths beyond the limit") {
  auto bytes = encode(sample());
  const auto body = std::span<const std::byte>(bytes).subspan(kStartHeadSize);
  for (std::size_t size = 0; size < body.size(); ++size)
    CHECK_FALSE(decode_start_body(body.first(size)));
  auto longer = std::vector(body.begin(), body.end());
  longer.push_back(std::byte{0});
  CHECK_FALSE(decode_start_body(longer));
  auto head = bytes;
  head[8] = std::byte{0xff};
  CHECK_FALSE(decode_start_head(head_of(head)));
  head = bytes;
  head[0] ^= std::byte{1};
  CHECK_FALSE(decode_start_head(head_of(head)));
}
