#include "src/backends/firecracker/vm_config.h"
#include "src/base/text/json.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <set>

using namespace cleanroom;
using namespace cleanroom::backends::firecracker;

namespace {

VmConfig config() {
  return {.machine = {.vcpus = 3, .memory_mib = 768},
          .boot = {.kernel_image_path = "/proc/self/fd/5",
                   .initrd_path = "/proc/self/fd/6",
                   .boot_args = boot_arguments(false)},
          .drives = {{.id = "slot0", .path_on_host = "/proc/self/fd/10", .read_only = true},
                     {.id = "slot1", .path_on_host = "/proc/self/fd/11", .read_only = false}}};
}

base::Json body_of(const std::vector<ApiCall>& calls, const std::string& name) {
  for (const auto& call : calls) {
    if (describe(call) == name) return base::parse_json(call.body, name).value();
  }
  FAIL("no call " << name);
  return {};
}

}  // namespace

TEST_SUITE("backends/firecracker_config") {
  TEST_CASE("EGR-01 VMM-08 a VM is made of a short list of things, and none of them is a network device") {
    std::vector<std::string> names;
    for (const auto& call : boot_calls(config()))
      names.push_back(describe(call));
    CHECK(names == std::vector<std::string>{"PUT /machine-config", "PUT /boot-source", "PUT /drives/slot0",
                                            "PUT /drives/slot1", "PUT /vsock", "PUT /entropy", "PUT /actions"});
  }

  TEST_CASE("sizes, files and the start are passed on") {
    const auto calls = boot_calls(config());
    const auto machine = body_of(calls, "PUT /machine-config");
    CHECK(machine.at("vcpu_count") == 3);
    CHECK(machine.at("mem_size_mib") == 768);
    CHECK(machine.at("track_dirty_pages") == false);
    const auto boot = body_of(calls, "PUT /boot-source");
    CHECK(boot.at("kernel_image_path") == "/proc/self/fd/5");
    CHECK(boot.at("initrd_path") == "/proc/self/fd/6");
    CHECK(body_of(calls, "PUT /actions").at("action_type") == "InstanceStart");
  }

  TEST_CASE("the image is read-only, the other disk is not, and no disk is the root of the kernel") {
    const auto calls = boot_calls(config());
    for (const auto& [name, read_only] : {std::pair{"PUT /drives/slot0", true}, {"PUT /drives/slot1", false}}) {
      const auto drive = body_of(calls, name);
      CHECK(drive.at("is_read_only") == read_only);
      CHECK(drive.at("is_root_device") == false);
    }
  }

  TEST_CASE("VMM-08 the sockets have relative names: a snapshot must not lead to another VM's") {
    const std::string socket = body_of(boot_calls(config()), "PUT /vsock").at("uds_path").get<std::string>();
    CHECK(socket.find('/') == std::string::npos);
  }

  TEST_CASE("a path with quotes and bytes that are not UTF-8 stays inside its string") {
    auto odd = config();
    odd.drives[0].path_on_host = "/a\",\"is_read_only\":false,\"x\":\"\xff";
    const auto drive = body_of(boot_calls(odd), "PUT /drives/slot0");
    CHECK(drive.at("is_read_only") == true);
    CHECK(drive.size() == 6);
  }

  TEST_CASE("a snapshot is taken of a paused VM, and a restored one stands still until it is told") {
    const Snapshot snapshot{.state_path = "state", .memory_path = "/proc/self/fd/7"};
    const auto save = save_calls(snapshot);
    REQUIRE(save.size() == 2);
    CHECK(body_of({save[0]}, "PATCH /vm").at("state") == "Paused");
    CHECK(body_of({save[1]}, "PUT /snapshot/create").at("mem_file_path") == "/proc/self/fd/7");
    CHECK(body_of({save[1]}, "PUT /snapshot/create").at("snapshot_type") == "Diff");
    const auto load = body_of(load_calls(snapshot), "PUT /snapshot/load");
    CHECK(load.at("resume_vm") == false);
    CHECK(load.at("mem_backend").at("backend_type") == "File");
    CHECK(body_of(resume_calls(), "PATCH /vm").at("state") == "Resumed");
  }
}
