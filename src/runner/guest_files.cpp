#include "src/runner/guest_files.h"

#include "src/base/os/io.h"

#include <archive.h>
#include <archive_entry.h>

#include <filesystem>
#include <memory>

namespace cleanroom::runner {
namespace {

constexpr std::size_t kTarOverhead = 64 * 1024;  // headers, padding, end of archive

bool add(archive* writer, const std::string& path, unsigned type, unsigned mode, std::string_view content) {
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), type);
  archive_entry_set_perm(entry.get(), mode);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  return archive_write_header(writer, entry.get()) == ARCHIVE_OK &&
         archive_write_data(writer, content.data(), content.size()) == static_cast<la_ssize_t>(content.size());
}

}  // namespace

base::Result<std::vector<std::byte>> guest_files_tar(const std::vector<GuestFile>& files) {
  std::size_t size = kTarOverhead;
  for (const auto& file : files)
    size += file.content.size() + kTarOverhead;
  std::vector<std::byte> tar(size);
  std::size_t used = 0;
  const std::unique_ptr<archive, decltype(&archive_write_free)> writer(archive_write_new(), archive_write_free);
  bool ok = archive_write_set_format_pax_restricted(writer.get()) == ARCHIVE_OK &&
            archive_write_open_memory(writer.get(), tar.data(), tar.size(), &used) == ARCHIVE_OK;
  for (const auto& file : files) {
    const auto path = std::filesystem::path(file.path).relative_path();
    std::filesystem::path parent;
    for (const auto& part : path.parent_path()) {
      parent /= part;
      ok = ok && add(writer.get(), parent.native() + "/", AE_IFDIR, 0755, {});
    }
    ok = ok && add(writer.get(), path.native(), AE_IFREG, file.mode, file.content);
  }
  ok = ok && archive_write_close(writer.get()) == ARCHIVE_OK;
  if (!ok) return base::fail(base::Code::internal, "cannot pack files for the guest");
  tar.resize(used);
  return tar;
}

}  // namespace cleanroom::runner
