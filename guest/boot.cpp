#include "guest/boot.h"

#include "guest/vsock_ports.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/poll.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <vector>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kMaxSmallFile = 64 * 1024;
constexpr int kPollMs = 5;
constexpr const char* kPortClass = "/sys/class/virtio-ports";

void wait_a_little() {
  ::poll(nullptr, 0, kPollMs);
}

base::Result<void> mount_at(const char* type, const char* target, unsigned long flags) {
  ::mkdir(target, 0755);
  if (::mount(type, target, type, flags, nullptr) != 0 && errno != EBUSY) {
    return base::fail(base::errno_error("mount", target));
  }
  return {};
}

base::Result<void> load_module(const std::string& name) {
  CR_ASSIGN(const auto file, base::open_file(fmt::format("/modules/{}.ko", name), O_RDONLY));
  if (::syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST) {
    return base::fail(base::errno_error("load module", name));
  }
  return {};
}

// The device of the port with that name; invalid while there is none.
base::Fd open_port(std::string_view name) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kPortClass, error)) {
    const auto found = base::read_file(entry.path() / "name", kMaxSmallFile);
    if (!found || *found != std::string(name) + "\n") continue;
    auto port = base::open_file("/dev" / entry.path().filename(), O_RDWR | O_NONBLOCK);
    if (port) return std::move(*port);
  }
  return {};
}

// One of the events or a pause: a port whose host is not connected reports HUP all the time.
void wait_for_port(const base::Fd& port, short events) {
  pollfd wait{port.get(), events, 0};
  ::poll(&wait, 1, -1);
  if ((wait.revents & events) == 0) wait_a_little();
}

base::Error lost_connection() {
  return {base::Code::unavailable, "the vsock connection is lost"};
}

base::Result<void> read_exactly(const Ports& ports, std::span<std::byte> into) {
  std::size_t have = 0;
  while (have < into.size()) {
    const ssize_t n = ::read(ports.control.get(), into.data() + have, into.size() - have);
    if (n > 0) {
      have += static_cast<std::size_t>(n);
      continue;
    }
    const bool failed = n < 0 && errno != EAGAIN && errno != EINTR;
    if (ports.kind == PortKind::vsock && (failed || n == 0)) return base::fail(lost_connection());
    if (failed) return base::fail(base::errno_error("read", "the control port"));
    // virtio-serial: 0 = the host is not connected, as after a snapshot was restored.
    wait_for_port(ports.control, POLLIN);
  }
  return {};
}

base::Result<void> send_ready(const Ports& ports) {
  const auto ready = channel::encode(channel::ReadyRecord{.agent_version = CLEANROOM_VERSION});
  for (;;) {
    // A record this small is never split.
    const ssize_t n = ::write(ports.control.get(), ready.data(), ready.size());
    if (n == static_cast<ssize_t>(ready.size())) return {};
    if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
      return base::fail(ports.kind == PortKind::vsock ? lost_connection() : base::errno_error("write", "READY"));
    }
    wait_for_port(ports.control, POLLOUT);
  }
}

base::Result<channel::StartRecord> receive_start(const Ports& ports) {
  std::array<std::byte, channel::kStartHeadSize> head;
  CR_TRY(read_exactly(ports, head));
  CR_ASSIGN(const auto size, channel::decode_start_head(head));
  std::vector<std::byte> body(size);
  CR_TRY(read_exactly(ports, body));
  return channel::decode_start_body(body);
}

base::Result<channel::StartRecord> exchange_records(const Ports& ports) {
  CR_TRY(send_ready(ports));
  return receive_start(ports);
}

}  // namespace

base::Result<void> mount_early() {
  CR_TRY(mount_at("devtmpfs", "/dev", MS_NOSUID));
  CR_TRY(mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  CR_TRY(mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  int console = ::open("/dev/console", O_RDWR | O_NOCTTY);
  if (console < 0) console = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd)
    ::dup2(console, fd);
  if (console > 2) ::close(console);
  return {};
}

bool is_template() {
  const auto words = base::read_file("/proc/cmdline", kMaxSmallFile);
  return words && (" " + words->substr(0, words->find('\n')) + " ").find(fmt::format(" {} ", channel::kTemplateMark)) !=
                      std::string::npos;
}

void load_modules() {
  const auto order = base::read_file("/modules/load-order", kMaxSmallFile);
  if (!order) return;  // a kernel that has all of them built in
  std::string_view rest = *order;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const std::string name(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (name.empty()) continue;
    if (auto loaded = load_module(name); !loaded) tell(loaded.error().message);
  }
}

base::Result<Ports> open_ports(base::Deadline deadline) {
  Ports ports;
  for (;;) {
    if (!ports.control) ports.control = open_port(channel::kControlPortName);
    if (!ports.network) ports.network = open_port(channel::kNetworkPortName);
    if (ports.control && ports.network) return ports;
    if (!ports.control && has_vsock()) {
      if (auto dialled = dial_vsock_ports()) return dialled;
    }
    if (base::time_left(deadline).count() == 0) {
      return base::fail(
          base::Code::timeout,
          fmt::format("cannot find port '{}'", ports.control ? channel::kNetworkPortName : channel::kControlPortName));
    }
    wait_a_little();
  }
}

base::Result<channel::StartRecord> meet_host(Ports& ports, std::chrono::milliseconds port_time) {
  for (;;) {
    auto start = exchange_records(ports);
    if (start || start.error().code != base::Code::unavailable) return start;
    ports = Ports{};  // closed before they are dialled again
    CR_ASSIGN(ports, open_ports(base::deadline_in(port_time)));
  }
}

base::Result<void> apply_identity(const channel::StartRecord& start) {
  struct {  // rand_pool_info of random(4), whose last member C++ has no word for
    int entropy_bits = 256;
    int size = 32;
    std::array<std::byte, 32> bytes{};
  } pool;
  pool.bytes = start.entropy;
  CR_ASSIGN(const auto random, base::open_file("/dev/urandom", O_RDWR));
  if (::ioctl(random.get(), RNDADDENTROPY, &pool) != 0 || ::ioctl(random.get(), RNDRESEEDCRNG) != 0) {
    return base::fail(base::errno_error("seed", "the random generator"));
  }
  ::explicit_bzero(&pool, sizeof pool);
  const timespec now{static_cast<time_t>(start.wall_clock_ns / 1'000'000'000),
                     static_cast<long>(start.wall_clock_ns % 1'000'000'000)};
  if (::clock_settime(CLOCK_REALTIME, &now) != 0) return base::fail(base::errno_error("set", "the clock"));
  if (::sethostname(start.hostname.data(), start.hostname.size()) != 0) {
    return base::fail(base::errno_error("set", "the hostname"));
  }
  return {};
}

void tell(std::string_view text) {
  const auto line = fmt::format("cleanroom-agent: {}\n", text);
  if (::write(2, line.data(), line.size()) < 0) return;  // no console, nobody to tell
}

void power_off() {
  // "Reboot": the kernel's command line makes that a triple fault, which ends a VMM started with -no-reboot at once;
  // microvm machines have no ACPI power button of their own.
  ::reboot(RB_AUTOBOOT);
  for (;;)
    ::pause();
}

}  // namespace cleanroom::guest
