#pragma once
// PacketReader: the body of an answer of upstream's, packet by packet.
#include "src/gateway/upstream.h"
#include "src/git_gateway/pkt_line.h"

namespace cleanroom::git_gateway {

class PacketReader {
 public:
  explicit PacketReader(gateway::UpstreamConnection& upstream) : upstream_(upstream) {}
  // Its payload is valid until the next call. upstream_invalid: the body ended, or is no pkt-line.
  base::Awaitable<base::Result<Packet>> next();
  // upstream_invalid when there is more.
  base::Awaitable<base::Result<void>> expect_end();

 private:
  gateway::UpstreamConnection& upstream_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(2 * kMaxPktBytes);
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace cleanroom::git_gateway
