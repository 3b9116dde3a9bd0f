#pragma once
// Steering: which of the job's TCP connections come to the agent. A BPF program of type sk_lookup (Linux 5.9) sees
// each SYN that is about to look for a listening socket, and gives it ours when the address is one we stand in for and
// the port is one the policy names. So one listener serves all of them, and no port is taken from the job: it may
// listen on 0.0.0.0:443 itself, a wildcard listener of ours would forbid that.
// An unlisted port of such an address is refused, as if nobody listened, and is told through refusals().
#include "guest/name_table.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <functional>
#include <memory>

namespace cleanroom::guest {

class Steering {
 public:
  // `listener` takes what is steered; it must listen already. unsupported/failed_precondition on a kernel without
  // CONFIG_BPF_SYSCALL.
  static base::Result<std::unique_ptr<Steering>> create(const base::Fd& listener);
  ~Steering();
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;

  base::Result<void> add_network(const Ipv4Network& network);
  // channel::kEveryPort (0) stands for all of them.
  base::Result<void> add_port(std::uint16_t port);

  // Readable when refusals wait.
  const base::Fd& refusals() const { return ring_; }
  // Host byte order.
  void drain_refusals(const std::function<void(std::uint32_t address, std::uint16_t port)>& visit);

 private:
  Steering() = default;
  base::Result<void> make_maps(const base::Fd& listener);
  base::Result<void> map_ring();
  base::Result<void> load_and_attach();

  base::Fd networks_;  // LPM trie: address -> 1 = ours, 0 = not
  base::Fd ports_;     // hash: port -> 1
  base::Fd sockets_;   // sockmap: 0 -> the listener
  base::Fd ring_;      // refused (address, port)
  base::Fd program_;
  base::Fd link_;
  void* consumer_ = nullptr;        // page: how far we read
  const void* producer_ = nullptr;  // page: how far the kernel wrote, then the records, mapped twice in a row
};

}  // namespace cleanroom::guest
