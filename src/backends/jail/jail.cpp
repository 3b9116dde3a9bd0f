#include "src/backends/jail/jail.h"

#include "src/backends/jail/confinement.h"
#include "src/backends/jail/high_number.h"
#include "src/base/os/fd_passing.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;
using model::Wall;

namespace {

constexpr uid_t kFirstUser = kVmmGroup;  // plus a process's number
constexpr mode_t kOwnerAndGroup = 0640;

Result<void> try_namespaces(const std::optional<VmmUser>& user) {
  // What the probe binds, to know that it can.
  VmmProfile profile;
  profile.files = {{"/dev/null", JailFile::Use::device}};
  CR_ASSIGN(auto root, MinimalRoot::plan(profile, user));
  const Confinement confinement({.root = std::move(root), .user = user, .seccomp = nullptr, .limits = {}});
  return base::Process::rehearse(confinement);
}

// One for each runner that is alive.
VmmUser user_of_this_run() {
  VmmUser user{.uid = kFirstUser + static_cast<uid_t>(::getpid())};
  constexpr mode_t kForAll = S_IROTH | S_IWOTH;
  struct stat device {};
  if (::stat("/dev/kvm", &device) == 0 && (device.st_mode & kForAll) != kForAll) user.device_group = device.st_gid;
  return user;
}

// As root with a user of its own for the VMM, else as whoever this is.
void probe_namespaces(JailHost& host) {
  if (::geteuid() == 0) {
    const auto user = user_of_this_run();
    const auto tried = try_namespaces(user);
    if (tried) {
      host.user = user;
      return;
    }
    host.isolation.lose(Wall::unprivileged_uid,
                        "the runner is root, and so is the VMM, though without capabilities: " + tried.error().message);
  }
  if (const auto tried = try_namespaces(std::nullopt); !tried) {
    host.isolation.lose_namespaces("no user namespace with mounts for this user: " + tried.error().message);
  }
}

Result<sockaddr_un> socket_address(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() >= sizeof address.sun_path)
    return base::fail(Code::internal, fmt::format("cannot name a socket '{}': its length does not fit", name));
  std::memcpy(address.sun_path, name.c_str(), name.size());
  return address;
}

// What has to stay open until the child has used it.
struct DirectoryPlan {
  base::SocketPair way;
  std::vector<base::Fd> high;

  Result<void> fill(Confinement::Options& walls, const VmmDirectory& directory) {
    walls.directory = walls.root ? MinimalRoot::kDirectory : directory.on_host.native();
    for (const auto& [name, socket] : directory.sockets) {
      CR_ASSIGN(const auto address, socket_address(name));
      CR_ASSIGN(auto number, at_high_number(*socket));
      walls.sockets.emplace_back(number.get(), address);
      high.push_back(std::move(number));
    }
    CR_ASSIGN(way, base::make_socket_pair());
    CR_ASSIGN(auto number, at_high_number(way.b));
    walls.directory_way = number.get();
    high.push_back(std::move(number));
    return {};
  }
};

}  // namespace

Result<void> JailHost::let_write(const base::Fd& file) const {
  if (!user) return {};
  if (::fchown(file.get(), user->uid, user->gid) == 0 && ::fchmod(file.get(), kOwnerAndGroup) == 0) return {};
  return base::fail(base::errno_error("give to the VMM", "a file"));
}

Result<Loan> JailHost::lend(const base::Fd& file) const {
  if (!user) return Loan();
  base::Fd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::fail(base::errno_error("give to the VMM", "a file"));
  CR_TRY(let_write(copy));
  return Loan(std::move(copy));
}

Loan::~Loan() {
  if (file_ && ::fchown(file_.get(), ::geteuid(), static_cast<gid_t>(-1)) != 0) (void)::fchmod(file_.get(), 0);
}

Result<void> JailHost::let_read(const std::filesystem::path& file) const {
  if (!user) return {};
  CR_ASSIGN(const auto opened, base::open_file(file, O_RDONLY | O_NOFOLLOW));
  if (::fchown(opened.get(), static_cast<uid_t>(-1), user->gid) == 0 && ::fchmod(opened.get(), kOwnerAndGroup) == 0)
    return {};
  return base::fail(base::errno_error("give to the VMM", file.native()));
}

JailHost probe_jail_host() {
  JailHost host;
  probe_namespaces(host);
  auto parent = find_cgroup_parent();
  if (parent)
    host.cgroup_parent = std::move(*parent);
  else
    host.isolation.lose(Wall::cgroup, parent.error().message);
  return host;
}

Result<JailedProcess> spawn_jailed(base::SpawnOptions options, const VmmProfile& profile, const JailHost& host) {
  CR_ASSIGN(const auto program, base::find_program(options.argv.at(0)));
  options.argv[0] = program.native();
  Confinement::Options walls{.root = std::nullopt, .seccomp = profile.seccomp, .limits = profile.limits};
  if (host.isolation.has(Wall::mount_namespace)) {
    CR_ASSIGN(walls.root, MinimalRoot::plan(profile, host.user));
    walls.user = host.user;
  }
  DirectoryPlan directory;
  if (profile.directory) CR_TRY(directory.fill(walls, *profile.directory));
  CgroupLeaf cgroup;
  if (!host.cgroup_parent.empty()) {
    const CgroupLimits limits{.memory_bytes = profile.limits.memory_bytes, .processes = profile.limits.threads};
    CR_ASSIGN(cgroup, CgroupLeaf::create(host.cgroup_parent, limits));
  }
  walls.cgroup_entrance = cgroup.entrance();
  const Confinement confinement(std::move(walls));
  options.setup = &confinement;
  options.working_directory.clear();
  CR_ASSIGN(auto process, base::Process::spawn(options));
  JailedProcess jailed{std::move(cgroup), std::move(process)};
  if (profile.directory) {
    // Sent before the exec, which has happened: nothing is waited for.
    directory.high.clear();
    directory.way.b.reset();
    CR_ASSIGN(auto received, base::receive_fds<1>(directory.way.a));
    jailed.directory = std::move(received[0]);
  }
  return jailed;
}

}  // namespace cleanroom::backends::jail
