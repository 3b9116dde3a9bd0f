#pragma once
// What Firecracker is told, as types, and the API requests that tell it. Pure functions; what is not in here does not
// exist in the VM: no network device, no metadata service, no balloon, no hot-plug, no PCI.
// Source: the API description in Firecracker's repository (src/firecracker/swagger/firecracker.yaml, 1.14).
#include <cstdint>
#include <string>
#include <vector>

namespace cleanroom::backends::firecracker {

// Names in the VMM's working directory, which is private to the VM. Relative, because a snapshot keeps them.
inline constexpr const char* kApiSocket = "api.sock";
inline constexpr const char* kVsockSocket = "v.sock";
inline constexpr std::uint32_t kGuestCid = 3;  // the first that a guest may have; each VM has a bus of its own

struct MachineConfig {
  std::uint32_t vcpus = 1;
  std::uint64_t memory_mib = 512;
  bool tracks_writes = false;  // for save_calls()
};
struct BootSource {
  std::string kernel_image_path;  // ELF
  std::string initrd_path;
  std::string boot_args;
};
struct Drive {
  std::string id;  // letters, digits and `_`
  std::string path_on_host;
  bool read_only = true;
};
struct Snapshot {
  std::string state_path;
  std::string memory_path;
};
struct VmConfig {
  MachineConfig machine;
  BootSource boot;
  std::vector<Drive> drives;  // found in this order by the guest
};

enum class Method { put, patch };
struct ApiCall {
  Method method = Method::put;
  std::string path;
  std::string body;  // JSON
};
std::string describe(const ApiCall& call);  // "PUT /machine-config"

// The kernel's command line; Firecracker adds nothing but what finds its devices. `to_be_saved`: the VM is a template
// in the making (channel::kTemplateMark).
std::string boot_arguments(bool to_be_saved);
// From a fresh VMM to a running guest.
std::vector<ApiCall> boot_calls(const VmConfig& config);
// From a fresh VMM to a paused guest that goes on where the snapshot was taken. Drives and sockets are opened again
// under the names they had.
std::vector<ApiCall> load_calls(const Snapshot& from);
std::vector<ApiCall> resume_calls();
// Of a VM whose machine tracks its writes: only pages that were ever written go into the file, which is as long as the
// memory and was empty. The VM is paused afterwards.
std::vector<ApiCall> save_calls(const Snapshot& into);
ApiCall flush_metrics_call();

}  // namespace cleanroom::backends::firecracker
