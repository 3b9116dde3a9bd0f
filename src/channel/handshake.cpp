#include "src/channel/handshake.h"

#include "src/base/os/io.h"
#include "src/channel/wire.h"

#include <algorithm>

namespace cleanroom::channel {
namespace {

constexpr std::string_view kReadyMagic = "CLNROOM!";
constexpr std::string_view kStartMagic = "CLNSTART";
constexpr std::size_t kMaxVersionText = 32;
constexpr std::size_t kMaxHostname = 64;
constexpr std::size_t kMaxMounts = 8;
constexpr std::size_t kMaxNames = 10'000;
constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxPorts = 1024;

base::Result<void> expect_magic(FieldReader& reader, std::string_view magic) {
  std::string found(magic.size(), '\0');
  CR_TRY(reader.raw(std::as_writable_bytes(std::span(found))));
  if (found != magic) return base::fail(protocol_error("it does not begin with our mark"));
  return {};
}

void write_network(FieldWriter& writer, const GuestNetwork& network) {
  writer.texts(network.names);
  writer.u32(static_cast<std::uint32_t>(network.ports.size()));
  for (const auto port : network.ports)
    writer.u16(port);
  writer.texts(network.addresses);
}

base::Result<GuestNetwork> read_network(FieldReader& reader) {
  GuestNetwork network;
  CR_ASSIGN(network.names, reader.texts(kMaxNames, kMaxName));
  CR_ASSIGN(const auto ports, reader.count(kMaxPorts, 2));
  for (std::uint32_t i = 0; i < ports; ++i) {
    CR_ASSIGN(const auto port, reader.u16());
    network.ports.push_back(port);
  }
  CR_ASSIGN(network.addresses, reader.texts(kMaxNames, kMaxName));
  return network;
}

base::Result<std::vector<DiskMount>> read_mounts(FieldReader& reader) {
  CR_ASSIGN(const auto count, reader.count(kMaxMounts, 6));
  std::vector<DiskMount> mounts(count);
  for (auto& mount : mounts) {
    CR_ASSIGN(mount.slot, reader.u8());
    CR_ASSIGN(mount.path, reader.text(kMaxPath));
    CR_ASSIGN(mount.read_only, reader.u8());
  }
  return mounts;
}

}  // namespace

std::array<std::byte, kReadySize> encode(const ReadyRecord& record) {
  FieldWriter writer;
  writer.raw(base::as_bytes(kReadyMagic));
  writer.u16(record.protocol_version);
  writer.text(std::string_view(record.agent_version).substr(0, kMaxVersionText));
  std::array<std::byte, kReadySize> bytes{};
  std::copy(writer.bytes().begin(), writer.bytes().end(), bytes.begin());
  return bytes;
}

base::Result<ReadyRecord> decode_ready(std::span<const std::byte, kReadySize> bytes) {
  FieldReader reader(bytes);
  CR_TRY(expect_magic(reader, kReadyMagic));
  ReadyRecord record;
  CR_ASSIGN(record.protocol_version, reader.u16());
  if (record.protocol_version != kProtocolVersion) {
    return base::fail(protocol_error(
        fmt::format("it speaks version {}, this program version {}", record.protocol_version, kProtocolVersion)));
  }
  CR_ASSIGN(record.agent_version, reader.text(kMaxVersionText));
  return record;
}

std::vector<std::byte> encode(const StartRecord& record) {
  FieldWriter body;
  body.u16(kProtocolVersion);
  body.raw(record.nonce);
  body.raw(record.entropy);
  body.u64(record.wall_clock_ns);
  body.text(record.hostname);
  body.u32(static_cast<std::uint32_t>(record.mounts.size()));
  for (const auto& mount : record.mounts) {
    body.u8(mount.slot);
    body.text(mount.path);
    body.u8(mount.read_only);
  }
  write_network(body, record.network);

  FieldWriter whole;
  whole.raw(base::as_bytes(kStartMagic));
  whole.u32(static_cast<std::uint32_t>(body.bytes().size()));
  whole.raw(body.bytes());
  return whole.take();
}

base::Result<std::size_t> decode_start_head(std::span<const std::byte, kStartHeadSize> head) {
  FieldReader reader(head);
  CR_TRY(expect_magic(reader, kStartMagic));
  CR_ASSIGN(const auto size, reader.u32());
  if (size > kMaxStartBytes) return base::fail(protocol_error(fmt::format("a START of {} bytes", size)));
  return size;
}

base::Result<StartRecord> decode_start_body(std::span<const std::byte> body) {
  FieldReader reader(body);
  CR_ASSIGN(const auto version, reader.u16());
  if (version != kProtocolVersion) return base::fail(protocol_error(fmt::format("START of version {}", version)));
  StartRecord record;
  CR_TRY(reader.raw(record.nonce));
  CR_TRY(reader.raw(record.entropy));
  CR_ASSIGN(record.wall_clock_ns, reader.u64());
  CR_ASSIGN(record.hostname, reader.text(kMaxHostname));
  CR_ASSIGN(record.mounts, read_mounts(reader));
  CR_ASSIGN(record.network, read_network(reader));
  CR_TRY(reader.expect_end());
  return record;
}

}  // namespace cleanroom::channel
