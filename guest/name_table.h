#pragma once
// NameTable: which names the job may look up, and the address each of them has inside the guest (design section 3).
// An address stands for its name until the VM ends, so what was looked up once can be dialled at any time later.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace cleanroom::guest {

// Host byte order. The first 256 addresses of the range are ours: 198.18.0.1 is the DNS server.
inline constexpr std::uint32_t kGuestAddress = 0xc6120001;  // 198.18.0.1
inline constexpr std::uint32_t kGuestNetwork = 0xc6120000;  // 198.18.0.0/15, RFC 2544: routed nowhere
inline constexpr int kGuestNetworkBits = 15;
inline constexpr std::uint32_t kFirstNameAddress = 0xc6120100;  // 198.18.1.0
inline constexpr std::size_t kMaxNames = 65'000;

class NameTable {
 public:
  // `patterns`: exact names and `*.suffix`, lower case. The suffix itself is not below itself. `*` is every name.
  void allow(const std::vector<std::string>& patterns);
  bool allows(std::string_view name) const;
  // The name's address, given now if it has none. nullopt: the table is full. The name must be allowed.
  std::optional<std::uint32_t> address_of(const std::string& name);
  // nullopt: that address was never given to a name.
  std::optional<std::string_view> name_of(std::uint32_t address) const;

 private:
  bool every_ = false;
  std::unordered_set<std::string> exact_;
  std::unordered_set<std::string> suffixes_;
  std::unordered_map<std::string, std::uint32_t> addresses_;
  std::vector<std::string> names_;  // names_[i] has kFirstNameAddress + i
};

std::string format_ipv4(std::uint32_t address);
// `10.1.2.3` or `10.1.2.0/24`; nullopt for anything else.
struct Ipv4Network {
  std::uint32_t address = 0;
  int bits = 32;
};
std::optional<Ipv4Network> parse_ipv4_network(std::string_view text);

}  // namespace cleanroom::guest
