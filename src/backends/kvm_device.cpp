// /dev/kvm without a VMM: https://docs.kernel.org/virt/kvm/api.html. The machine executes `hlt` in real mode, so that a
// KVM whose processors can be made but do not run is found out.
#include "src/backends/accelerator.h"
#include "src/backends/identity.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace cleanroom::backends {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kCodeAddress = 0x1000;
constexpr std::byte kHalt{0xf4};

class Mapping {
 public:
  Mapping(std::size_t size, int flags, int fd)
      : address_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (valid()) ::munmap(address_, size_);
  }
  bool valid() const { return address_ != MAP_FAILED; }
  void* get() const { return address_; }

 private:
  void* address_;
  std::size_t size_;
};

KvmProbe failed(const char* step) {
  return {false, fmt::format("/dev/kvm: {}: {}", step, std::strerror(errno))};
}

#if defined(__x86_64__)
bool point_at_code(const base::Fd& vcpu) {
  kvm_sregs segments{};
  if (::ioctl(vcpu.get(), KVM_GET_SREGS, &segments) != 0) return false;
  segments.cs.base = 0;
  segments.cs.selector = 0;
  if (::ioctl(vcpu.get(), KVM_SET_SREGS, &segments) != 0) return false;
  kvm_regs registers{};
  registers.rip = kCodeAddress;
  registers.rflags = 2;  // the bit that is always set
  return ::ioctl(vcpu.get(), KVM_SET_REGS, &registers) == 0;
}

KvmProbe halt_a_machine(const base::Fd& device) {
  const Mapping code(kPage, MAP_SHARED | MAP_ANONYMOUS, -1);
  if (!code.valid()) return failed("memory");
  std::memcpy(code.get(), &kHalt, 1);
  const base::Fd vm(::ioctl(device.get(), KVM_CREATE_VM, 0));
  if (!vm) return failed("make a VM");
  kvm_userspace_memory_region region{};
  region.guest_phys_addr = kCodeAddress;
  region.memory_size = kPage;
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(code.get());
  if (::ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) return failed("give it memory");
  const base::Fd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu) return failed("make a processor");
  const int size = ::ioctl(device.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size <= 0) return failed("map a processor");
  const Mapping shared(static_cast<std::size_t>(size), MAP_SHARED, vcpu.get());
  if (!shared.valid()) return failed("map a processor");
  if (!point_at_code(vcpu)) return failed("set up a processor");
  if (::ioctl(vcpu.get(), KVM_RUN, 0) != 0) return failed("run a processor");
  const auto reason = static_cast<const kvm_run*>(shared.get())->exit_reason;
  if (reason == KVM_EXIT_HLT) return {true, {}};
  return {false, fmt::format("/dev/kvm: a processor does not execute (exit {})", reason)};
}
#endif

}  // namespace

KvmProbe probe_kvm_directly() {
  const auto device = base::open_file("/dev/kvm", O_RDWR);
  if (!device) {
    const int error = device.error().os_errno;
    if (error == ENOENT) return {false, "there is no /dev/kvm"};
    return {false, fmt::format("/dev/kvm: {} (is this user in the kvm group?)", std::strerror(error))};
  }
  const auto processor = processor_identity();
  if (!processor || !has_virtualisation(*processor)) return {false, "the processor shows neither VT-x nor AMD-V"};
  if (::ioctl(device->get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return failed("not the API we know");
#if defined(__x86_64__)
  return halt_a_machine(*device);
#else
  return {false, "Firecracker is supported on x86_64 only"};
#endif
}

}  // namespace cleanroom::backends
