#pragma once
// What passes on a channel before HTTP/2 begins.
//
//   guest (agent)                                    host (runner)
//     READY, 64 bytes, on the control stream  ───────>   the VM is up; a memory snapshot may be taken here
//     <───────  START, on the control stream             everything the guest must know of this job's machine
//     HTTP/2 server on control, HTTP/2 client on network
//
// READY is fixed so that the host reads exactly kReadySize bytes and nothing more. START is a 12-byte head (magic,
// length) and a body of fields. A restored VM sees START first, so every job has its own entropy, time, name and
// mounts. The disks of the first two slots are in use before READY, the others' content is looked at after START.
#include "src/base/os/result.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::channel {

inline constexpr std::uint16_t kProtocolVersion = 2;
inline constexpr std::size_t kReadySize = 64;
inline constexpr std::size_t kStartHeadSize = 12;
inline constexpr std::size_t kMaxStartBytes = 1 << 20;
// On the kernel's command line: this VM is to be saved, so what only later VMs gain from is worth its time.
inline constexpr const char* kTemplateMark = "cleanroom.template";
// Names of the two virtio-serial ports.
inline constexpr const char* kControlPortName = "cleanroom.control";
inline constexpr const char* kNetworkPortName = "cleanroom.network";
// Or else the vsock ports of the host that the agent dials, in this order.
inline constexpr std::uint32_t kControlVsockPort = 1024;
inline constexpr std::uint32_t kNetworkVsockPort = 1025;

struct ReadyRecord {
  std::uint16_t protocol_version = kProtocolVersion;
  std::string agent_version;  // at most 32 bytes
};
std::array<std::byte, kReadySize> encode(const ReadyRecord& record);
base::Result<ReadyRecord> decode_ready(std::span<const std::byte, kReadySize> bytes);

// Virtio-blk slots, in the order of the VMM's command line.
inline constexpr std::uint8_t kImageSlot = 0;    // read-only ext4, lower layer of the job's root
inline constexpr std::uint8_t kScratchSlot = 1;  // ext4 for the overlay's upper layer

// Where a checkout is mounted if nobody asks for another place: the agent has the directory ready.
inline constexpr const char* kDefaultWorkspace = "/workspace";

// Where the agent finds a disk, and where it belongs.
struct DiskMount {
  std::uint8_t slot = 0;
  std::string path;  // absolute, in the job's root; made if missing
  std::uint8_t read_only = 0;
};

// Among GuestNetwork::ports: all of them, where the guest's kernel has BPF; else the others of the list.
inline constexpr std::uint16_t kEveryPort = 0;

// Which names the agent's DNS answers and which ports it listens on. A convenience for the guest; the host judges
// again.
struct GuestNetwork {
  std::vector<std::string> names;      // exact names, and `*.suffix`; `*`: every name
  std::vector<std::uint16_t> ports;    // union over all allow rules
  std::vector<std::string> addresses;  // IPv4 addresses and CIDRs that rules name: `10.1.2.0/24`
};

struct StartRecord {
  std::array<std::byte, 16> nonce{};    // echoed in /v1/health
  std::array<std::byte, 32> entropy{};  // into the kernel's pool before anything of the job runs
  std::uint64_t wall_clock_ns = 0;      // CLOCK_REALTIME
  std::string hostname;
  std::vector<DiskMount> mounts;  // the workspace and whatever else
  GuestNetwork network;
};
// Head and body.
std::vector<std::byte> encode(const StartRecord& record);
// Length of the body that follows this head.
base::Result<std::size_t> decode_start_head(std::span<const std::byte, kStartHeadSize> head);
base::Result<StartRecord> decode_start_body(std::span<const std::byte> body);

}  // namespace cleanroom::channel
