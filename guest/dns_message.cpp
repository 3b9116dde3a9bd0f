#include "guest/dns_message.h"

#include "src/base/os/ascii.h"
#include "src/channel/wire.h"

namespace cleanroom::guest {
namespace {

constexpr std::size_t kHeader = 12;
constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxName = 255;
constexpr std::uint16_t kClassIn = 1;
constexpr std::uint32_t kTtlSeconds = 300;  // an address is stable for the life of the VM

constexpr std::uint16_t kFlagResponse = 0x8000;
constexpr std::uint16_t kFlagAuthoritative = 0x0400;
constexpr std::uint16_t kFlagRecursionDesired = 0x0100;
constexpr std::uint16_t kFlagRecursionAvailable = 0x0080;
constexpr std::uint16_t kOpcodeMask = 0x7800;

std::uint16_t u16_at(std::span<const std::byte> bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[offset]) << 8 |
                                    std::to_integer<unsigned>(bytes[offset + 1]));
}

bool is_host_character(char c) {
  return base::is_ascii_lower(c) || base::is_ascii_digit(c) || c == '-' || c == '_';
}

// Reads the name at `offset` and moves past it. A question stands first, so it has no business with compression.
std::optional<std::string> read_name(std::span<const std::byte> message, std::size_t& offset) {
  std::string name;
  bool is_host_name = true;
  const std::size_t start = offset;
  for (;;) {
    if (offset >= message.size()) return std::nullopt;
    const auto size = std::to_integer<std::size_t>(message[offset++]);
    if (size == 0) break;
    if (size > kMaxLabel || size > message.size() - offset || offset + size - start > kMaxName) return std::nullopt;
    if (!name.empty()) name += '.';
    for (std::size_t i = 0; i < size; ++i) {
      const char c = base::ascii_lower(static_cast<char>(std::to_integer<unsigned char>(message[offset + i])));
      is_host_name = is_host_name && is_host_character(c);
      name += c;
    }
    offset += size;
  }
  return is_host_name ? name : std::string();
}

}  // namespace

std::optional<DnsQuestion> parse_dns_question(std::span<const std::byte> message) {
  if (message.size() < kHeader || message.size() > kMaxDnsMessage) return std::nullopt;
  const std::uint16_t flags = u16_at(message, 2);
  if ((flags & kFlagResponse) != 0 || u16_at(message, 4) != 1) return std::nullopt;
  DnsQuestion question;
  question.id = u16_at(message, 0);
  question.recursion_desired = (flags & kFlagRecursionDesired) != 0;
  std::size_t offset = kHeader;
  auto name = read_name(message, offset);
  if (!name || message.size() - offset < 4) return std::nullopt;
  question.name = std::move(*name);
  question.type = u16_at(message, offset);
  question.is_standard_query = (flags & kOpcodeMask) == 0 && u16_at(message, offset + 2) == kClassIn;
  const auto wire = message.subspan(kHeader, offset + 4 - kHeader);
  question.wire.assign(wire.begin(), wire.end());
  return question;
}

std::vector<std::byte> encode_dns_answer(const DnsQuestion& question, DnsCode code,
                                         std::optional<std::uint32_t> address) {
  channel::FieldWriter writer;
  writer.u16(question.id);
  writer.u16(static_cast<std::uint16_t>(kFlagResponse | kFlagAuthoritative | kFlagRecursionAvailable |
                                        (question.recursion_desired ? kFlagRecursionDesired : 0) |
                                        static_cast<std::uint16_t>(code)));
  writer.u16(1);
  writer.u16(address ? 1 : 0);
  writer.u32(0);  // no authority, no additional records
  writer.raw(question.wire);
  if (address) {
    writer.u16(0xc000 | kHeader);  // the name: a pointer to the question's
    writer.u16(kDnsTypeA);
    writer.u16(kClassIn);
    writer.u32(kTtlSeconds);
    writer.u16(4);
    writer.u32(*address);
  }
  return writer.take();
}

}  // namespace cleanroom::guest
