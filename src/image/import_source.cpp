// ImageSource::open_any() and read_any(): archives whose kind their content tells.
#include "src/base/os/clock.h"
#include "src/base/os/io.h"
#include "src/base/text/json.h"
#include "src/image/image_error.h"
#include "src/image/image_source.h"
#include "src/image/layer_stream.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Json;
using base::Result;

constexpr const char* kRootfsTar = "rootfs.tar";
constexpr std::size_t kPartBytes = 1u << 20;
constexpr std::chrono::minutes kPipePatience{10};

class FdReader final : public ContentReader {
 public:
  explicit FdReader(const base::Fd& fd) : fd_(fd) {}
  Result<std::size_t> read(std::span<std::byte> into) override { return base::read_some(fd_, into); }

 private:
  const base::Fd& fd_;
};

// A pipe, opened without waiting for its writer.
class PipeReader final : public ContentReader {
 public:
  explicit PipeReader(const base::Fd& fd) : fd_(fd) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    // A pipe that no writer has opened yet is not readable, and read() takes it for one that has ended.
    pollfd readable{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    const base::Deadline deadline = base::deadline_in(kPipePatience);
    for (;;) {
      const int ready = ::poll(&readable, 1, static_cast<int>(base::time_left(deadline).count()));
      if (ready > 0) return base::read_some(fd_, into);
      if (ready < 0 && errno != EINTR) return fail(base::errno_error("wait for", "the archive"));
      if (ready == 0)
        return fail(Code::timeout, fmt::format("the archive's pipe gives nothing for {} min", kPipePatience.count()));
    }
  }

 private:
  const base::Fd& fd_;
};

// A reader that somebody else owns.
class BorrowedReader final : public ContentReader {
 public:
  explicit BorrowedReader(ContentReader& reader) : reader_(reader) {}
  Result<std::size_t> read(std::span<std::byte> into) override { return reader_.read(into); }
  void abort() noexcept override { reader_.abort(); }

 private:
  ContentReader& reader_;
};

// What the stream holds, decompressed, in a file without a name.
Result<base::Fd> spool_stream(std::unique_ptr<ContentReader> stream, const std::filesystem::path& spool,
                              const Limits& limits) {
  CR_ASSIGN(const base::Fd directory, base::open_file(spool, O_RDONLY | O_DIRECTORY));
  CR_ASSIGN(base::Fd file, base::open_file(spool, O_TMPFILE | O_RDWR, 0600));
  ExpansionBudget budget(limits, directory);
  CR_ASSIGN(const auto tar, LayerStream::open(std::move(stream), {}, budget));
  std::vector<std::byte> part(kPartBytes);
  for (;;) {
    CR_ASSIGN(const std::size_t n, tar->read(part));
    if (n == 0) break;
    CR_TRY(base::write_all(file, std::span(part).first(n)));
  }
  CR_TRY(tar->finish());
  return file;
}

Result<model::Digest> digest_of(const base::Fd& file, std::uint64_t size) {
  base::Sha256 hash;
  std::vector<std::byte> part(kPartBytes);
  for (std::uint64_t at = 0; at < size;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), size - at));
    CR_TRY(base::pread_exact(file, std::span(part).first(n), at));
    hash.update(std::span(part).first(n));
    at += n;
  }
  return model::Digest::from_sha256_hex(hash.finish_hex());
}

Result<base::Fd> reopen(const base::Fd& file) {
  base::Fd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail(base::errno_error("duplicate", "the archive"));
  return copy;
}

// The digest that a manifest of one uncompressed layer and an empty config would have: the same tar, the same digest.
model::Digest rootfs_digest(const model::Digest& layer, std::uint64_t size) {
  const std::string platform(host_platform());
  const std::size_t slash = platform.find('/');
  const std::string config =
      base::canonical_json(Json{{"os", platform.substr(0, slash)},
                                {"architecture", platform.substr(slash + 1)},
                                {"config", Json::object()},
                                {"rootfs", {{"type", "layers"}, {"diff_ids", Json::array({layer.to_string()})}}}});
  const auto descriptor = [](std::string_view type, const std::string& digest, std::uint64_t bytes) {
    return Json{{"mediaType", type}, {"digest", digest}, {"size", bytes}};
  };
  const std::string manifest = base::canonical_json(Json{
      {"schemaVersion", 2},
      {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
      {"config",
       descriptor("application/vnd.oci.image.config.v1+json", "sha256:" + base::sha256_hex(config), config.size())},
      {"layers", Json::array({descriptor("application/vnd.oci.image.layer.v1.tar", layer.to_string(), size)})}});
  return model::Digest::from_sha256_hex(base::sha256_hex(manifest));
}

}  // namespace

Result<ImageSource> ImageSource::open_rootfs(base::Fd tar, const Limits& limits) {
  struct stat info {};
  if (::fstat(tar.get(), &info) != 0) return fail(base::errno_error("examine", "the archive"));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  // An archive of nothing ends with zeros; nothing at all is what is left of a program that failed before a pipe.
  if (size == 0) return image_invalid("it is empty");
  CR_ASSIGN(const model::Digest layer, digest_of(tar, size));
  CR_ASSIGN(auto files, open_single_set(std::move(tar), kRootfsTar));
  ImageSource source(std::move(files), limits, rootfs_digest(layer, size));
  source.rootfs_ = LayerPlan{kRootfsTar, {Compression::none, layer, size, layer}};
  return source;
}

Result<BuildPlan> ImageSource::plan_rootfs() const {
  return BuildPlan{.config = {}, .layers = {*rootfs_}};
}

// The archive is not compressed.
Result<ImageSource> ImageSource::open_tar(base::Fd tar, const Limits& limits) {
  struct stat info {};
  if (::fstat(tar.get(), &info) != 0) return fail(base::errno_error("examine", "the archive"));
  // Even a tar of nothing has blocks of zeros: what made this one has failed.
  if (info.st_size == 0) return image_invalid("the archive is empty");
  CR_ASSIGN(base::Fd indexed, reopen(tar));
  auto files = open_archive_set(std::move(indexed), "the archive");
  // A root file system has members that an image's archive never has, or more of them.
  if (!files) return open_rootfs(std::move(tar), limits);
  if ((*files)->open("oci-layout")) return open_oci(std::move(*files), {.kind = SourceKind::oci_archive}, limits);
  if ((*files)->open("manifest.json"))
    return open_docker(std::move(*files), {.kind = SourceKind::docker_archive}, limits);
  return open_rootfs(std::move(tar), limits);
}

Result<ImageSource> ImageSource::open_any(const std::filesystem::path& path, const std::filesystem::path& spool,
                                          const Limits& limits) {
  auto opened = base::open_file(path, O_RDONLY | O_NONBLOCK);
  if (!opened) {
    if (opened.error().code == Code::not_found) opened.error().reason = "image_not_found";
    return fail(std::move(opened.error()));
  }
  struct stat info {};
  if (::fstat(opened->get(), &info) != 0) return fail(base::errno_error("examine", path.native()));
  if (S_ISDIR(info.st_mode)) {
    CR_ASSIGN(auto files, open_directory_set(path));
    if (files->open("oci-layout")) return open_oci(std::move(files), {.kind = SourceKind::oci_directory}, limits);
    return fail(base::Error(Code::invalid_input, "image_invalid",
                            fmt::format("the directory '{}' is no OCI layout", path.native()))
                    .with_hint(fmt::format("for a root file system: tar -C '{}' -c . | cleanroom image import NAME -",
                                           path.native())));
  }
  if (!S_ISREG(info.st_mode)) {
    PipeReader reader(*opened);
    return read_any(reader, spool, limits);
  }
  std::array<std::byte, 8> start{};
  if (static_cast<std::size_t>(info.st_size) >= start.size()) CR_TRY(base::pread_exact(*opened, start, 0));
  if (compression_by_magic(start) == Compression::none) return open_tar(std::move(*opened), limits);
  CR_ASSIGN(base::Fd tar, spool_stream(std::make_unique<FdReader>(*opened), spool, limits));
  return open_tar(std::move(tar), limits);
}

Result<ImageSource> ImageSource::read_any(ContentReader& stream, const std::filesystem::path& spool,
                                          const Limits& limits) {
  CR_ASSIGN(base::Fd tar, spool_stream(std::make_unique<BorrowedReader>(stream), spool, limits));
  return open_tar(std::move(tar), limits);
}

}  // namespace cleanroom::image
