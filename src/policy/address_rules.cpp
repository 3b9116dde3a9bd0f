#include "src/policy/address_rules.h"

#include "src/base/os/check.h"

#include <array>
#include <vector>

namespace cleanroom::policy {
namespace {

struct SpecialRange {
  std::string_view cidr;
  std::string_view why;
};

// The order matters where ranges overlap: the telling name stands first.
constexpr std::array kIpv4Ranges{
    SpecialRange{"169.254.169.254/32", "metadata"},  // AWS, GCP, Azure, OpenStack, ...
    SpecialRange{"169.254.170.2/32", "metadata"},    // AWS ECS task credentials
    SpecialRange{"100.100.100.200/32", "metadata"},  // Alibaba Cloud
    SpecialRange{"168.63.129.16/32", "metadata"},    // Azure WireServer, inside a public range
    SpecialRange{"192.0.0.192/32", "metadata"},      // Oracle Cloud, classic
    SpecialRange{"0.0.0.0/8", "this-network"},
    SpecialRange{"10.0.0.0/8", "private"},
    SpecialRange{"100.64.0.0/10", "shared (CGNAT)"},
    SpecialRange{"127.0.0.0/8", "loopback"},
    SpecialRange{"169.254.0.0/16", "link-local"},
    SpecialRange{"172.16.0.0/12", "private"},
    SpecialRange{"192.0.0.0/24", "protocol assignments"},
    SpecialRange{"192.0.2.0/24", "documentation"},
    SpecialRange{"192.88.99.0/24", "6to4 relay"},
    SpecialRange{"192.168.0.0/16", "private"},
    SpecialRange{"198.18.0.0/15", "benchmarking"},
    SpecialRange{"198.51.100.0/24", "documentation"},
    SpecialRange{"203.0.113.0/24", "documentation"},
    SpecialRange{"224.0.0.0/4", "multicast"},
    SpecialRange{"240.0.0.0/4", "reserved"},
};

constexpr std::array kIpv6Ranges{
    SpecialRange{"fd00:ec2::254/128", "metadata"},  // AWS
    SpecialRange{"fd20:ce::254/128", "metadata"},   // GCP
    SpecialRange{"::/128", "unspecified"},
    SpecialRange{"::1/128", "loopback"},
    SpecialRange{"::/96", "IPv4-compatible"},
    SpecialRange{"fc00::/7", "private"},
    SpecialRange{"fe80::/10", "link-local"},
    SpecialRange{"fec0::/10", "site-local"},
    SpecialRange{"ff00::/8", "multicast"},
    SpecialRange{"2001::/32", "Teredo"},
    SpecialRange{"2001::/23", "protocol assignments"},
    SpecialRange{"2001:db8::/32", "documentation"},
    SpecialRange{"2002::/16", "6to4"},
    SpecialRange{"3fff::/20", "documentation"},
};

struct Range {
  model::Cidr cidr;
  std::string_view why;
};

template <class Table>
std::vector<Range> compile(const Table& table) {
  std::vector<Range> ranges;
  for (const auto& entry : table) {
    const auto cidr = model::Cidr::parse(entry.cidr);
    CR_CHECK(cidr.has_value(), "special range {}", entry.cidr);
    ranges.push_back({*cidr, entry.why});
  }
  return ranges;
}

const std::vector<Range>& ranges_of(const model::IpAddress& address) {
  static const auto ipv4 = compile(kIpv4Ranges);
  static const auto ipv6 = compile(kIpv6Ranges);
  return address.is_v4() ? ipv4 : ipv6;
}

bool overlap(const model::Cidr& a, const model::Cidr& b) {
  return a.contains(b.network()) || b.contains(a.network());
}

}  // namespace

std::optional<std::string_view> special_purpose(const model::IpAddress& address) {
  static const auto global_unicast = *model::Cidr::parse("2000::/3");
  static const auto nat64 = *model::Cidr::parse("64:ff9b::/96");
  for (const auto& range : ranges_of(address)) {
    if (range.cidr.contains(address)) return range.why;
  }
  // IPv6 is judged by what is known to be public: new special ranges are then refused from the day they appear.
  // NAT64's well-known prefix is how an IPv6-only host reaches public IPv4.
  if (!address.is_v4() && !global_unicast.contains(address) && !nat64.contains(address)) return "not global unicast";
  return std::nullopt;
}

std::optional<std::string_view> special_purpose_within(const model::Cidr& range) {
  static const auto global_unicast = *model::Cidr::parse("2000::/3");
  static const auto nat64 = *model::Cidr::parse("64:ff9b::/96");
  const auto& network = range.network();
  for (const auto& special : ranges_of(network)) {
    if (overlap(special.cidr, range)) return special.why;
  }
  if (network.is_v4()) return std::nullopt;
  const auto inner = network.embedded_v4();
  if (inner && range.length() == network.bits()) return special_purpose(*inner);
  if (overlap(nat64, range)) return "translates to IPv4";
  const bool global = global_unicast.length() <= range.length() && global_unicast.contains(network);
  return global ? std::nullopt : std::optional<std::string_view>("not global unicast");
}

}  // namespace cleanroom::policy
