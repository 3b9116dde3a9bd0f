#pragma once
// Name to addresses, once per connection, on the host. Called only after policy has allowed the name.
#include "src/base/async/asio.h"
#include "src/base/async/run_blocking.h"
#include "src/model/host_name.h"

#include <memory>
#include <optional>
#include <vector>

namespace cleanroom::egress {

class Resolver {
 public:
  virtual ~Resolver() = default;
  // At least one address, in the order to try. Errors: not_found (no such name, no address), timeout, unavailable.
  virtual base::Awaitable<base::Result<std::vector<model::IpAddress>>> resolve(model::HostName name,
                                                                               base::Deadline deadline) = 0;
};

// getaddrinfo(3) on threads of its own: /etc/hosts, nsswitch and VPN resolvers count as they do for every program of
// this host. Search domains do not: the name that policy allowed is the name asked for. Asks for both families whatever
// addresses this host has.
class SystemResolver : public Resolver {
 public:
  struct Options {
    std::size_t threads = 8;
    // Instead of those in /etc/resolv.conf.
    struct Server {
      model::IpAddress address;
      std::uint16_t port = 53;
    };
    std::optional<Server> server;  // IPv4
  };
  SystemResolver() : SystemResolver(Options()) {}
  explicit SystemResolver(const Options& options) : options_(options), pool_(options.threads) {}
  // Joins the threads, which may take as long as one look-up: some seconds. Destroy it before the io_context.
  ~SystemResolver() override = default;

  base::Awaitable<base::Result<std::vector<model::IpAddress>>> resolve(model::HostName name,
                                                                       base::Deadline deadline) override;

 private:
  Options options_;
  base::BlockingPool pool_;
};

// The addresses of this host's interfaces.
std::vector<model::IpAddress> own_addresses();

}  // namespace cleanroom::egress
