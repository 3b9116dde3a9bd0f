#include "src/backends/firecracker/firecracker_profile.h"

#include "src/backends/jail/shared_objects.h"

#include <algorithm>

namespace cleanroom::backends::firecracker {

using base::Result;
using Use = jail::JailFile::Use;

namespace {

constexpr std::uint64_t kOwnMemory = 256ULL << 20;    // besides the guest's
constexpr std::uint64_t kLargestState = 64ULL << 20;  // of a saved machine, without its memory
constexpr std::uint64_t kThreads = 32;                // besides vCPUs; Firecracker has two

}  // namespace

Result<jail::VmmProfile> firecracker_profile(const ProfileOptions& options) {
  jail::VmmProfile profile;
  profile.files = {{options.binary, Use::execute},
                   {"/dev/null", Use::device},
                   {"/dev/urandom", Use::device},
                   {"/dev/kvm", Use::device}};
  CR_ASSIGN(const auto libraries, jail::shared_objects_of(options.binary, options.cache_directory));
  for (const auto& library : libraries)
    profile.files.push_back({library, Use::execute});
  std::error_code error;
  if (!libraries.empty() && std::filesystem::is_regular_file(jail::kLoaderCache, error))
    profile.files.push_back({jail::kLoaderCache, Use::read});
  profile.own_descriptors = true;
  CR_ASSIGN(auto filter, jail::SeccompProgram::compile(firecracker_seccomp()));
  profile.seccomp = std::make_shared<const jail::SeccompProgram>(std::move(filter));
  const std::uint64_t memory = options.memory_mib << 20;
  profile.limits.file_bytes = std::max({options.largest_file, memory, kLargestState});
  profile.limits.threads = kThreads + options.vcpus;
  profile.limits.memory_bytes = memory + kOwnMemory;
  return profile;
}

}  // namespace cleanroom::backends::firecracker
