#include "src/backends/jail/shared_objects.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <sstream>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;

namespace {

constexpr std::chrono::seconds kLoaderLimit{10};
constexpr std::size_t kMaxList = 256 * 1024;
constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kMaxHeaders = 256;
constexpr std::size_t kMaxKey = 200;

base::Error no_program(const std::filesystem::path& program, std::string_view why) {
  return base::Error(Code::failed_precondition, fmt::format("cannot jail '{}': {}", program.native(), why));
}

// The PT_INTERP segment (elf(5)); nullopt: a static program.
Result<std::optional<std::string>> loader_of(const std::filesystem::path& program) {
  CR_ASSIGN(const auto file, base::open_file(program, O_RDONLY));
  Elf64_Ehdr header{};
  if (::pread(file.get(), &header, sizeof header, 0) != sizeof header ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxHeaders)
    return base::fail(no_program(program, "it is no 64-bit ELF program").with_hint("name the program, not a script"));
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    const auto offset = static_cast<off_t>(header.e_phoff + i * sizeof segment);
    if (::pread(file.get(), &segment, sizeof segment, offset) != sizeof segment)
      return base::fail(no_program(program, "its headers are cut short"));
    if (segment.p_type != PT_INTERP) continue;
    if (segment.p_filesz == 0 || segment.p_filesz > kMaxPath)
      return base::fail(no_program(program, "the name of its loader is malformed"));
    std::string name(segment.p_filesz, '\0');
    if (::pread(file.get(), name.data(), name.size(), static_cast<off_t>(segment.p_offset)) !=
        static_cast<ssize_t>(name.size()))
      return base::fail(no_program(program, "its headers are cut short"));
    return std::string(name.c_str());
  }
  return std::optional<std::string>();
}

// Changes whenever the answer could; empty: it cannot be kept.
std::string link_key_of(const std::filesystem::path& program) {
  struct stat file {};
  struct stat index {};
  if (::stat(program.c_str(), &file) != 0) return {};
  if (::stat(kLoaderCache, &index) != 0) index = {};
  const auto key = fmt::format("libraries-{}-{:x}-{:x}-{:x}-{:x}-{:x}-{:x}", program.filename().native(), file.st_dev,
                               file.st_ino, file.st_size, file.st_ctim.tv_sec, index.st_ino, index.st_mtim.tv_sec);
  return key.size() > kMaxKey ? std::string{} : key;
}

// Lines `name => /path (0x...)` and `/path (0x...)`; the kernel's own (linux-vdso) has no path.
Result<std::string> ask_loader(const std::string& loader, const std::filesystem::path& program) {
  base::SpawnOptions options{.argv = {loader, "--list", program.native()}};
  CR_ASSIGN(const auto answer, base::run_process(std::move(options), base::deadline_in(kLoaderLimit), kMaxList));
  std::string list = loader + "\n";
  std::istringstream lines(answer.output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("not found") != std::string::npos) return base::fail(no_program(program, line));
    const auto arrow = line.find("=> ");
    const auto begin = line.find('/', arrow == std::string::npos ? 0 : arrow);
    const auto end = line.rfind(" (0x");
    if (begin != std::string::npos && end != std::string::npos && begin < end)
      list += line.substr(begin, end - begin) + "\n";
  }
  if (!answer.status.success())
    return base::fail(no_program(program, "its loader gives no list: " + base::to_string(answer.status)));
  return list;
}

// nullopt: one of them is gone.
std::optional<std::vector<std::filesystem::path>> paths_of(const std::string& list) {
  std::vector<std::filesystem::path> paths;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('/') || ::access(line.c_str(), R_OK) != 0) return std::nullopt;
    paths.emplace_back(line);
  }
  return paths;
}

}  // namespace

Result<std::vector<std::filesystem::path>> shared_objects_of(const std::filesystem::path& program,
                                                             const std::filesystem::path& cache_directory) {
  const auto key = cache_directory.empty() ? std::string{} : link_key_of(program);
  if (!key.empty()) {
    const auto kept = base::read_file(cache_directory / key, kMaxList);
    if (kept && kept->ends_with('\n')) {
      if (auto paths = paths_of(*kept)) return std::move(*paths);
    }
  }
  CR_ASSIGN(const auto loader, loader_of(program));
  if (!loader) return std::vector<std::filesystem::path>();
  CR_ASSIGN(const auto list, ask_loader(*loader, program));
  auto paths = paths_of(list);
  if (!paths) return base::fail(no_program(program, "a library of it cannot be read"));
  // A cache that cannot be written just saves no time.
  if (!key.empty() && base::make_private_directories(cache_directory))
    (void)base::write_file_atomically(cache_directory / key, list);
  return std::move(*paths);
}

}  // namespace cleanroom::backends::jail
