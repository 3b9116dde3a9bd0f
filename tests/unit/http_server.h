#pragma once
// A small HTTP/1.1 server for tests, on 127.0.0.1 or a Unix socket. What it answers is the test's: whole answers, parts
// of them, or nothing at all.
#include "src/base/os/fd.h"

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace cleanroom::testing {

struct HttpAsked {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  int connection = 0;  // counted from 1

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

class HttpPeer {
 public:
  explicit HttpPeer(int fd) : fd_(fd) {}
  bool send(std::string_view bytes) const;  // false: the client is gone
  void wait_until_gone() const;             // or until the server ends
  void reset_at_close() const;              // the client sees a reset

 private:
  int fd_;
};

// A whole answer; `headers` are lines that end with \r\n.
std::string http_answer(int status, std::string_view body = {}, std::string_view headers = {});

class HttpServer {
 public:
  // False: the connection is closed. Called by several threads, one for each connection.
  using Handler = std::function<bool(const HttpAsked&, const HttpPeer&)>;
  explicit HttpServer(Handler handler, const std::filesystem::path& unix_socket = {});
  ~HttpServer();

  std::string authority() const;  // host:port
  std::string url() const { return "http://" + authority(); }
  std::vector<HttpAsked> asked() const;
  void wait_for_asked(std::size_t count) const;

 private:
  void accept_all();
  void serve(int fd, int number);

  const Handler handler_;
  base::Fd listener_;
  int port_ = 0;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<HttpAsked> asked_;
  std::list<base::Fd> connections_;
  std::vector<std::thread> threads_;
  bool ending_ = false;
  std::thread acceptor_;
};

}  // namespace cleanroom::testing
