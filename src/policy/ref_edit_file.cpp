// The files behind ref_edit.h.
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/text/diagnostic.h"
#include "src/policy/load.h"
#include "src/policy/ref_edit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cleanroom::policy {
namespace {

struct OpenPolicy {
  std::filesystem::path path;  // without symbolic links
  struct stat status {};
  std::string text;
};

base::Error missing_policy(const std::filesystem::path& file) {
  return base::Error(base::Code::invalid_input, "policy_missing",
                     fmt::format("cannot read policy {}: no such file", base::quote_text(file.string(), 500)))
      .with_hint("write a cleanroom.yaml (docs/policy-reference.md), or name one");
}

base::Result<OpenPolicy> open_policy_to_edit(const std::filesystem::path& file) {
  const auto refuse = [&](std::string_view why) {
    return base::fail(base::Code::invalid_input, "policy_invalid",
                      fmt::format("cannot read policy {}: {}", base::quote_text(file.string(), 500), why));
  };
  std::error_code failure;
  OpenPolicy out;
  out.path = std::filesystem::canonical(file, failure);
  if (failure == std::errc::no_such_file_or_directory) return base::fail(missing_policy(file));
  if (failure) return refuse(failure.message());
  // A FIFO would hang the caller without O_NONBLOCK.
  CR_ASSIGN(const auto fd, base::open_file(out.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  if (::fstat(fd.get(), &out.status) != 0) return base::fail(base::errno_error("stat", out.path.string()));
  if (!S_ISREG(out.status.st_mode)) return refuse("it is not a regular file");
  auto text = base::read_all(fd, out.path.string(), kMaxPolicyBytes);
  if (!text) return refuse(text.error().message);
  out.text = std::move(*text);
  return out;
}

}  // namespace

base::Result<std::filesystem::path> find_policy_file(const std::filesystem::path& directory) {
  for (const char* name : {"cleanroom.yaml", ".buildkite/cleanroom.yaml"}) {
    const auto path = (directory / name).lexically_normal();
    std::error_code failure;
    if (std::filesystem::symlink_status(path, failure).type() != std::filesystem::file_type::not_found) return path;
  }
  return base::fail(missing_policy(directory / "cleanroom.yaml"));
}

base::Result<std::string> read_policy_text(const std::filesystem::path& file) {
  CR_ASSIGN(auto policy, open_policy_to_edit(file));
  return std::move(policy.text);
}

base::Result<RefChange> write_image_ref(const std::filesystem::path& file, const model::ImageReference& reference) {
  CR_ASSIGN(const auto policy, open_policy_to_edit(file));
  CR_ASSIGN(const std::string text, replace_image_ref(policy.text, reference));
  if (text == policy.text) return RefChange::unchanged;
  const auto mode = policy.status.st_mode & 0777U;
  CR_ASSIGN(auto atomic, base::AtomicFile::create(policy.path, mode));
  struct stat made {};
  if (::fstat(atomic.fd().get(), &made) != 0) return base::fail(base::errno_error("stat", policy.path.string()));
  const bool moved = made.st_uid != policy.status.st_uid || made.st_gid != policy.status.st_gid;
  if (moved && ::fchown(atomic.fd().get(), policy.status.st_uid, policy.status.st_gid) != 0) {
    return base::fail(base::errno_error("keep the owner of", policy.path.string()));
  }
  CR_TRY(base::write_all(atomic.fd(), text));
  CR_TRY(atomic.commit());
  return RefChange::written;
}

}  // namespace cleanroom::policy
