#include "guest/image_warmup.h"

#include "guest/root_path.h"
#include "src/base/os/io.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <deque>
#include <set>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kMaxProgramHeaders = 64;
constexpr std::size_t kMaxDynamicEntries = 512;
constexpr std::size_t kMaxProgramName = 256;
constexpr std::size_t kMaxFiles = 32;
constexpr std::size_t kMaxFileBytes = 4 << 20;

constexpr std::array<const char*, 4> kFiles = {"etc/passwd", "etc/group", "etc/ld.so.cache", "etc/nsswitch.conf"};
constexpr std::array<const char*, 2> kPrograms = {"bin/sh", "bin/bash"};
constexpr std::array<const char*, 6> kLibraryDirectories = {
    "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"};

template <typename T>
std::optional<T> read_at(std::span<const std::byte> file, std::uint64_t offset) {
  T value{};
  if (offset > file.size() || file.size() - offset < sizeof value) return std::nullopt;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::optional<std::string> text_at(std::span<const std::byte> file, std::uint64_t offset) {
  if (offset >= file.size()) return std::nullopt;
  const auto rest = base::as_text(file.subspan(offset)).substr(0, kMaxProgramName);
  const auto end = rest.find('\0');
  if (end == std::string_view::npos || end == 0) return std::nullopt;
  return std::string(rest.substr(0, end));
}

std::vector<Elf64_Phdr> program_headers(std::span<const std::byte> file) {
  const auto head = read_at<Elf64_Ehdr>(file, 0);
  if (!head || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64 ||
      head->e_ident[EI_DATA] != ELFDATA2LSB || head->e_phentsize != sizeof(Elf64_Phdr) ||
      head->e_phnum > kMaxProgramHeaders)
    return {};
  std::vector<Elf64_Phdr> headers;
  for (std::size_t i = 0; i < head->e_phnum; ++i) {
    const auto header = read_at<Elf64_Phdr>(file, head->e_phoff + i * sizeof(Elf64_Phdr));
    if (!header) return {};
    headers.push_back(*header);
  }
  return headers;
}

// Where in the file an address is.
std::optional<std::uint64_t> offset_of(const std::vector<Elf64_Phdr>& headers, std::uint64_t address) {
  for (const auto& header : headers) {
    if (header.p_type == PT_LOAD && address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
      return address - header.p_vaddr + header.p_offset;
  }
  return std::nullopt;
}

std::vector<std::string> needed_libraries(std::span<const std::byte> file, const std::vector<Elf64_Phdr>& headers,
                                          const Elf64_Phdr& dynamic) {
  std::vector<std::uint64_t> names;
  std::optional<std::uint64_t> strings;
  for (std::size_t i = 0; i < kMaxDynamicEntries; ++i) {
    const auto entry = read_at<Elf64_Dyn>(file, dynamic.p_offset + i * sizeof(Elf64_Dyn));
    if (!entry || entry->d_tag == DT_NULL) break;
    if (entry->d_tag == DT_NEEDED) names.push_back(entry->d_un.d_val);
    if (entry->d_tag == DT_STRTAB) strings = offset_of(headers, entry->d_un.d_ptr);
  }
  std::vector<std::string> libraries;
  for (const auto name : names) {
    const auto text = strings ? text_at(file, *strings + name) : std::nullopt;
    if (text) libraries.push_back(*text);
  }
  return libraries;
}

class Warmer {
 public:
  explicit Warmer(const base::Fd& root) : root_(root) {}

  // Its content; empty when there is none, or no room is left.
  std::string read(const std::string& path) {
    if (files_ == kMaxFiles || !seen_.insert(path).second) return {};
    const auto file = open_in_root(root_, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat status {};
    if (!file || ::fstat(file->get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > kMaxFileBytes || size > left_) return {};
    ++files_;
    left_ -= size;
    return base::read_all(*file, path, kMaxFileBytes).value_or(std::string());
  }

  void read_with_libraries(const std::string& path) {
    std::deque<std::string> waiting{read(path)};
    for (; !waiting.empty(); waiting.pop_front()) {
      const auto linked = read_linkage(base::as_bytes(waiting.front()));
      if (!linked) continue;
      if (!linked->loader.empty()) read(linked->loader);
      for (const auto& library : linked->libraries)
        waiting.push_back(find_library(library));
    }
  }

 private:
  std::string find_library(const std::string& name) {
    if (name.find('/') != std::string::npos) return {};
    for (const auto* directory : kLibraryDirectories) {
      auto content = read(fmt::format("{}/{}", directory, name));
      if (!content.empty()) return content;
    }
    return {};
  }

  const base::Fd& root_;
  std::set<std::string> seen_;
  std::size_t files_ = 0;
  std::uint64_t left_ = kMaxWarmBytes;
};

}  // namespace

std::optional<LinkedWith> read_linkage(std::span<const std::byte> file) {
  const auto headers = program_headers(file);
  std::optional<LinkedWith> linked;
  for (const auto& header : headers) {
    if (header.p_type == PT_DYNAMIC) {
      if (!linked) linked.emplace();
      linked->libraries = needed_libraries(file, headers, header);
    }
    if (header.p_type != PT_INTERP) continue;
    if (!linked) linked.emplace();
    linked->loader = text_at(file, header.p_offset).value_or(std::string());
  }
  return linked;
}

void warm_image(const base::Fd& root) {
  Warmer warmer(root);
  for (const auto* path : kFiles)
    warmer.read(path);
  for (const auto* path : kPrograms)
    warmer.read_with_libraries(path);
}

}  // namespace cleanroom::guest
