#include "src/egress/resolver.h"

#include "src/base/async/event.h"
#include "src/egress/limits.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <resolv.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::egress {
namespace {

using base::Code;
using Addresses = std::vector<model::IpAddress>;

// Each round waits twice as long as the one before, so a name whose servers are silent takes about 3 seconds a server.
constexpr int kRetransmitSeconds = 1;
constexpr int kRounds = 2;

std::optional<model::IpAddress> to_address(const sockaddr* socket_address) {
  if (socket_address == nullptr) return std::nullopt;
  if (socket_address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, socket_address, sizeof v4);
    return model::IpAddress::v4(ntohl(v4.sin_addr.s_addr));
  }
  if (socket_address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, socket_address, sizeof v6);
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return model::IpAddress::v6(bytes);
  }
  return std::nullopt;
}

// The resolver state is per thread. Set before each look-up: resolv.conf may have changed meanwhile. RES_NORELOAD,
// because glibc, when it reads that file by itself, takes its options for ours, search domains among them; that is from
// a thread's second look-up on.
void set_up_thread(const SystemResolver::Options& options) {
  res_init();
  _res.options &= ~static_cast<unsigned long>(RES_DNSRCH | RES_DEFNAMES);
  _res.options |= RES_NORELOAD;
  _res.retrans = kRetransmitSeconds;
  _res.retry = kRounds;
  if (!options.server) return;
  _res.nscount = 1;
  auto& server = _res.nsaddr_list[0];
  server = {};
  server.sin_family = AF_INET;
  server.sin_port = htons(options.server->port);
  std::memcpy(&server.sin_addr, options.server->address.bytes().data(), 4);
}

base::Result<Addresses> look_up(const model::HostName& name, const SystemResolver::Options& options) {
  set_up_thread(options);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int rc = ::getaddrinfo(name.text().c_str(), nullptr, &hints, &list);
  if (rc != 0) {
    const bool absent = rc == EAI_NONAME || rc == EAI_NODATA;
    return base::fail(absent ? Code::not_found : Code::unavailable, "resolve_failed",
                      fmt::format("cannot resolve '{}': {}", name.text(), ::gai_strerror(rc)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, ::freeaddrinfo);
  Addresses addresses;
  for (const auto* entry = list; entry != nullptr && addresses.size() < kMaxAddresses; entry = entry->ai_next) {
    const auto address = to_address(entry->ai_addr);
    if (address && std::find(addresses.begin(), addresses.end(), *address) == addresses.end())
      addresses.push_back(*address);
  }
  if (addresses.empty())
    return base::fail(Code::not_found, "resolve_failed", fmt::format("cannot resolve '{}': no address", name.text()));
  return addresses;
}

struct LookUp {
  explicit LookUp(const base::asio::any_io_executor& executor) : changed(executor) {}
  std::optional<base::Result<Addresses>> outcome;
  base::Event changed;
};

}  // namespace

base::Awaitable<base::Result<Addresses>> SystemResolver::resolve(model::HostName name, base::Deadline deadline) {
  const auto executor = co_await base::asio::this_coro::executor;
  // getaddrinfo cannot be interrupted: the waiter may leave at its deadline, the thread finishes alone.
  const auto shared = std::make_shared<LookUp>(executor);
  base::asio::post(pool_.pool(), [shared, executor, name, options = options_,
                                  guard = base::asio::make_work_guard(executor)]() mutable {
    auto outcome = look_up(name, options);
    base::asio::post(executor, [shared, outcome = std::move(outcome)]() mutable {
      shared->outcome = std::move(outcome);
      shared->changed.notify_all();
    });
  });
  while (!shared->outcome) {
    if (co_await shared->changed.wait_until(deadline) || shared->outcome) continue;
    co_return base::fail(Code::timeout, "resolve_failed",
                         fmt::format("cannot resolve '{}': no answer within the time limit", name.text()));
  }
  co_return std::move(*shared->outcome);
}

Addresses own_addresses() {
  Addresses addresses;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return addresses;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(list, ::freeifaddrs);
  for (const auto* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (const auto address = to_address(entry->ifa_addr)) addresses.push_back(*address);
  }
  return addresses;
}

}  // namespace cleanroom::egress
