#include "guest/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr int kDatagramsPerTurn = 64;
constexpr std::size_t kMaxClients = 16;
constexpr std::chrono::milliseconds kClientTime{5000};

bool is_localhost(std::string_view name) {
  return name == "localhost" || name.ends_with(".localhost");  // RFC 6761 section 6.3
}

base::Result<base::Fd> bound_socket(int type) {
  base::Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (socket) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(53);
  address.sin_addr.s_addr = htonl(kGuestAddress);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::fail(base::errno_error("listen on", "198.18.0.1:53"));
  }
  return socket;
}

}  // namespace

std::vector<std::byte> answer_dns(const DnsQuestion& question, NameTable& names, Denials& denials) {
  if (!question.is_standard_query) return encode_dns_answer(question, DnsCode::not_implemented, std::nullopt);
  const bool wants_address = question.type == kDnsTypeA;
  if (is_localhost(question.name)) {
    return encode_dns_answer(question, DnsCode::ok,
                             wants_address ? std::optional<std::uint32_t>(INADDR_LOOPBACK) : std::nullopt);
  }
  if (question.name.empty() || !names.allows(question.name)) {
    // NXDOMAIN and not REFUSED: musl takes no notice of the latter and asks again until its time is up.
    // Who an address belongs to is asked by many programs on their own; only names tell what the job wanted.
    if (!question.name.empty() && question.type != kDnsTypePtr) denials.add(question.name, 0);
    return encode_dns_answer(question, DnsCode::no_such_name, std::nullopt);
  }
  if (!wants_address) return encode_dns_answer(question, DnsCode::ok, std::nullopt);
  const auto address = names.address_of(question.name);
  return encode_dns_answer(question, address ? DnsCode::ok : DnsCode::server_failure, address);
}

// A TCP client: two bytes of length in front of each message (RFC 1035 section 4.2.2).
struct DnsServer::Client {
  base::Fd fd;
  std::vector<std::byte> in;
  Loop::TimerId timer = 0;
};

DnsServer::DnsServer(Loop& loop, NameTable& names, Denials& denials) : loop_(loop), names_(names), denials_(denials) {}

base::Result<std::unique_ptr<DnsServer>> DnsServer::create(Loop& loop, NameTable& names, Denials& denials) {
  std::unique_ptr<DnsServer> server(new DnsServer(loop, names, denials));
  CR_TRY(server->open());
  return server;
}

base::Result<void> DnsServer::open() {
  CR_ASSIGN(datagrams_, bound_socket(SOCK_DGRAM));
  CR_ASSIGN(listener_, bound_socket(SOCK_STREAM));
  if (::listen(listener_.get(), kMaxClients) != 0) return base::fail(base::errno_error("listen on", "198.18.0.1:53"));
  loop_.watch(datagrams_.get(), EPOLLIN, [this](std::uint32_t) { on_datagram(); });
  loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { on_connection(); });
  return {};
}

DnsServer::~DnsServer() {
  while (!clients_.empty())
    drop_client(clients_.begin()->first);
  if (datagrams_) loop_.forget(datagrams_.get());
  if (listener_) loop_.forget(listener_.get());
}

void DnsServer::on_datagram() {
  std::array<std::byte, kMaxDnsMessage + 1> buffer;
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    sockaddr_in from{};
    socklen_t from_size = sizeof from;
    const ssize_t n =
        ::recvfrom(datagrams_.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (n < 0) return;
    const auto question = parse_dns_question(std::span(buffer).first(static_cast<std::size_t>(n)));
    if (!question) continue;
    const auto answer = answer_dns(*question, names_, denials_);
    // Lost like any datagram when there is no room: the client asks again.
    if (::sendto(datagrams_.get(), answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&from),
                 from_size) < 0) {
      continue;
    }
  }
}

void DnsServer::on_connection() {
  base::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd || clients_.size() >= kMaxClients) return;
  const int number = fd.get();
  auto client = std::make_unique<Client>();
  client->fd = std::move(fd);
  client->timer = loop_.after(kClientTime, [this, number] { drop_client(number); });
  clients_.emplace(number, std::move(client));
  loop_.watch(number, EPOLLIN, [this, number](std::uint32_t) { on_client(number); });
}

void DnsServer::on_client(int fd) {
  Client& client = *clients_.at(fd);
  std::array<std::byte, kMaxDnsMessage + 2> buffer;
  const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return drop_client(fd);
  client.in.insert(client.in.end(), buffer.begin(), buffer.begin() + n);
  while (client.in.size() >= 2) {
    const auto size = std::to_integer<std::size_t>(client.in[0]) << 8 | std::to_integer<std::size_t>(client.in[1]);
    if (size > kMaxDnsMessage) return drop_client(fd);
    if (client.in.size() < size + 2) return;
    const auto question = parse_dns_question(std::span(client.in).subspan(2, size));
    if (!question) return drop_client(fd);
    auto answer = answer_dns(*question, names_, denials_);
    const std::array head{static_cast<std::byte>(answer.size() >> 8), static_cast<std::byte>(answer.size() & 255)};
    answer.insert(answer.begin(), head.begin(), head.end());
    // A client that does not read its answers has no use for them.
    if (::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(answer.size())) {
      return drop_client(fd);
    }
    client.in.erase(client.in.begin(), client.in.begin() + static_cast<std::ptrdiff_t>(size + 2));
  }
}

void DnsServer::drop_client(int fd) {
  const auto found = clients_.find(fd);
  if (found == clients_.end()) return;
  loop_.cancel(found->second->timer);
  loop_.forget(fd);
  clients_.erase(found);
}

}  // namespace cleanroom::guest
