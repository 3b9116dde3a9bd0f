// F5. What inet_aton(3) or getaddrinfo(3) reads as an address is the same address to HostName, or it is refused; a
// name that HostName accepts is an address to neither. The canonical text of a host parses to itself.
#include "src/model/host_name.h"

#include "tests/fuzz/support.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>

using namespace cleanroom;
using model::HostName;
using model::IpAddress;

namespace {

std::optional<IpAddress> by_inet_aton(const std::string& text) {
  in_addr address{};
  if (::inet_aton(text.c_str(), &address) == 0) return std::nullopt;
  return IpAddress::v4(ntohl(address.s_addr));
}

std::optional<IpAddress> by_getaddrinfo(const std::string& text) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (::getaddrinfo(text.c_str(), nullptr, &hints, &raw) != 0) return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(raw, &::freeaddrinfo);
  if (found->ai_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, found->ai_addr, sizeof address);
    return IpAddress::v4(ntohl(address.sin_addr.s_addr));
  }
  sockaddr_in6 address{};
  std::memcpy(&address, found->ai_addr, sizeof address);
  return IpAddress::v6(std::to_array(address.sin6_addr.s6_addr));
}

void check_canonical(const HostName& host) {
  for (const auto& again : {HostName::parse(host.text()), HostName::parse_wire(host.text())})
    FUZZ_CHECK(again && *again == host && again->is_ip() == host.is_ip());
  for (const auto& seen : {by_inet_aton(host.text()), by_getaddrinfo(host.text())})
    FUZZ_CHECK(host.is_ip() ? !seen || *seen == host.ip() : !seen);
  FUZZ_CHECK(!host.is_below(host));
  if (host.is_ip()) return;
  FUZZ_CHECK(host.text().size() <= model::kMaxNameBytes);
  for (const char c : host.text())
    FUZZ_CHECK((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::as_text(data, size));
  const auto host = HostName::parse(text);
  const auto wire = HostName::parse_wire(text);
  FUZZ_CHECK(!wire || (host && *wire == *host));
  if (!host) return 0;
  check_canonical(*host);
  // The C functions see a text up to its NUL only, and no accepted text has one.
  FUZZ_CHECK(text.find('\0') == std::string::npos);
  for (const auto& seen : {by_inet_aton(text), by_getaddrinfo(text)})
    FUZZ_CHECK(!seen || (host->is_ip() && host->ip() == *seen));
  return 0;
}
