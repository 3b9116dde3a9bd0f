#pragma once
// TCP connections to addresses that have been judged, and to nothing else: no name reaches this file.
#include "src/base/async/asio.h"
#include "src/model/ip_address.h"

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <vector>

namespace cleanroom::egress {

using TcpSocket = base::asio::ip::tcp::socket;

class Dialer {
 public:
  virtual ~Dialer() = default;
  // Errors: timeout, unavailable and what connect(2) says. Cancellation closes the attempt.
  virtual base::Awaitable<base::Result<TcpSocket>> connect(model::IpAddress address, std::uint16_t port,
                                                           base::Deadline deadline) = 0;
};

class SystemDialer : public Dialer {
 public:
  base::Awaitable<base::Result<TcpSocket>> connect(model::IpAddress address, std::uint16_t port,
                                                   base::Deadline deadline) override;
};

struct Dialed {
  TcpSocket socket;
  model::IpAddress address;
};

// The first of `addresses` (not empty) that answers. RFC 8305: families alternate in the order given, the next attempt
// joins after kConnectStagger or as soon as one fails; when one has connected the others are closed. `dialer` must
// outlive the io_context's handlers. Error: that of the last attempt, with reason `connect_failed`.
base::Awaitable<base::Result<Dialed>> dial_first(Dialer& dialer, std::vector<model::IpAddress> addresses,
                                                 std::uint16_t port, base::Deadline deadline);

// The order in which dial_first() tries.
std::vector<model::IpAddress> alternate_families(const std::vector<model::IpAddress>& addresses);

}  // namespace cleanroom::egress
