#include "guest/disk_mounter.h"

#include "src/base/os/io.h"

#include <sys/prctl.h>
#include <unistd.h>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kMaxOrders = 64 * 1024;
constexpr std::size_t kMaxMountReport = 4 * 1024;
// Of one mount: slot, read-only, path, 0.
constexpr std::size_t kFixedFields = 2;

base::Result<void> follow_orders(const JobRoot& root, const base::Fd& orders) {
  CR_ASSIGN(const auto bytes, base::read_all(orders, "the mounts", kMaxOrders));
  CR_ASSIGN(const auto mounts, decode_mounts(bytes));
  return root.mount_disks(mounts);
}

[[noreturn]] void run_mounter(const JobRoot& root, const base::Fd& orders, base::Fd report) {
  ::prctl(PR_SET_NAME, "cleanroom-mount");
  const auto done = follow_orders(root, orders);
  if (!done && !base::write_all(report, done.error().describe().substr(0, kMaxMountReport))) ::_exit(2);
  report.reset();  // the agent goes on; the kernel takes its time over the end of a process too
  ::_exit(done ? 0 : 1);
}

}  // namespace

std::string encode_mounts(const std::vector<channel::DiskMount>& mounts) {
  std::string bytes;
  for (const auto& mount : mounts) {
    bytes += static_cast<char>(mount.slot);
    bytes += static_cast<char>(mount.read_only);
    bytes += mount.path;
    bytes += '\0';
  }
  return bytes;
}

base::Result<std::vector<channel::DiskMount>> decode_mounts(std::string_view bytes) {
  std::vector<channel::DiskMount> mounts;
  while (!bytes.empty()) {
    const auto end = bytes.find('\0', std::min(kFixedFields, bytes.size()));
    if (end == std::string_view::npos) return base::fail(base::Code::invalid_input, "a mount is cut off");
    mounts.push_back({.slot = static_cast<std::uint8_t>(bytes[0]),
                      .path = std::string(bytes.substr(kFixedFields, end - kFixedFields)),
                      .read_only = static_cast<std::uint8_t>(bytes[1])});
    bytes.remove_prefix(end + 1);
  }
  return mounts;
}

base::Result<DiskMounter> DiskMounter::prepare(const JobRoot& root) {
  CR_ASSIGN(auto orders, base::make_pipe());
  CR_ASSIGN(auto report, base::make_pipe());
  const pid_t child = ::fork();
  if (child < 0) return base::fail(base::errno_error("start", "the process that mounts disks"));
  if (child == 0) {
    orders.write.reset();
    report.read.reset();
    run_mounter(root, orders.read, std::move(report.write));
  }
  return DiskMounter(std::move(orders.write), std::move(report.read));
}

base::Result<void> DiskMounter::begin(const std::vector<channel::DiskMount>& mounts) {
  CR_TRY(base::write_all(orders_, encode_mounts(mounts)));
  orders_.reset();
  return {};
}

void DiskMounter::watch(Loop& loop, std::function<void(base::Result<void>)> on_end) {
  loop.watch(report_.get(), EPOLLIN, [this, &loop, on_end = std::move(on_end)](std::uint32_t) {
    // All of it is there: it is written at once, and its end is closed then.
    const auto text = base::read_all(report_, "the report of mounts", kMaxMountReport);
    loop.forget(report_.get());
    report_.reset();
    if (!text || !text->empty())
      return on_end(base::fail(base::Code::failed_precondition, text ? *text : text.error().message));
    on_end({});
  });
}

}  // namespace cleanroom::guest
