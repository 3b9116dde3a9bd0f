#include "src/image/file_set.h"

#include "src/base/os/io.h"
#include "src/image/decompressor.h"
#include "src/image/image_error.h"
#include "src/image/tar_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::size_t kMaxMembers = 10'000;

Result<std::uint64_t> regular_size(const base::Fd& fd, std::string_view name) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail(base::errno_error("examine", name));
  if (!S_ISREG(info.st_mode)) return image_invalid(fmt::format("'{}' is not a regular file", shown(name)));
  return static_cast<std::uint64_t>(info.st_size);
}

base::Error not_found(base::Error error) {
  if (error.code == Code::not_found) error.reason = "image_not_found";
  return error;
}

// A part of a file, by pread: many may share one descriptor. `owned` may hold the descriptor that `fd` is.
class RegionReader final : public FileReader {
 public:
  RegionReader(std::shared_ptr<const base::Fd> fd, std::uint64_t offset, std::uint64_t size)
      : fd_(std::move(fd)), at_(offset), left_(size), size_(size) {}
  std::uint64_t size() const override { return size_; }
  Result<std::size_t> read(std::span<std::byte> into) override {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
    ssize_t n = 0;
    do
      n = ::pread(fd_->get(), into.data(), wanted, static_cast<off_t>(at_));
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail(base::errno_error("read", "the image"));
    if (n == 0 && wanted > 0) return image_invalid("a file of the image became shorter while it was read");
    at_ += static_cast<std::uint64_t>(n);
    left_ -= static_cast<std::uint64_t>(n);
    return static_cast<std::size_t>(n);
  }

 private:
  std::shared_ptr<const base::Fd> fd_;
  std::uint64_t at_;
  std::uint64_t left_;
  std::uint64_t size_;
};

class DirectorySet final : public FileSet {
 public:
  explicit DirectorySet(base::Fd directory) : directory_(std::move(directory)) {}
  Result<std::unique_ptr<FileReader>> open(const std::string& name) const override {
    auto fd = base::open_at(directory_, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!fd && fd.error().code == Code::not_found)
      return image_invalid(fmt::format("the image has no '{}'", shown(name)));
    // A link, which is not followed, or what is no directory on the way there.
    if (!fd && fd.error().code == Code::invalid_input) fd.error().reason = "image_invalid";
    if (!fd) return fail(std::move(fd.error()));
    CR_ASSIGN(const std::uint64_t size, regular_size(*fd, name));
    return std::make_unique<RegionReader>(std::make_shared<const base::Fd>(std::move(*fd)), 0, size);
  }

 private:
  base::Fd directory_;
};

// The archive as a tar: small reads are buffered, skips do not read.
class ArchiveSource final : public TarSource {
 public:
  ArchiveSource(const base::Fd& fd, std::uint64_t size) : fd_(fd), size_(size) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - at_));
    CR_TRY(base::pread_exact(fd_, into.first(n), at_));
    at_ += n;
    return n;
  }
  Result<void> skip(std::uint64_t bytes) override {
    if (bytes > size_ - at_) return image_invalid("the archive ends within a member");
    at_ += bytes;
    return {};
  }

 private:
  const base::Fd& fd_;
  std::uint64_t size_;
  std::uint64_t at_ = 0;
};

struct Member {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::string link;  // older `docker save` has symlinks to layers that are there twice
};

std::string normal(std::string_view name) {
  return std::filesystem::path(name).lexically_normal().generic_string();
}

class ArchiveSet final : public FileSet {
 public:
  ArchiveSet(std::shared_ptr<const base::Fd> fd, std::map<std::string, Member> members)
      : fd_(std::move(fd)), members_(std::move(members)) {}
  Result<std::unique_ptr<FileReader>> open(const std::string& name) const override {
    auto found = members_.find(normal(name));
    if (found != members_.end() && !found->second.link.empty()) {
      found = members_.find(normal((std::filesystem::path(found->first).parent_path() / found->second.link).native()));
    }
    if (found == members_.end() || !found->second.link.empty()) {
      return image_invalid(fmt::format("the image has no '{}'", shown(name)));
    }
    return std::make_unique<RegionReader>(fd_, found->second.offset, found->second.size);
  }

 private:
  std::shared_ptr<const base::Fd> fd_;
  std::map<std::string, Member> members_;
};

Result<std::map<std::string, Member>> index_members(const base::Fd& fd, std::uint64_t size) {
  ArchiveSource source(fd, size);
  TarReader tar(source);
  std::map<std::string, Member> members;
  TarMember member;
  for (;;) {
    CR_ASSIGN(const bool more, tar.next(member));
    if (!more) return members;
    if (members.size() >= kMaxMembers)
      return image_limit(fmt::format("the archive has more than {} members", kMaxMembers));
    if (member.kind == EntryKind::directory) continue;
    if (member.kind != EntryKind::file && member.kind != EntryKind::symlink) {
      return image_invalid(fmt::format("the archive's member '{}' is not a file", shown(member.name)));
    }
    const Member where{member.data_offset, member.size, member.kind == EntryKind::symlink ? member.link_name : ""};
    if (!members.emplace(normal(member.name), where).second) {
      return image_invalid(fmt::format("the archive has '{}' twice", shown(member.name)));
    }
  }
}

}  // namespace

Result<std::string> FileSet::read(const std::string& name, std::size_t max_bytes) const {
  CR_ASSIGN(const auto file, open(name));
  if (file->size() > max_bytes) return image_limit(fmt::format("'{}' is larger than {} bytes", shown(name), max_bytes));
  std::string text(file->size(), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    CR_ASSIGN(const std::size_t n, file->read(std::as_writable_bytes(std::span(text)).subspan(have)));
    have += n;
  }
  return text;
}

Result<std::unique_ptr<FileSet>> open_directory_set(const std::filesystem::path& directory) {
  auto fd = base::open_file(directory, O_RDONLY | O_DIRECTORY);
  if (!fd) return fail(not_found(fd.error()));
  return std::make_unique<DirectorySet>(std::move(*fd));
}

Result<std::unique_ptr<FileSet>> open_archive_set(const std::filesystem::path& archive) {
  auto opened = base::open_file(archive, O_RDONLY | O_NONBLOCK);
  if (!opened) return fail(not_found(opened.error()));
  return open_archive_set(std::move(*opened), archive.native());
}

Result<std::unique_ptr<FileSet>> open_archive_set(base::Fd archive, std::string_view shown_as) {
  auto fd = std::make_shared<const base::Fd>(std::move(archive));
  CR_ASSIGN(const std::uint64_t size, regular_size(*fd, shown_as));
  std::array<std::byte, 4> start{};
  if (size >= start.size()) CR_TRY(base::pread_exact(*fd, start, 0));
  const std::string_view magic = base::as_text(start);
  const bool known = compression_by_magic(start) != Compression::none;
  if (known || magic.starts_with("BZh") ||
      magic.starts_with("\xfd"
                        "7z")) {
    return fail(
        base::Error(Code::unsupported, "image_invalid",
                    fmt::format("the archive '{}' is compressed as a whole", shown(shown_as)))
            .with_hint("decompress it first (gzip -dk, zstd -dk, xz -dk); the layers inside may be compressed"));
  }
  CR_ASSIGN(auto members, index_members(*fd, size));
  return std::make_unique<ArchiveSet>(std::move(fd), std::move(members));
}

Result<std::unique_ptr<FileSet>> open_single_set(base::Fd file, std::string name) {
  auto fd = std::make_shared<const base::Fd>(std::move(file));
  CR_ASSIGN(const std::uint64_t size, regular_size(*fd, name));
  std::map<std::string, Member> members;
  members.emplace(std::move(name), Member{0, size, ""});
  return std::make_unique<ArchiveSet>(std::move(fd), std::move(members));
}

}  // namespace cleanroom::image
