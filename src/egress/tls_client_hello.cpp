#include "src/egress/tls_client_hello.h"

#include "src/egress/limits.h"

#include <set>

namespace cleanroom::egress {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::uint8_t kClientHelloMessage = 1;
constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMessageHeader = 4;
constexpr std::size_t kMaxRecord = 16384;  // RFC 8446 5.1, plaintext
constexpr std::uint16_t kServerName = 0;
constexpr std::uint16_t kEncryptedClientHello = 0xfe0d;
// Records of one byte each: five bytes of header per byte of message is the most that is worth holding.
constexpr std::size_t kMaxReceived = 6 * kMaxClientHelloBytes;

// Takes fields off the front; once something is missing, every later read fails too.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }
  std::size_t number(std::size_t width) {
    std::size_t value = 0;
    for (const auto byte : take(width))
      value = value << 8 | byte;
    return value;
  }
  Bytes take(std::size_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  // A vector with a length of `width` bytes in front.
  Bytes vector(std::size_t width) { return take(number(width)); }

 private:
  Bytes rest_;
  bool ok_ = true;
};

}  // namespace

ClientHelloReader::State ClientHelloReader::invalid(std::string_view problem) {
  problem_ = problem;
  return state_ = State::invalid;
}

ClientHelloReader::State ClientHelloReader::feed(std::span<const std::byte> bytes) {
  if (state_ != State::need_more) return state_;
  received_.insert(received_.end(), bytes.begin(), bytes.end());
  return read_records();
}

ClientHelloReader::State ClientHelloReader::read_records() {
  const Bytes all(reinterpret_cast<const std::uint8_t*>(received_.data()), received_.size());
  for (;;) {
    const auto rest = all.subspan(next_record_);
    // Judged as early as the bytes allow, so that a client that speaks first and something else hears so at once.
    if (!rest.empty() && rest[0] != kHandshakeRecord) return invalid("not a TLS handshake");
    if (rest.size() > 1 && rest[1] != 3) return invalid("not a TLS record version");
    if (rest.size() < kRecordHeader) break;
    const std::size_t length = static_cast<std::size_t>(rest[3]) << 8 | rest[4];
    if (length == 0 || length > kMaxRecord) return invalid("a TLS record of a length that is not allowed");
    if (rest.size() < kRecordHeader + length) break;
    const auto fragment = rest.subspan(kRecordHeader, length);
    message_.insert(message_.end(), fragment.begin(), fragment.end());
    next_record_ += kRecordHeader + length;
    if (message_[0] != kClientHelloMessage) return invalid("not a ClientHello");
    if (message_.size() < kMessageHeader) continue;
    const std::size_t size = kMessageHeader + (static_cast<std::size_t>(message_[1]) << 16 |
                                               static_cast<std::size_t>(message_[2]) << 8 | message_[3]);
    if (size > kMaxClientHelloBytes) return invalid("a ClientHello above the size limit");
    if (message_.size() > size) return invalid("more than a ClientHello in its record");
    if (message_.size() == size) return read_message();
  }
  if (received_.size() > kMaxReceived) return invalid("a ClientHello in too many pieces");
  return state_;
}

ClientHelloReader::State ClientHelloReader::read_message() {
  Reader reader(Bytes(message_).subspan(kMessageHeader));
  const auto version = reader.number(2);
  reader.take(32);  // random
  const auto session_id = reader.vector(1);
  const auto ciphers = reader.vector(2);
  const auto compression = reader.vector(1);
  if (!reader.ok() || version >> 8 != 3 || session_id.size() > 32 || ciphers.empty() || ciphers.size() % 2 != 0 ||
      compression.empty())
    return invalid("a malformed ClientHello");
  if (!reader.at_end()) {
    const auto extensions = reader.vector(2);
    if (!reader.at_end()) return invalid("a malformed ClientHello");
    if (!read_extensions(extensions)) return state_;
  }
  return state_ = State::complete;
}

bool ClientHelloReader::read_extensions(Bytes list) {
  Reader reader(list);
  std::set<std::size_t> seen;
  while (!reader.at_end()) {
    const auto type = reader.number(2);
    const auto body = reader.vector(2);
    if (!reader.ok()) {
      invalid("malformed extensions");
      return false;
    }
    if (!seen.insert(type).second) {
      invalid("an extension twice");
      return false;
    }
    if (type == kServerName && !read_server_name(body)) return false;
    if (type == kEncryptedClientHello) hello_.has_ech = true;
  }
  return true;
}

bool ClientHelloReader::read_server_name(Bytes extension) {
  Reader outer(extension);
  Reader list(outer.vector(2));
  const auto name_type = list.number(1);
  const auto name = list.vector(2);
  if (!outer.at_end() || !list.at_end() || name_type != 0 || name.empty()) {
    invalid("a server_name that is not one host name");
    return false;
  }
  auto host = model::HostName::parse_wire({reinterpret_cast<const char*>(name.data()), name.size()});
  if (!host || host->is_ip()) {
    invalid("a server_name that is not a host name");
    return false;
  }
  hello_.server_name = std::move(*host);
  return true;
}

}  // namespace cleanroom::egress
