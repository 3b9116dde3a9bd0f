#include "src/backends/qemu/qemu_profile.h"

#include "src/backends/jail/shared_objects.h"

#include <algorithm>
#include <array>

namespace cleanroom::backends::qemu {

using base::Result;
using jail::JailFile;
using Use = JailFile::Use;

namespace {

// Of -M microvm without PCI: firmware, and the loaders of kernels by PVH and as bzImage.
constexpr std::array<const char*, 5> kFirmware = {"bios-microvm.bin", "qboot.rom", "pvh.bin", "linuxboot_dma.bin",
                                                  "kvmvapic.bin"};
constexpr std::array<const char*, 3> kModuleDirectories = {"lib/x86_64-linux-gnu/qemu", "lib64/qemu", "lib/qemu"};
// A build that loads its accelerators has TCG there. It needs no library that QEMU itself does not.
constexpr const char* kTcgModule = "accel-tcg-x86_64.so";

// Besides the guest's memory: translated code under TCG, at most 1 GiB, and what QEMU itself is.
constexpr std::uint64_t kOwnMemory = 512ULL << 20;
constexpr std::uint64_t kTranslatedCode = 1ULL << 30;
constexpr std::uint64_t kLargestState = 1ULL << 30;  // of a saved machine, without its memory
constexpr std::uint64_t kThreads = 256;              // besides vCPUs; QEMU's pool of disk threads has at most 64

void add_if_there(std::vector<JailFile>& files, const std::filesystem::path& path, Use use) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) files.push_back({path, use});
}

// QEMU is at <prefix>/bin, its data at <prefix>/share/qemu. It names them by its own place: `<prefix>/bin/../share`.
void add_data(std::vector<JailFile>& files, const QemuMachine& machine) {
  std::error_code error;
  const auto prefix = machine.binary.lexically_normal().parent_path().parent_path();
  for (const auto* name : kFirmware)
    add_if_there(files, prefix / "share/qemu" / name, Use::read);
  if (machine.accelerator == Accelerator::kvm) return;
  for (const auto* directory : kModuleDirectories)
    add_if_there(files, prefix / directory / kTcgModule, Use::execute);
}

Result<std::shared_ptr<const jail::SeccompProgram>> seccomp_program(const jail::SeccompProfile& profile) {
  CR_ASSIGN(auto program, jail::SeccompProgram::compile(profile));
  return std::make_shared<const jail::SeccompProgram>(std::move(program));
}

}  // namespace

Result<jail::VmmProfile> qemu_profile(const QemuMachine& machine, std::uint64_t largest_disk,
                                      const std::filesystem::path& cache_directory) {
  jail::VmmProfile profile;
  auto& files = profile.files;
  files = {{machine.binary, Use::execute}, {"/dev/null", Use::device}, {"/dev/urandom", Use::device}};
  CR_ASSIGN(const auto libraries, jail::shared_objects_of(machine.binary, cache_directory));
  for (const auto& library : libraries)
    files.push_back({library, Use::execute});
  add_if_there(files, jail::kLoaderCache, Use::read);
  add_data(files, machine);
  if (machine.accelerator == Accelerator::kvm) files.push_back({"/dev/kvm", Use::device});
  const bool restore = machine.snapshot && machine.snapshot->use == QemuSnapshot::Use::restore;
  // A restored machine maps its memory copy-on-write.
  if (machine.snapshot) files.push_back({machine.snapshot->memory, restore ? Use::read : Use::write});
  if (!restore) {
    files.push_back({machine.kernel, Use::read});
    files.push_back({machine.initramfs, Use::read});
  }
  const auto calls = qemu_seccomp(machine.accelerator);
  CR_ASSIGN(profile.seccomp, seccomp_program(restore ? with_memory_as_input(calls) : calls));
  const std::uint64_t memory = machine.memory_mib << 20;
  profile.limits.file_bytes = std::max({largest_disk, memory, kLargestState});
  profile.limits.threads = kThreads + machine.vcpus;
  profile.limits.memory_bytes = memory + kOwnMemory + (machine.accelerator == Accelerator::tcg ? kTranslatedCode : 0);
  return profile;
}

}  // namespace cleanroom::backends::qemu
