#include "src/backends/guest_kernel.h"

#include "src/backends/identity.h"
#include "src/backends/kernel/kernel_manifest.h"
#include "src/base/net/sha256.h"
#include "src/base/os/ascii.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <vector>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxMember = 64 << 20;  // an agent or a module
constexpr std::size_t kMaxLoadOrder = 64 * 1024;
constexpr std::size_t kMaxModules = 256;

struct Member {
  std::string name;
  std::string content;
  unsigned mode = 0644;
};

bool is_module_name(std::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return base::is_ascii_alnum(c) || c == '_' || c == '-'; });
}

Result<std::vector<Member>> collect_members(const GuestKernel& kernel, const std::filesystem::path& agent) {
  std::vector<Member> members;
  CR_ASSIGN(auto init, base::read_file(agent, kMaxMember));
  members.push_back({"init", std::move(init), 0755});
  if (kernel.module_directory.empty()) return members;
  CR_ASSIGN(auto order, base::read_file(kernel.module_directory.parent_path() / "load-order", kMaxLoadOrder));
  std::istringstream lines(order);
  for (std::string name; std::getline(lines, name);) {
    if (!is_module_name(name) || members.size() > kMaxModules) {
      return base::fail(Code::failed_precondition, "kernel_unavailable",
                        fmt::format("cannot use '{}': '{}' is not a module name",
                                    (kernel.module_directory.parent_path() / "load-order").native(), name));
    }
    CR_ASSIGN(auto module, base::read_file(kernel.module_directory / (name + ".ko"), kMaxMember));
    members.push_back({"modules/" + name + ".ko", std::move(module), 0644});
  }
  members.push_back({"modules/load-order", std::move(order), 0644});
  return members;
}

std::string hash_of(const std::vector<Member>& members) {
  base::Sha256 hash;
  for (const auto& member : members) {
    hash.update(base::as_bytes(fmt::format("{} {:o} {}\n", member.name, member.mode, member.content.size())));
    hash.update(base::as_bytes(member.content));
  }
  return hash.finish_hex();
}

class CpioWriter {
 public:
  explicit CpioWriter(const base::Fd& file)
      : archive_(archive_write_new(), archive_write_free),
        ok_(archive_write_set_format_cpio_newc(archive_.get()) == ARCHIVE_OK &&
            archive_write_open_fd(archive_.get(), file.get()) == ARCHIVE_OK) {}
  void add(const std::string& name, unsigned type, unsigned mode, std::string_view content, dev_t device = 0) {
    const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), type);
    archive_entry_set_perm(entry.get(), mode);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_nlink(entry.get(), 1);
    archive_entry_set_rdev(entry.get(), device);
    ok_ = ok_ && archive_write_header(archive_.get(), entry.get()) == ARCHIVE_OK &&
          archive_write_data(archive_.get(), content.data(), content.size()) == static_cast<la_ssize_t>(content.size());
  }
  Result<void> finish() {
    ok_ = ok_ && archive_write_close(archive_.get()) == ARCHIVE_OK;
    if (ok_) return {};
    const char* text = archive_error_string(archive_.get());
    return base::fail(Code::unavailable,
                      fmt::format("cannot write an initramfs: {}", text != nullptr ? text : "unknown error"));
  }

 private:
  std::unique_ptr<archive, decltype(&archive_write_free)> archive_;
  bool ok_;
};

}  // namespace

Result<GuestKernel> find_guest_kernel(const std::optional<std::filesystem::path>& configured,
                                      const std::filesystem::path& data_directory) {
  std::error_code ec;
  const std::filesystem::path image =
      configured ? *configured : std::filesystem::canonical(data_directory / "kernels/current", ec) / "vmlinuz";
  if (ec || ::access(image.c_str(), R_OK) != 0) {
    base::Error error(Code::not_found, "kernel_unavailable",
                      fmt::format("cannot find a guest kernel: '{}' is not there",
                                  configured ? image.native() : (data_directory / "kernels/current/vmlinuz").native()));
    return base::fail(
        std::move(error).with_hint("run cleanroom kernel fetch (the distribution's) or cleanroom kernel build (starts "
                                   "faster), or set backends.qemu.kernel_image in config.yaml"));
  }
  const auto directory = image.parent_path();
  GuestKernel kernel{.image = image, .module_directory = {}, .version = directory.filename().native()};
  if (std::filesystem::exists(directory / "load-order", ec)) kernel.module_directory = directory / "modules";
  if (!std::filesystem::exists(directory / kManifestName, ec)) return kernel;
  CR_ASSIGN(const auto manifest, read_kernel_manifest(directory));
  kernel.tick_hz = manifest.tick_hz;
  if (manifest.mmio_cmdline) kernel.discovery = DeviceDiscovery::command_line;
  if (!configured && manifest.pvh) kernel.image = directory / "vmlinux";
  return kernel;
}

namespace {

// The inputs' identities as files: the same ones have the same content, and need not be read again. Empty: no telling.
std::string alias_of(const GuestKernel& kernel, const std::filesystem::path& agent) {
  const auto agent_identity = file_identity(agent);
  if (!agent_identity) return {};
  std::string text = *agent_identity + "\n";
  if (!kernel.module_directory.empty()) {
    std::vector<std::filesystem::path> files{kernel.module_directory.parent_path() / "load-order"};
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator(kernel.module_directory, ec))
      files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      const auto identity = file_identity(file);
      if (ec || !identity) return {};
      text += *identity + "\n";
    }
  }
  return base::sha256_hex(text) + ".of-files";
}

// What the alias leads to, if it is there.
std::optional<std::filesystem::path> follow_alias(const std::filesystem::path& alias) {
  std::error_code ec;
  const auto target = std::filesystem::read_symlink(alias, ec);
  if (ec || target.has_parent_path()) return std::nullopt;
  auto file = alias.parent_path() / target;
  if (::access(file.c_str(), R_OK) != 0) return std::nullopt;
  return file;
}

}  // namespace

Result<std::filesystem::path> ensure_initramfs(const GuestKernel& kernel, const std::filesystem::path& agent,
                                               const std::filesystem::path& cache_directory) {
  const auto alias = alias_of(kernel, agent);
  if (!alias.empty()) {
    if (auto kept = follow_alias(cache_directory / alias)) return std::move(*kept);
  }
  CR_ASSIGN(const auto members, collect_members(kernel, agent));
  const std::string name = hash_of(members) + ".cpio";
  const std::filesystem::path target = cache_directory / name;
  CR_TRY(base::make_private_directories(cache_directory));
  if (!alias.empty()) {
    std::error_code ec;  // without it the next run reads the files once more
    std::filesystem::remove(cache_directory / alias, ec);
    std::filesystem::create_symlink(name, cache_directory / alias, ec);
  }
  if (::access(target.c_str(), R_OK) == 0) return target;
  CR_ASSIGN(auto file, base::AtomicFile::create(target, 0444));
  CpioWriter writer(file.fd());
  // The kernel opens /dev/console before the agent mounts anything.
  writer.add("dev", AE_IFDIR, 0755, {});
  writer.add("dev/console", AE_IFCHR, 0600, {}, makedev(5, 1));
  writer.add("modules", AE_IFDIR, 0755, {});
  for (const auto& member : members)
    writer.add(member.name, AE_IFREG, member.mode, member.content);
  CR_TRY(writer.finish());
  CR_TRY(file.commit());
  return target;
}

}  // namespace cleanroom::backends
