#pragma once
// The part of DNS (RFC 1035) that a resolver stub needs from its server: one question in, one answer out. Nothing is
// forwarded anywhere. Queries come from the job and are hostile: everything that is not one plain question is
// malformed. Names with bytes other than letters, digits, '-', '_' and dots are not host names and come back empty.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::guest {

inline constexpr std::uint16_t kDnsTypeA = 1;
inline constexpr std::uint16_t kDnsTypePtr = 12;
inline constexpr std::size_t kMaxDnsMessage = 1232;  // more than any question needs

enum class DnsCode : std::uint8_t { ok = 0, malformed = 1, server_failure = 2, no_such_name = 3, not_implemented = 4 };

struct DnsQuestion {
  std::uint16_t id = 0;
  bool recursion_desired = false;
  bool is_standard_query = true;  // opcode 0, class IN
  std::string name;               // lower case, no final dot; empty when it is no host name
  std::uint16_t type = 0;
  std::vector<std::byte> wire;  // the question as it came, letter case included, to be echoed
};

// nullopt: not a query with exactly one question; the sender gets no answer (an answer to an answer is a loop).
std::optional<DnsQuestion> parse_dns_question(std::span<const std::byte> message);
// `address` (host byte order) makes one A record.
std::vector<std::byte> encode_dns_answer(const DnsQuestion& question, DnsCode code,
                                         std::optional<std::uint32_t> address);

}  // namespace cleanroom::guest
