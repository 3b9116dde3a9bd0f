#include "guest/loopback.h"

#include "src/base/os/fd.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cleanroom::guest {
namespace {

// One rtnetlink request (rtnetlink(7)) with its attributes, built in place.
class NetlinkRequest {
 public:
  template <class Body>
  NetlinkRequest(std::uint16_t type, const Body& body) {
    header_.nlmsg_type = type;
    header_.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    append(&body, sizeof body);
  }

  void attribute(std::uint16_t type, std::uint32_t value) {
    const rtattr head{static_cast<unsigned short>(RTA_LENGTH(sizeof value)), type};
    append(&head, sizeof head);
    append(&value, sizeof value);
  }

  base::Result<void> send() {
    base::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket) return base::fail(base::errno_error("open", "rtnetlink"));
    header_.nlmsg_len = static_cast<std::uint32_t>(size_);
    std::memcpy(bytes_.data(), &header_, sizeof header_);
    if (::send(socket.get(), bytes_.data(), size_, 0) < 0) return base::fail(base::errno_error("write", "rtnetlink"));
    std::array<char, 1024> answer;  // the kernel answers before send() returns
    const ssize_t n = ::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (n < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof(int))) return base::fail(base::errno_error("read", "rtnetlink"));
    int error = 0;
    std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof error);
    if (error != 0) return base::fail(base::errno_error("configure", "lo", -error));
    return {};
  }

 private:
  void append(const void* data, std::size_t size) {
    std::memcpy(bytes_.data() + size_, data, size);
    size_ += NLMSG_ALIGN(size);
  }
  nlmsghdr header_{};
  std::array<char, 256> bytes_{};
  std::size_t size_ = NLMSG_HDRLEN;
};

}  // namespace

base::Result<void> add_local_route(const Ipv4Network& network) {
  rtmsg route{};
  route.rtm_family = AF_INET;
  route.rtm_dst_len = static_cast<unsigned char>(network.bits);
  route.rtm_table = RT_TABLE_LOCAL;
  route.rtm_protocol = RTPROT_BOOT;
  route.rtm_scope = RT_SCOPE_HOST;
  route.rtm_type = RTN_LOCAL;
  NetlinkRequest request(RTM_NEWROUTE, route);
  if (network.bits > 0) request.attribute(RTA_DST, htonl(network.address));
  request.attribute(RTA_OIF, ::if_nametoindex("lo"));
  // Else the job's end would have the dialled address too, and what comes late for a closed connection would look like
  // an attempt to reach some port of that address.
  request.attribute(RTA_PREFSRC, htonl(kGuestAddress));
  return request.send();
}

base::Result<void> bring_up_loopback() {
  base::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::fail(base::errno_error("open", "an IPv4 socket"));
  ifreq interface {};
  std::strcpy(interface.ifr_name, "lo");
  interface.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &interface) != 0) return base::fail(base::errno_error("bring up", "lo"));

  ifaddrmsg address{};
  address.ifa_family = AF_INET;
  address.ifa_prefixlen = 32;
  address.ifa_scope = RT_SCOPE_UNIVERSE;  // AI_ADDRCONFIG of getaddrinfo(3) must count it as a real address
  address.ifa_index = ::if_nametoindex("lo");
  NetlinkRequest request(RTM_NEWADDR, address);
  request.attribute(IFA_LOCAL, htonl(kGuestAddress));
  request.attribute(IFA_ADDRESS, htonl(kGuestAddress));
  CR_TRY(request.send());
  return add_local_route({.address = kGuestNetwork, .bits = kGuestNetworkBits});
}

}  // namespace cleanroom::guest
