#pragma once
// Moves bytes between a guest's stream and an upstream socket until both sides have ended. Half-close is kept, a slow
// reader holds its writer back, and nothing stays longer than the idle limits of limits.h.
#include "src/channel/h2_connection.h"
#include "src/egress/dialer.h"
#include "src/egress/http_request_guard.h"

#include <functional>
#include <string_view>
#include <vector>

namespace cleanroom::egress {

struct RelayLimits {
  std::chrono::milliseconds idle;
  std::chrono::milliseconds half_closed_idle;
  std::chrono::milliseconds flush;
};

struct RelayOptions {
  std::vector<std::byte> first_up;    // goes upstream before anything else
  HttpRequestGuard* guard = nullptr;  // the guest's bytes pass only as it lets them; outlives the call
  std::function<void()> on_refused;   // the guard has refused; may be empty without one
  RelayLimits limits;
};

struct RelayOutcome {
  std::uint64_t bytes_up = 0;    // written to upstream
  std::uint64_t bytes_down = 0;  // handed to the guest's stream
  std::string_view end;          // "closed", "idle", "reset" (either side), "refused" (the guard)
};

// When the guard refuses the first request the guest gets a 400; refusing a later one ends the connection.
base::Awaitable<RelayOutcome> relay(channel::H2Stream stream, TcpSocket socket, RelayOptions options);

}  // namespace cleanroom::egress
