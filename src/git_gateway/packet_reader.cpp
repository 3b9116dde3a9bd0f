#include "src/git_gateway/packet_reader.h"

#include "src/base/os/io.h"

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Result;

Awaitable<Result<Packet>> PacketReader::next() {
  for (;;) {
    const auto unread = std::span<const std::byte>(buffer_).subspan(begin_, end_ - begin_);
    CR_CO_ASSIGN(const auto packet, first_packet(base::as_text(unread)));
    if (packet) {
      begin_ += packet->size;
      co_return *packet;
    }
    // A packet is at most half of the buffer, so there is room once what is left is at its start.
    if (buffer_.size() - end_ < kMaxPktBytes) {
      std::copy(unread.begin(), unread.end(), buffer_.begin());
      end_ -= begin_;
      begin_ = 0;
    }
    CR_CO_ASSIGN(const auto n, co_await upstream_.read_body(std::span(buffer_).subspan(end_)));
    if (n == 0) co_return base::fail(Code::unavailable, "upstream_invalid", "upstream's answer is cut short");
    end_ += n;
  }
}

Awaitable<Result<void>> PacketReader::expect_end() {
  if (begin_ == end_) {
    CR_CO_ASSIGN(const auto n, co_await upstream_.read_body(std::span(buffer_)));
    if (n == 0) co_return Result<void>{};
  }
  co_return base::fail(Code::unavailable, "upstream_invalid", "upstream sends more than it should");
}

}  // namespace cleanroom::git_gateway
