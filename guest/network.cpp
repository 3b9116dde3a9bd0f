#include "guest/network.h"

#include "guest/loopback.h"
#include "src/base/os/io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr std::uint16_t kListenerPort = 1;  // on 198.18.0.1; connections are steered to it, nobody dials it
constexpr int kAcceptsPerTurn = 32;
constexpr std::size_t kConnectionReadSize = 32 * 1024;
// The job may open kMaxConnections: what they can pile up in our memory is bounded by this.
constexpr channel::H2Limits kNetworkLimits{.send_buffer = 64 * 1024};

}  // namespace

// Bytes wait in `up` (local -> host) or `down` (host -> local) only while the other side has no room; then their
// source is not read.
struct Network::Connection {
  base::Fd fd;
  channel::StreamId stream = 0;  // 0 once it is closed
  bool is_open = false;          // the host said 2xx
  bool local_ended = false;
  bool remote_ended = false;
  bool told_local = false;  // our FIN is sent
  std::vector<std::byte> up;
  std::vector<std::byte> down;
};

Network::Network(Loop& loop) : loop_(loop) {}

base::Result<std::unique_ptr<Network>> Network::create(Loop& loop) {
  std::unique_ptr<Network> network(new Network(loop));
  CR_TRY(network->open());
  return network;
}

base::Result<void> Network::open() {
  CR_TRY(bring_up_loopback());
  CR_ASSIGN(dns_, DnsServer::create(loop_, names_, denials_));
  CR_ASSIGN(auto listener, listen_on(kGuestAddress, kListenerPort));
  auto steering = Steering::create(listener);
  if (!steering) return {};  // a kernel without BPF: start() listens on wildcards instead
  steering_ = std::move(*steering);
  loop_.watch(steering_->refusals().get(), EPOLLIN, [this](std::uint32_t) { on_refusals(); });
  const int number = listener.get();
  loop_.watch(number, EPOLLIN, [this, number](std::uint32_t) { on_accept(number); });
  listeners_.push_back(std::move(listener));
  return {};
}

Network::~Network() {
  while (!connections_.empty())
    abort(*connections_.begin()->second);
  for (const auto& listener : listeners_)
    loop_.forget(listener.get());
  if (steering_) loop_.forget(steering_->refusals().get());
}

base::Result<base::Fd> Network::listen_on(std::uint32_t address, std::uint16_t port) {
  base::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (socket) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(address);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    return base::fail(base::errno_error("listen on", fmt::format("{}:{}", format_ipv4(address), port)));
  }
  return socket;
}

base::Result<void> Network::listen_on_wildcards(const channel::GuestNetwork& rules) {
  for (const auto port : rules.ports) {
    if (port == channel::kEveryPort) continue;  // one listener for each is more than a guest has room for
    CR_ASSIGN(auto listener, listen_on(INADDR_ANY, port));
    const int number = listener.get();
    loop_.watch(number, EPOLLIN, [this, number](std::uint32_t) { on_accept(number); });
    listeners_.push_back(std::move(listener));
  }
  return {};
}

base::Result<void> Network::start(base::Fd port, const channel::GuestNetwork& rules,
                                  std::function<void(std::string)> on_lost) {
  names_.allow(rules.names);
  for (const auto& text : rules.addresses) {
    const auto network = parse_ipv4_network(text);
    if (!network) {
      return base::fail(base::Code::invalid_input, fmt::format("cannot route to '{}': not an IPv4 network", text));
    }
    CR_TRY(add_local_route(*network));
    if (steering_) CR_TRY(steering_->add_network(*network));
  }
  if (steering_) {
    for (const auto allowed : rules.ports)
      CR_TRY(steering_->add_port(allowed));
  } else {
    CR_TRY(listen_on_wildcards(rules));
  }
  loop_.after_each_turn([this] { report_denials(); });  // before the link's own: it sends what this writes
  channel::H2Session::Handler& handler = *this;
  link_ = std::make_unique<H2Link>(loop_, std::move(port), channel::Role::client, kNetworkLimits, handler,
                                   std::move(on_lost));
  return {};
}

void Network::on_refusals() {
  steering_->drain_refusals([this](std::uint32_t address, std::uint16_t port) {
    const auto name = names_.name_of(address);
    denials_.add(name ? *name : format_ipv4(address), port);
  });
}

void Network::report_denials() {
  for (std::string report; link_ && !(report = denials_.take_report()).empty();) {
    const auto stream = link_->session().submit_request(
        {{":method", "POST"}, {":scheme", "http"}, {":authority", "host"}, {":path", "/v1/report"}},
        channel::EndStream::no);
    if (!stream) return;  // the link is going down
    link_->session().write(*stream, base::as_bytes(report));
    link_->session().finish(*stream);
  }
}

void Network::on_accept(int listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    auto connection = std::make_unique<Connection>();
    connection->fd = base::Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection->fd) return;
    const int fd = connection->fd.get();
    Connection& held = *connection;
    connections_.emplace(fd, std::move(connection));
    loop_.watch(fd, 0, [this, &held](std::uint32_t events) { on_local(held, events); });

    sockaddr_in dialled{};
    socklen_t size = sizeof dialled;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&dialled), &size);
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::uint32_t address = ntohl(dialled.sin_addr.s_addr);
    const auto name = names_.name_of(address);
    // Addresses of the range that no name has, and 127.x on a wildcard listener, lead nowhere.
    const bool is_ours = (address >> (32 - kGuestNetworkBits)) == kGuestNetwork >> (32 - kGuestNetworkBits);
    const bool leads_nowhere = !name && (is_ours || address >> 24 == 127);
    if (!link_ || leads_nowhere || connections_.size() > kMaxConnections) {
      abort(held);
      continue;
    }
    const std::string target =
        fmt::format("{}:{}", name ? std::string(*name) : format_ipv4(address), ntohs(dialled.sin_port));
    const auto stream =
        link_->session().submit_request({{":method", "CONNECT"}, {":authority", target}}, channel::EndStream::no);
    if (!stream) {
      abort(held);
      continue;
    }
    held.stream = *stream;
    by_stream_.emplace(*stream, &held);
  }
}

Network::Connection* Network::find(channel::StreamId stream) {
  const auto found = by_stream_.find(stream);
  return found == by_stream_.end() ? nullptr : found->second;
}

// Ends it at once: the local side sees a reset.
void Network::abort(Connection& connection) {
  const linger at_once{1, 0};
  ::setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (connection.stream != 0) {
    by_stream_.erase(connection.stream);
    link_->session().reset(connection.stream, channel::kCancel);
  }
  loop_.forget(connection.fd.get());
  connections_.erase(connection.fd.get());
}

void Network::on_local(Connection& connection, std::uint32_t events) {
  if ((events & EPOLLERR) != 0) return abort(connection);
  if ((events & (EPOLLIN | EPOLLHUP)) != 0 && !connection.local_ended && connection.up.empty()) read_local(connection);
  if ((events & EPOLLOUT) != 0) write_local(connection);
  settle(connection);
}

void Network::read_local(Connection& connection) {
  static std::byte buffer[kConnectionReadSize];
  const ssize_t n = ::recv(connection.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    // An error shows as EPOLLERR next; either way there is nothing more to carry up.
    connection.local_ended = true;
    if (connection.stream != 0) link_->session().finish(connection.stream);
    return;
  }
  const std::span<const std::byte> bytes(buffer, static_cast<std::size_t>(n));
  if (connection.stream == 0) return;  // the host ended both ways already: nobody wants them
  const std::size_t taken = link_->session().write(connection.stream, bytes);
  connection.up.assign(bytes.begin() + static_cast<std::ptrdiff_t>(taken), bytes.end());
}

void Network::write_local(Connection& connection) {
  if (connection.down.empty()) return;
  const ssize_t n = ::send(connection.fd.get(), connection.down.data(), connection.down.size(), MSG_NOSIGNAL);
  if (n <= 0) return;  // full, or broken: EPOLLERR tells
  connection.down.erase(connection.down.begin(), connection.down.begin() + n);
  if (connection.stream != 0) link_->session().consumed(connection.stream, static_cast<std::size_t>(n));
}

// Brings what is waited for in line with the state, and ends what is over. May destroy the connection.
void Network::settle(Connection& connection) {
  if (connection.remote_ended && connection.down.empty() && !connection.told_local) {
    connection.told_local = true;
    ::shutdown(connection.fd.get(), SHUT_WR);
  }
  const bool is_over = connection.stream == 0 && connection.down.empty();
  if (is_over) {
    loop_.forget(connection.fd.get());
    connections_.erase(connection.fd.get());
    return;
  }
  const bool reads = connection.is_open && !connection.local_ended && connection.up.empty() && connection.stream != 0;
  loop_.change(connection.fd.get(),
               (reads ? std::uint32_t{EPOLLIN} : 0U) | (connection.down.empty() ? 0U : std::uint32_t{EPOLLOUT}));
}

void Network::on_headers(channel::StreamId stream, channel::Headers headers, channel::EndStream end) {
  Connection* connection = find(stream);
  if (connection == nullptr) return;  // the answer to a report
  const std::string* status = channel::find_header(headers, ":status");
  if (status == nullptr || !status->starts_with('2')) return abort(*connection);
  connection->is_open = true;
  connection->remote_ended = end == channel::EndStream::yes;
  settle(*connection);
}

void Network::on_data(channel::StreamId stream, std::span<const std::byte> bytes) {
  Connection* connection = find(stream);
  if (connection == nullptr) return link_->session().consumed(stream, bytes.size());
  connection->down.insert(connection->down.end(), bytes.begin(), bytes.end());
  write_local(*connection);
  settle(*connection);
}

void Network::on_end(channel::StreamId stream) {
  Connection* connection = find(stream);
  if (connection == nullptr) return;
  connection->remote_ended = true;
  settle(*connection);
}

void Network::on_closed(channel::StreamId stream, std::uint32_t error_code) {
  Connection* connection = find(stream);
  if (connection == nullptr) return;
  by_stream_.erase(stream);
  connection->stream = 0;
  if (error_code != channel::kNoError) return abort(*connection);
  settle(*connection);
}

void Network::on_writable(channel::StreamId stream) {
  Connection* connection = find(stream);
  if (connection == nullptr || connection->up.empty()) return;
  const std::size_t taken = link_->session().write(stream, connection->up);
  connection->up.erase(connection->up.begin(), connection->up.begin() + static_cast<std::ptrdiff_t>(taken));
  settle(*connection);
}

}  // namespace cleanroom::guest
