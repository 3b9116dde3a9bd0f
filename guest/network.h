#pragma once
// Network: the guest's way out. Takes the job's TCP connections to the addresses that stand for allowed names, and
// carries each one as `CONNECT name:port` on the network stream. The host judges every one of them; this side only
// makes sure that ordinary programs find what they expect: refused = reset, half-close kept, back-pressure both ways.
#include "guest/denials.h"
#include "guest/dns_server.h"
#include "guest/h2_link.h"
#include "guest/name_table.h"
#include "guest/steering.h"
#include "src/channel/handshake.h"

#include <map>
#include <memory>

namespace cleanroom::guest {

inline constexpr std::size_t kMaxConnections = 512;

class Network final : private channel::H2Session::Handler {
 public:
  // Before READY: interface, DNS, listener, steering; all that no job can change.
  static base::Result<std::unique_ptr<Network>> create(Loop& loop);
  ~Network() override;

  // After START. `port` is the network stream; `on_lost` as of H2Link.
  base::Result<void> start(base::Fd port, const channel::GuestNetwork& rules, std::function<void(std::string)> on_lost);

 private:
  struct Connection;

  explicit Network(Loop& loop);
  base::Result<void> open();
  base::Result<base::Fd> listen_on(std::uint32_t address, std::uint16_t port);
  base::Result<void> listen_on_wildcards(const channel::GuestNetwork& rules);
  void on_refusals();
  void on_accept(int listener);
  void report_denials();

  void on_local(Connection& connection, std::uint32_t events);
  void read_local(Connection& connection);
  void write_local(Connection& connection);
  void settle(Connection& connection);
  void abort(Connection& connection);
  Connection* find(channel::StreamId stream);

  void on_headers(channel::StreamId stream, channel::Headers headers, channel::EndStream end) override;
  void on_data(channel::StreamId stream, std::span<const std::byte> bytes) override;
  void on_end(channel::StreamId stream) override;
  void on_closed(channel::StreamId stream, std::uint32_t error_code) override;
  void on_writable(channel::StreamId stream) override;

  Loop& loop_;
  NameTable names_;
  Denials denials_;
  std::unique_ptr<DnsServer> dns_;
  std::vector<base::Fd> listeners_;
  std::unique_ptr<Steering> steering_;
  std::unique_ptr<H2Link> link_;
  std::map<int, std::unique_ptr<Connection>> connections_;  // by local descriptor
  std::map<channel::StreamId, Connection*> by_stream_;
};

}  // namespace cleanroom::guest
