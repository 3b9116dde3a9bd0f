#include "guest/steering.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kRingSize = kPage;  // records; when it is full, refusals go untold
constexpr std::uint32_t kMaxNetworks = 16'384;
constexpr std::uint32_t kMaxPorts = 2048;

struct NetworkKey {  // struct bpf_lpm_trie_key
  std::uint32_t bits;
  std::uint32_t address;  // network byte order
};
struct Refusal {          // what the program writes to the ring
  std::uint32_t address;  // network byte order
  std::uint32_t port;     // host byte order
};

long bpf(int command, bpf_attr& attr) {
  return ::syscall(SYS_bpf, command, &attr, sizeof attr);
}

base::Result<base::Fd> make_map(bpf_map_type type, std::uint32_t key, std::uint32_t value, std::uint32_t entries,
                                std::uint32_t flags = 0) {
  bpf_attr attr{};
  attr.map_type = type;
  attr.key_size = key;
  attr.value_size = value;
  attr.max_entries = entries;
  attr.map_flags = flags;
  base::Fd map(static_cast<int>(bpf(BPF_MAP_CREATE, attr)));
  if (!map) return base::fail(base::errno_error("make", "BPF map"));
  return map;
}

base::Result<void> set_element(const base::Fd& map, const void* key, const void* value) {
  bpf_attr attr{};
  attr.map_fd = static_cast<std::uint32_t>(map.get());
  attr.key = reinterpret_cast<std::uintptr_t>(key);
  attr.value = reinterpret_cast<std::uintptr_t>(value);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return base::fail(base::errno_error("fill", "BPF map"));
  return {};
}

// A tiny assembler: jumps go to labels that are placed later.
class Assembler {
 public:
  enum Label { pass, refuse, steer, labels };

  void op(int code, int dst, int src, int offset, std::int32_t immediate) {
    bpf_insn instruction{};
    instruction.code = static_cast<std::uint8_t>(code);
    instruction.dst_reg = static_cast<std::uint8_t>(dst & 15);
    instruction.src_reg = static_cast<std::uint8_t>(src & 15);
    instruction.off = static_cast<std::int16_t>(offset);
    instruction.imm = immediate;
    code_.push_back(instruction);
  }
  void move(int dst, int src) { op(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0); }
  void set(int dst, std::int32_t value) { op(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value); }
  void load(int dst, int base, std::size_t offset) {
    op(BPF_LDX | BPF_W | BPF_MEM, dst, base, static_cast<int>(offset), 0);
  }
  void store(int offset, int src) { op(BPF_STX | BPF_W | BPF_MEM, BPF_REG_10, src, offset, 0); }
  void store_value(int offset, std::int32_t value) { op(BPF_ST | BPF_W | BPF_MEM, BPF_REG_10, 0, offset, value); }
  void stack_address(int dst, int offset) {
    move(dst, BPF_REG_10);
    op(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, offset);
  }
  void map(int dst, const base::Fd& fd) {
    op(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, fd.get());
    op(0, 0, 0, 0, 0);
  }
  void call(bpf_func_id function) { op(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
  void leave(sk_action verdict) {
    set(BPF_REG_0, verdict);
    op(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  void jump_unless(int reg, std::int32_t value, Label target) { jump(BPF_JNE, reg, value, target); }
  void jump_if(int reg, std::int32_t value, Label target) { jump(BPF_JEQ, reg, value, target); }
  void place(Label label) {
    for (const auto& [position, target] : jumps_) {
      if (target == label) code_[position].off = static_cast<std::int16_t>(code_.size() - position - 1);
    }
  }
  const std::vector<bpf_insn>& code() const { return code_; }

 private:
  void jump(int condition, int reg, std::int32_t value, Label target) {
    jumps_.emplace_back(code_.size(), target);
    op(BPF_JMP | condition | BPF_K, reg, 0, 0, value);
  }
  std::vector<bpf_insn> code_;
  std::vector<std::pair<std::size_t, Label>> jumps_;
};

struct Maps {
  const base::Fd& networks;
  const base::Fd& ports;
  const base::Fd& sockets;
  const base::Fd& ring;
};

// r6 = the lookup's context, r7 = our listener. Stack: -8 bits or Refusal.address, -4 address or port.
std::vector<bpf_insn> steering_program(const Maps& maps) {
  Assembler a;
  a.move(BPF_REG_6, BPF_REG_1);
  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, family));
  a.jump_unless(BPF_REG_2, AF_INET, Assembler::pass);
  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, protocol));
  a.jump_unless(BPF_REG_2, IPPROTO_TCP, Assembler::pass);

  a.store_value(-8, 32);
  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, local_ip4));
  a.store(-4, BPF_REG_2);
  a.map(BPF_REG_1, maps.networks);
  a.stack_address(BPF_REG_2, -8);
  a.call(BPF_FUNC_map_lookup_elem);
  a.jump_if(BPF_REG_0, 0, Assembler::pass);
  a.load(BPF_REG_1, BPF_REG_0, 0);
  a.jump_if(BPF_REG_1, 0, Assembler::pass);

  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, local_port));
  a.store(-4, BPF_REG_2);
  a.map(BPF_REG_1, maps.ports);
  a.stack_address(BPF_REG_2, -4);
  a.call(BPF_FUNC_map_lookup_elem);
  a.jump_unless(BPF_REG_0, 0, Assembler::steer);
  a.store_value(-4, 0);  // the entry for every port
  a.map(BPF_REG_1, maps.ports);
  a.stack_address(BPF_REG_2, -4);
  a.call(BPF_FUNC_map_lookup_elem);
  a.jump_if(BPF_REG_0, 0, Assembler::refuse);

  a.place(Assembler::steer);
  a.store_value(-4, 0);
  a.map(BPF_REG_1, maps.sockets);
  a.stack_address(BPF_REG_2, -4);
  a.call(BPF_FUNC_map_lookup_elem);
  a.jump_if(BPF_REG_0, 0, Assembler::pass);
  a.move(BPF_REG_7, BPF_REG_0);
  a.move(BPF_REG_1, BPF_REG_6);
  a.move(BPF_REG_2, BPF_REG_7);
  a.set(BPF_REG_3, 0);
  a.call(BPF_FUNC_sk_assign);
  a.move(BPF_REG_1, BPF_REG_7);
  a.call(BPF_FUNC_sk_release);
  a.place(Assembler::pass);
  a.leave(SK_PASS);

  a.place(Assembler::refuse);
  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, local_ip4));
  a.store(-8, BPF_REG_2);
  a.load(BPF_REG_2, BPF_REG_6, offsetof(bpf_sk_lookup, local_port));
  a.store(-4, BPF_REG_2);
  a.map(BPF_REG_1, maps.ring);
  a.stack_address(BPF_REG_2, -8);
  a.set(BPF_REG_3, sizeof(Refusal));
  a.set(BPF_REG_4, 0);
  a.call(BPF_FUNC_ringbuf_output);
  a.leave(SK_DROP);
  return a.code();
}

}  // namespace

base::Result<std::unique_ptr<Steering>> Steering::create(const base::Fd& listener) {
  std::unique_ptr<Steering> steering(new Steering);
  CR_TRY(steering->make_maps(listener));
  CR_TRY(steering->map_ring());
  CR_TRY(steering->load_and_attach());
  return steering;
}

Steering::~Steering() {
  if (consumer_ != nullptr) ::munmap(consumer_, kPage);
  if (producer_ != nullptr) ::munmap(const_cast<void*>(producer_), kPage + 2 * kRingSize);
}

base::Result<void> Steering::make_maps(const base::Fd& listener) {
  CR_ASSIGN(networks_, make_map(BPF_MAP_TYPE_LPM_TRIE, sizeof(NetworkKey), 4, kMaxNetworks, BPF_F_NO_PREALLOC));
  CR_ASSIGN(ports_, make_map(BPF_MAP_TYPE_HASH, 4, 4, kMaxPorts));
  CR_ASSIGN(sockets_, make_map(BPF_MAP_TYPE_SOCKMAP, 4, 8, 1));
  CR_ASSIGN(ring_, make_map(BPF_MAP_TYPE_RINGBUF, 0, 0, kRingSize));
  const std::uint32_t first = 0;
  const std::uint64_t socket = static_cast<std::uint64_t>(listener.get());
  CR_TRY(set_element(sockets_, &first, &socket));
  // Our own address stays an ordinary one: the job may serve on it and dial itself.
  const NetworkKey own{32, htonl(kGuestAddress)};
  const std::uint32_t no = 0;
  CR_TRY(set_element(networks_, &own, &no));
  // And so does loopback, also when everything else is ours (a recorded run: 0.0.0.0/0).
  const NetworkKey loopback{8, htonl(0x7f000000)};
  CR_TRY(set_element(networks_, &loopback, &no));
  return add_network({.address = kGuestNetwork, .bits = kGuestNetworkBits});
}

base::Result<void> Steering::map_ring() {
  void* consumer = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, ring_.get(), 0);
  if (consumer == MAP_FAILED) return base::fail(base::errno_error("map", "BPF ring"));
  consumer_ = consumer;
  void* producer = ::mmap(nullptr, kPage + 2 * kRingSize, PROT_READ, MAP_SHARED, ring_.get(), kPage);
  if (producer == MAP_FAILED) return base::fail(base::errno_error("map", "BPF ring"));
  producer_ = producer;
  return {};
}

base::Result<void> Steering::load_and_attach() {
  const auto code = steering_program({.networks = networks_, .ports = ports_, .sockets = sockets_, .ring = ring_});
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  load.expected_attach_type = BPF_SK_LOOKUP;
  load.insns = reinterpret_cast<std::uintptr_t>(code.data());
  load.insn_cnt = static_cast<std::uint32_t>(code.size());
  load.license = reinterpret_cast<std::uintptr_t>("MIT");
  program_ = base::Fd(static_cast<int>(bpf(BPF_PROG_LOAD, load)));
  if (!program_) return base::fail(base::errno_error("load", "BPF program"));
  base::Fd network(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  bpf_attr link{};
  link.link_create.prog_fd = static_cast<std::uint32_t>(program_.get());
  link.link_create.target_fd = static_cast<std::uint32_t>(network.get());
  link.link_create.attach_type = BPF_SK_LOOKUP;
  link_ = base::Fd(static_cast<int>(bpf(BPF_LINK_CREATE, link)));
  if (!link_) return base::fail(base::errno_error("attach", "BPF program"));
  return {};
}

base::Result<void> Steering::add_network(const Ipv4Network& network) {
  const NetworkKey key{static_cast<std::uint32_t>(network.bits), htonl(network.address)};
  const std::uint32_t yes = 1;
  return set_element(networks_, &key, &yes);
}

base::Result<void> Steering::add_port(std::uint16_t port) {
  const std::uint32_t key = port;
  const std::uint32_t yes = 1;
  return set_element(ports_, &key, &yes);
}

// The layout is kernel/bpf/ringbuf.c's: positions are counts of bytes since the beginning, a record is a 32-bit length
// (bit 31: still being written, bit 30: discarded), a 32-bit page offset, and the data, aligned to 8 bytes.
void Steering::drain_refusals(const std::function<void(std::uint32_t, std::uint16_t)>& visit) {
  auto* read = static_cast<std::atomic<unsigned long>*>(consumer_);
  const auto* written = static_cast<const std::atomic<unsigned long>*>(producer_);
  const auto* records = static_cast<const std::byte*>(producer_) + kPage;
  unsigned long position = read->load(std::memory_order_relaxed);
  while (position < written->load(std::memory_order_acquire)) {
    const std::byte* record = records + (position & (kRingSize - 1));
    const auto head = reinterpret_cast<const std::atomic<std::uint32_t>*>(record)->load(std::memory_order_acquire);
    if ((head & BPF_RINGBUF_BUSY_BIT) != 0) return;
    const std::uint32_t size = head & ~BPF_RINGBUF_DISCARD_BIT;
    if ((head & BPF_RINGBUF_DISCARD_BIT) == 0 && size == sizeof(Refusal)) {
      Refusal refusal{};
      std::memcpy(&refusal, record + BPF_RINGBUF_HDR_SZ, sizeof refusal);
      visit(ntohl(refusal.address), static_cast<std::uint16_t>(refusal.port));
    }
    position += (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    read->store(position, std::memory_order_release);
  }
}

}  // namespace cleanroom::guest
