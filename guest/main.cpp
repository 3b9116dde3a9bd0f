// cleanroom-agent: /init of the guest. Boots the machine, says READY, waits for START, serves the host until it is told
// to stop. Process 1 must not end: whatever goes wrong becomes a line on the console and the end of the VM.
#include "guest/boot.h"
#include "guest/cgroup.h"
#include "guest/control.h"
#include "guest/disk_mounter.h"
#include "guest/job_root.h"
#include "guest/loop.h"
#include "guest/network.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace cleanroom::guest {
namespace {

// A machine under emulation on a busy host is slow.
constexpr std::chrono::seconds kPortTime{30};
constexpr std::chrono::seconds kPrepareTime{30};

base::Result<void> serve() {
  CR_TRY(mount_early());
  load_modules();
  CR_TRY(prepare_cgroups());
  CR_ASSIGN(const auto loop, Loop::create());
  CR_ASSIGN(const auto network, Network::create(*loop));
  CR_ASSIGN(auto root, JobRoot::stage());
  const bool to_be_saved = is_template();
  if (to_be_saved) root.warm();
  CR_ASSIGN(auto mounter, DiskMounter::prepare(root));
  CR_ASSIGN(auto command, ExecProcess::prepare());
  // Else the host is met meanwhile.
  if (to_be_saved) CR_TRY(command.wait_prepared(base::deadline_in(kPrepareTime)));
  CR_ASSIGN(auto ports, open_ports(base::deadline_in(kPortTime)));
  // A memory snapshot may be taken in here; everything below belongs to one job.
  CR_ASSIGN(const auto start, meet_host(ports, kPortTime));
  CR_TRY(mounter.begin(start.mounts));
  CR_TRY(apply_identity(start));
  CR_TRY(root.write_identity(start.hostname));
  std::string lost;
  const auto on_lost = [&](std::string why) {
    lost = std::move(why);
    loop->stop();
  };
  // Without the network stream the job goes on: what it dials is refused.
  CR_TRY(network->start(std::move(ports.network), start.network,
                        [](std::string why) { tell("the network stream is lost: " + why); }));
  Control control(*loop, std::move(ports.control), start, std::move(command), on_lost);
  mounter.watch(*loop, [&](const base::Result<void>& mounted) {
    if (!mounted) return on_lost(mounted.error().message);
    control.open();
  });
  loop->run();
  if (!lost.empty()) return base::fail(base::Code::cancelled, "cannot go on: " + lost);
  return {};
}

}  // namespace
}  // namespace cleanroom::guest

int main() {
  using namespace cleanroom::guest;
  if (::getpid() != 1) {
    std::fputs("cleanroom-agent: this is the init process of a Cleanroom VM, it does nothing anywhere else\n", stderr);
    return 64;
  }
  ::signal(SIGPIPE, SIG_IGN);
  if (auto served = serve(); !served) tell(served.error().describe());
  power_off();
}
