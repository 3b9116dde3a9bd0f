#pragma once
// UpstreamConnection: the gateway's HTTP/1.1 client on one TLS connection to one origin. Judged and dialled as every
// tunnel is: name first, one resolution, each address, then exactly one of those.
//
// A request is written by us from a list of fields; what a server answers is parsed strictly and handed on as values.
// Not shared: each guest connection has its own, so what one sends no other can be answered with.
#include "src/egress/dialer.h"
#include "src/egress/limits.h"
#include "src/egress/pacer.h"
#include "src/egress/resolver.h"
#include "src/gateway/http_message.h"
#include "src/gateway/origin.h"
#include "src/policy/network_rules.h"

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <functional>

namespace cleanroom::gateway {

// What every connection of a gateway needs. Outlives them.
struct UpstreamContext {
  policy::NetworkRules rules;  // of the gateway: the hosts it may reach, and the policy's deny rules
  egress::Resolver& resolver;
  egress::Dialer& dialer;
  boost::asio::ssl::context tls;
  std::function<std::vector<model::IpAddress>()> own_addresses = egress::own_addresses;
  // What holds for tunnels holds for the connections that requests in a tunnel cause.
  egress::Pacer new_connections{egress::kNewConnectionsPerSecond, egress::kNewConnectionsBurst};
  egress::DistinctNames wildcard_names{egress::kMaxNewWildcardNamesPerMinute, egress::kMaxKnownWildcardNames};
};

struct UpstreamRequest {
  std::string method;
  std::string target;
  std::vector<Field> fields;                    // without Host and framing
  std::optional<std::uint64_t> content_length;  // of the body
  bool chunked = false;                         // a body of unknown length
  // Not among the fields, so that nothing that shows fields can show them. The values outlive the call.
  std::vector<std::pair<std::string, std::string_view>> secret_fields;
};

class UpstreamConnection {
 public:
  // Reasons: host_not_allowed and the like, ip_denied, resolve_failed, connect_failed, upstream_untrusted.
  static base::Awaitable<base::Result<std::unique_ptr<UpstreamConnection>>> open(UpstreamContext& context,
                                                                                 Origin origin);
  ~UpstreamConnection();

  const Origin& origin() const { return origin_; }
  const model::IpAddress& address() const { return address_; }

  base::Awaitable<base::Result<void>> send(const UpstreamRequest& request);
  base::Awaitable<base::Result<void>> send_body(std::span<const std::byte> bytes);
  base::Awaitable<base::Result<void>> finish_body();
  // Skips 1xx answers. upstream_invalid, timeout, unavailable.
  base::Awaitable<base::Result<MessageHead>> read_head();
  // 0 at the end. An answer cut short is an error.
  base::Awaitable<base::Result<std::size_t>> read_body(std::span<std::byte> into);
  // The answer was read whole and nothing is left over: another request may follow.
  bool is_reusable();

 private:
  using Stream = boost::asio::ssl::stream<egress::TcpSocket>;
  UpstreamConnection(Stream stream, Origin origin, model::IpAddress address);
  base::Awaitable<base::Result<void>> write(std::span<const std::byte> bytes);
  base::Awaitable<base::Result<bool>> read_more(base::Deadline deadline);
  base::Error broken(std::string_view attempt, const base::ErrorCode& ec) const;

  Stream stream_;
  Origin origin_;
  model::IpAddress address_;
  MessageReader reader_;
  bool chunked_ = false;
  bool used_ = false;
  bool spoiled_ = false;
};

// Upstream's answer as one text of at most `limit` bytes; gateway_limit when it is larger.
base::Awaitable<base::Result<std::string>> read_whole_body(UpstreamConnection& connection, std::size_t limit);

}  // namespace cleanroom::gateway
