// bench_egress upstream | proxy SOCKET PORT | client ROUTE UPSTREAM_PORT CONNECTIONS SECONDS bytes|connections |
// verdicts RULES
#include "bench/driver/driver.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

int main(int argc, char** argv) {
  using namespace cleanroom::bench;
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto number = [&](std::size_t index) { return std::strtoul(words[index].c_str(), nullptr, 10); };
  const std::string_view mode = words.empty() ? "" : words[0];
  if (mode == "upstream" && words.size() == 1) return run_upstream();
  if (mode == "proxy" && words.size() == 3) return run_proxy(words[1], static_cast<std::uint16_t>(number(2)));
  if (mode == "verdicts" && words.size() == 2) return run_verdicts(number(1));
  if (mode == "client" && words.size() == 6)
    return run_client({.route = words[1],
                       .upstream_port = static_cast<std::uint16_t>(number(2)),
                       .connections = number(3),
                       .duration = std::chrono::seconds(number(4)),
                       .new_connections = words[5] == "connections"});
  std::fputs("usage: see the head of bench/driver/main.cpp\n", stderr);
  return 64;
}
