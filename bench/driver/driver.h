#pragma once
// The parts of bench/egress that are programs of their own, so that the processor time of each can be told apart.
#include "src/base/async/asio.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace cleanroom::bench {

// What a client writes first: the upstream then sends without end, or one byte and the end.
inline constexpr char kStream = 's';
inline constexpr char kOnce = '1';

// Serves until killed; each prints `ready PORT` (or `ready`) once it listens.
int run_upstream();
// An EgressServer for each connection to the Unix socket `path`; one rule allows 127.0.0.1:port.
int run_proxy(const std::string& path, std::uint16_t port);

struct ClientOptions {
  std::string route;  // "tcp PORT" is spelled tcp:PORT; http:PROXY_PORT (CONNECT over HTTP/1.1); h2:SOCKET_PATH
  std::uint16_t upstream_port = 0;
  std::size_t connections = 1;
  std::chrono::seconds duration{3};
  bool new_connections = false;  // count connections instead of bytes
};
// Prints `PER_SECOND FAILED`, counted after half a second of warming up.
int run_client(const ClientOptions& options);

// Prints nanoseconds a verdict with `rules` rules.
int run_verdicts(std::size_t rules);

}  // namespace cleanroom::bench
