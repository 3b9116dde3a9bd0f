#include "src/backends/identity.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>

namespace cleanroom::backends {

using base::Result;

namespace {

// Of the lines of /proc/cpuinfo, those that stay the same from one look to the next.
constexpr std::array<std::string_view, 7> kStable = {"vendor_id", "cpu family", "model", "model name",
                                                     "stepping",  "microcode",  "flags"};
constexpr std::size_t kFirstProcessor = 16 * 1024;  // far more than one takes

bool is_stable(std::string_view line) {
  const auto name = line.substr(0, line.find_first_of("\t:"));
  for (const auto known : kStable) {
    if (name == known) return true;
  }
  return false;
}

}  // namespace

Result<std::string> file_identity(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return base::fail(base::errno_error("look at", file.native()));
  return fmt::format("{} {:x} {} {} {}.{} {}.{}", file.native(), status.st_dev, status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

Result<std::string> processor_identity() {
  CR_ASSIGN(const auto file, base::open_file("/proc/cpuinfo", O_RDONLY));
  std::string text(kFirstProcessor, '\0');
  // One read gives whole processors, the first one first; the others would only take time.
  CR_ASSIGN(const auto size, base::read_some(file, std::as_writable_bytes(std::span(text))));
  text.resize(size);
  std::string identity;
  std::string_view rest = std::string_view(text).substr(0, text.find("\n\n"));
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const auto line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (is_stable(line)) identity.append(line).append("\n");
  }
  return identity;
}

Result<std::string> boot_identity() {
  CR_ASSIGN(const auto boot, base::read_file("/proc/sys/kernel/random/boot_id", 64));
  return boot.substr(0, boot.find('\n'));
}

Result<std::string> surroundings_identity(const std::filesystem::path& vmm, const LaunchSpec& spec) {
  std::string text;
  for (const auto& file : {vmm, spec.kernel, spec.initramfs}) {
    CR_ASSIGN(const auto identity, file_identity(file));
    text += identity + "\n";
  }
  for (const auto& disk : spec.disks) {
    struct stat status {};
    if (::fstat(disk.file.get(), &status) != 0) return base::fail(base::errno_error("look at", "a disk"));
    text += fmt::format("disk {}\n", status.st_size);
  }
  CR_ASSIGN(const auto processor, processor_identity());
  return text + processor;
}

bool has_virtualisation(std::string_view processor_identity) {
  const auto begin = processor_identity.find("\nflags");
  if (begin == std::string_view::npos) return false;
  const auto line = processor_identity.substr(begin + 1, processor_identity.find('\n', begin + 1) - begin - 1);
  std::string words(line);
  words += ' ';
  return words.find(" vmx ") != std::string::npos || words.find(" svm ") != std::string::npos;
}

}  // namespace cleanroom::backends
