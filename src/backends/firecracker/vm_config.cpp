#include "src/backends/firecracker/vm_config.h"

#include "src/backends/guest_kernel.h"
#include "src/base/text/json.h"
#include "src/channel/handshake.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace cleanroom::backends::firecracker {
namespace {

using base::Json;

ApiCall put(std::string path, const Json& body) {
  return {Method::put, std::move(path), base::canonical_json(body)};
}
ApiCall patch(std::string path, const Json& body) {
  return {Method::patch, std::move(path), base::canonical_json(body)};
}

ApiCall to_call(const MachineConfig& machine) {
  return put("/machine-config", {{"vcpu_count", machine.vcpus},
                                 {"mem_size_mib", machine.memory_mib},
                                 {"smt", false},
                                 {"track_dirty_pages", machine.tracks_writes}});
}

ApiCall to_call(const BootSource& boot) {
  return put("/boot-source", {{"kernel_image_path", boot.kernel_image_path},
                              {"initrd_path", boot.initrd_path},
                              {"boot_args", boot.boot_args}});
}

// `Unsafe`: a flush is not passed on to the host's disk. No disk of a VM outlives it.
ApiCall to_call(const Drive& drive) {
  return put("/drives/" + drive.id, {{"drive_id", drive.id},
                                     {"path_on_host", drive.path_on_host},
                                     {"is_root_device", false},
                                     {"is_read_only", drive.read_only},
                                     {"cache_type", "Unsafe"},
                                     {"io_engine", "Sync"}});
}

ApiCall vm_state(const char* state) {
  return patch("/vm", {{"state", state}});
}

ApiCall action(const char* type) {
  return put("/actions", {{"action_type", type}});
}

}  // namespace

std::string describe(const ApiCall& call) {
  return fmt::format("{} {}", call.method == Method::put ? "PUT" : "PATCH", call.path);
}

std::string boot_arguments(bool to_be_saved) {
  // reboot=k: the keyboard controller's reset line is how a guest ends a Firecracker VM. The i8042 options spare the
  // probing of devices that are not there.
  std::string arguments =
      fmt::format("{} reboot=k i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce", kGuestKernelOptions);
  if (to_be_saved) arguments += fmt::format(" {}", channel::kTemplateMark);
  return arguments;
}

std::vector<ApiCall> boot_calls(const VmConfig& config) {
  std::vector<ApiCall> calls{to_call(config.machine), to_call(config.boot)};
  for (const auto& drive : config.drives)
    calls.push_back(to_call(drive));
  calls.push_back(put("/vsock", {{"guest_cid", kGuestCid}, {"uds_path", kVsockSocket}}));
  calls.push_back(put("/entropy", Json::object()));
  calls.push_back(action("InstanceStart"));
  return calls;
}

std::vector<ApiCall> load_calls(const Snapshot& from) {
  return {put("/snapshot/load", {{"snapshot_path", from.state_path},
                                 {"mem_backend", {{"backend_type", "File"}, {"backend_path", from.memory_path}}},
                                 {"resume_vm", false}})};
}

std::vector<ApiCall> resume_calls() {
  return {vm_state("Resumed")};
}

// "Diff", which against a machine's start is complete: a full one would write every page of the memory, zeros too.
std::vector<ApiCall> save_calls(const Snapshot& into) {
  return {vm_state("Paused"),
          put("/snapshot/create",
              {{"snapshot_type", "Diff"}, {"snapshot_path", into.state_path}, {"mem_file_path", into.memory_path}})};
}

ApiCall flush_metrics_call() {
  return action("FlushMetrics");
}

}  // namespace cleanroom::backends::firecracker
