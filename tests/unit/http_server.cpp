#include "tests/unit/http_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace cleanroom::testing {
namespace {

// The next request of a connection; false at its end.
bool receive(int fd, std::string& buffer, HttpAsked& asked) {
  const auto more = [&] {
    char part[4096];
    const ssize_t n = ::recv(fd, part, sizeof part, 0);
    if (n > 0) buffer.append(part, static_cast<std::size_t>(n));
    return n > 0;
  };
  std::size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (buffer.size() > 1 << 20 || !more()) return false;
  }
  std::string head = buffer.substr(0, end + 2);
  buffer.erase(0, end + 4);
  const std::string line = head.substr(0, head.find("\r\n"));
  asked.method = line.substr(0, line.find(' '));
  asked.target = line.substr(asked.method.size() + 1, line.rfind(' ') - asked.method.size() - 1);
  for (std::size_t at = line.size() + 2; at < head.size();) {
    const std::size_t stop = head.find("\r\n", at);
    const std::size_t colon = head.find(": ", at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    asked.headers[name] = head.substr(colon + 2, stop - colon - 2);
    at = stop + 2;
  }
  const std::size_t size = std::strtoul(asked.header("content-length").c_str(), nullptr, 10);
  while (buffer.size() < size) {
    if (!more()) return false;
  }
  asked.body = buffer.substr(0, size);
  buffer.erase(0, size);
  return true;
}

}  // namespace

bool HttpPeer::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void HttpPeer::wait_until_gone() const {
  pollfd gone{.fd = fd_, .events = POLLRDHUP, .revents = 0};
  ::poll(&gone, 1, 100'000);
}

void HttpPeer::reset_at_close() const {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

std::string http_answer(int status, std::string_view body, std::string_view headers) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " Some Reason\r\n";
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text.append(headers).append("\r\n").append(body);
  return text;
}

HttpServer::HttpServer(Handler handler, const std::filesystem::path& unix_socket) : handler_(std::move(handler)) {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
    ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe): before any other thread
  if (unix_socket.empty()) {
    listener_ = base::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  } else {
    listener_ = base::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(unix_socket.native().size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, unix_socket.c_str(), unix_socket.native().size());
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  REQUIRE(::listen(listener_.get(), 64) == 0);
  acceptor_ = std::thread([this] { accept_all(); });
}

HttpServer::~HttpServer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    for (const base::Fd& connection : connections_)
      ::shutdown(connection.get(), SHUT_RDWR);
  }
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_)
    thread.join();
}

std::string HttpServer::authority() const {
  return "127.0.0.1:" + std::to_string(port_);
}

std::vector<HttpAsked> HttpServer::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}

void HttpServer::wait_for_asked(std::size_t count) const {
  std::unique_lock lock(mutex_);
  REQUIRE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return asked_.size() >= count; }));
}

void HttpServer::accept_all() {
  for (int number = 1;; ++number) {
    base::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) return;
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    const int fd = connection.get();
    connections_.push_back(std::move(connection));
    threads_.emplace_back([this, fd, number] { serve(fd, number); });
  }
}

void HttpServer::serve(int fd, int number) {
  std::string buffer;
  const HttpPeer peer(fd);
  for (bool keep = true; keep;) {
    HttpAsked asked;
    asked.connection = number;
    if (!receive(fd, buffer, asked)) break;
    {
      const std::lock_guard lock(mutex_);
      asked_.push_back(asked);
    }
    changed_.notify_all();
    keep = handler_(asked, peer);
  }
  const std::lock_guard lock(mutex_);
  connections_.remove_if([fd](const base::Fd& connection) { return connection.get() == fd; });
}

}  // namespace cleanroom::testing
