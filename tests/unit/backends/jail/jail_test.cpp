// The walls, from inside and outside: a stub in a VMM's place, with the real jail and the VMMs' lists of system calls.
#include "src/backends/jail/jail.h"

#include "src/backends/firecracker/firecracker_profile.h"
#include "src/backends/jail/confinement.h"
#include "src/backends/qemu/qemu_profile.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <set>
#include <sstream>

using namespace cleanroom;
using namespace cleanroom::backends;
using jail::JailFile;
using model::Wall;
using namespace std::chrono_literals;

namespace {

// What jail_stub tries, whoever's list of system calls it is.
const std::vector<const char*> kRefusedToAll = {"socket-inet",
                                                "socket-inet6",
                                                "socket-netlink",
                                                "socket-vsock",
                                                "socket-packet",
                                                "connect-loopback",
                                                "connect-metadata",
                                                "connect-abstract",
                                                "execve",
                                                "execveat",
                                                "fork",
                                                "ptrace",
                                                "kill",
                                                "kill-parent",
                                                "mount",
                                                "unshare",
                                                "setns",
                                                "setuid",
                                                "chroot",
                                                "mkdir",
                                                "bpf",
                                                "userfaultfd",
                                                "io_uring",
                                                "raise-limit"};

struct Outcome {
  base::ExitStatus status;
  std::string output;
};

struct Rig {
  base::TempDir directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
  std::filesystem::path readable = directory.path() / "kernel,a b";
  std::filesystem::path writable = directory.path() / "memory";
  jail::JailHost host = jail::probe_jail_host();
  jail::VmmProfile profile;

  Rig() {
    for (const auto& file : {readable, writable, directory.path() / "not-listed"})
      CHECK(base::write_all(base::open_file(file, O_WRONLY | O_CREAT).value(), "content\n"));
    profile.files = {{JAIL_STUB, JailFile::Use::execute},
                     {"/dev/null", JailFile::Use::device},
                     {readable, JailFile::Use::read},
                     {writable, JailFile::Use::write}};
    filter_with(qemu::qemu_seccomp(Accelerator::tcg));
    // As root the VMM is somebody else. Both are its own, so that the mount alone keeps it from writing one of them.
    for (const auto& file : {readable, writable})
      CHECK(host.let_write(base::open_file(file, O_RDONLY).value()));
  }
  void filter_with(const jail::SeccompProfile& list) {
    profile.seccomp = std::make_shared<const jail::SeccompProgram>(jail::SeccompProgram::compile(list).value());
  }

  // False, and says why, on a host where these walls are not to be had.
  bool has_namespaces() const {
    if (host.isolation.has(Wall::mount_namespace)) return true;
    std::printf("skip: needs user namespaces: %s\n", host.isolation.why_absent(Wall::mount_namespace).c_str());
    return false;
  }

  base::Result<jail::JailedProcess> start(std::vector<std::string> arguments, std::vector<base::InheritedFd> fds) {
    base::SpawnOptions options;
    options.argv = {JAIL_STUB};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.fds = std::move(fds);
    return jail::spawn_jailed(std::move(options), profile, host);
  }

  Outcome run(std::vector<std::string> arguments) {
    auto pipe = base::make_pipe().value();
    auto started = start(std::move(arguments), {{1, &pipe.write}});
    REQUIRE_MESSAGE(started.has_value(), started.error().message);
    pipe.write.reset();
    Outcome outcome;
    std::array<std::byte, 4096> buffer;
    while (const std::size_t n = base::read_some(pipe.read, buffer).value_or(0))
      outcome.output += base::as_text(std::span(buffer).first(n));
    outcome.status = started->process.wait(base::deadline_in(20s)).value();
    return outcome;
  }
};

std::set<std::string> lines_of(const std::string& text) {
  std::set<std::string> lines;
  std::istringstream from(text);
  for (std::string line; std::getline(from, line);)
    lines.insert(line);
  return lines;
}

std::string field(const std::string& status, const std::string& name) {
  const auto at = status.find("\n" + name + ":");
  if (at == std::string::npos) return {};
  const auto begin = status.find_first_not_of("\t ", at + name.size() + 2);
  return status.substr(begin, status.find('\n', begin) - begin);
}

// A stub that waits, and what the kernel says of it.
struct Waiting {
  base::PipeEnds input = base::make_pipe().value();
  base::PipeEnds output = base::make_pipe().value();
  jail::JailedProcess jailed;

  explicit Waiting(Rig& rig) : jailed(rig.start({"wait"}, {{0, &input.read}, {1, &output.write}}).value()) {
    output.write.reset();
    std::array<std::byte, 64> buffer;
    CHECK(base::read_some(output.read, buffer).value() == 6);  // "ready\n"
  }
  std::string proc(const std::string& file) const {
    return base::read_file(fmt::format("/proc/{}/{}", jailed.process.pid(), file), 1 << 20).value_or("");
  }
  std::string ns(const std::string& name) const {
    std::error_code error;
    return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/{}", jailed.process.pid(), name), error).native();
  }
};

void check_fails(const Outcome& outcome) {
  CHECK_FALSE(outcome.status.success());
  CHECK((outcome.status.signal == SIGSYS || outcome.status.signal == 0));
  CHECK(outcome.status.code != 255);  // the stub knows no such attempt
}

}  // namespace

TEST_SUITE("backends/jail") {
  TEST_CASE("VMM-02 the VMM sees the files of its list and nothing else, none but one can be written") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    std::set<std::string> expected = {"/dev", "/dev/null"};
    for (const auto& file : {std::filesystem::path(JAIL_STUB), rig.readable, rig.writable}) {
      for (auto path = file; path != "/"; path = path.parent_path())
        expected.insert(path.native());
    }
    CHECK(lines_of(rig.run({"files"}).output) == expected);
    CHECK(rig.run({"open", rig.readable, std::to_string(O_RDONLY)}).status.success());
    CHECK(rig.run({"open", rig.readable, std::to_string(O_RDWR)}).status.code == EROFS);
    CHECK(rig.run({"open", rig.writable, std::to_string(O_RDWR)}).status.success());
    CHECK(rig.run({"open", JAIL_STUB, std::to_string(O_RDWR)}).status.code != 0);
    CHECK(rig.run({"open", "/new", std::to_string(O_RDWR | O_CREAT)}).status.code == EROFS);
  }

  TEST_CASE("VMM-02 the VMM has namespaces of its own") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    const Waiting stub(rig);
    for (const auto* name : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}) {
      CAPTURE(name);
      CHECK_FALSE(stub.ns(name).empty());
      CHECK(stub.ns(name) != std::filesystem::read_symlink(fmt::format("/proc/self/ns/{}", name)).native());
    }
    CHECK(field(stub.proc("status"), "NSpid").ends_with("\t1"));
    // Its interfaces, as it sees them: loopback, down, with no address.
    CHECK(stub.proc("net/if_inet6").empty());
    CHECK(stub.proc("net/route").find('\n') == stub.proc("net/route").size() - 1);
  }

  TEST_CASE("VMM-01 the VMM has no capabilities, no way to new ones, and a filter") {
    Rig rig;
    const Waiting stub(rig);
    const auto status = stub.proc("status");
    for (const auto* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
      CHECK(field(status, set) == "0000000000000000");
    if (rig.host.isolation.has(Wall::user_namespace)) {
      CHECK(field(status, "CapBnd") == "0000000000000000");
      CHECK(rig.run({"inherited"}).output.find("uid 0\n") == std::string::npos);
      CHECK(rig.run({"inherited"}).output.find("gid 0\n") == std::string::npos);
    }
    CHECK(field(status, "NoNewPrivs") == "1");
    CHECK(field(status, "Seccomp") == "2");
    CHECK(stub.proc("limits").find("Max core file size        0                    0") != std::string::npos);
  }

  TEST_CASE("VMM-03 the VMM has the listed descriptors and no environment") {
    Rig rig;
    // Not close-on-exec, and a directory.
    const base::Fd leak(::open("/etc", O_RDONLY | O_DIRECTORY));
    REQUIRE(leak.valid());
    const auto lines = lines_of(rig.run({"inherited"}).output);
    std::set<std::string> fds;
    for (const auto& line : lines) {
      if (line.starts_with("fd ")) fds.insert(line);
      CHECK_FALSE(line.starts_with("env "));
    }
    CHECK(fds == std::set<std::string>{"fd 0", "fd 1", "fd 2"});
  }

  TEST_CASE("VMM-04 what a VMM that was taken over would try fails") {
    Rig rig;
    // An abstract socket that answers anyone who reaches it.
    const base::Fd canary(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy_n("\0jail-canary", 12, address.sun_path);
    REQUIRE(::bind(canary.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t) + 12) == 0);
    REQUIRE(::listen(canary.get(), 4) == 0);
    auto names = kRefusedToAll;
    names.insert(names.end(), {"socket-unix", "memfd"});
    for (const auto* name : names) {
      CAPTURE(name);
      check_fails(rig.run({"try", name}));
    }
    if (!rig.has_namespaces()) return;
    const char* home = std::getenv("HOME");
    for (const std::string& path : {std::string("/etc/passwd"), std::string(home != nullptr ? home : "/root"),
                                    std::string("/proc/self/status"), std::string("/sys"), std::string("/etc"),
                                    std::string("/tmp"), rig.directory.path().native() + "/not-listed"}) {
      CAPTURE(path);
      const auto flags = path == "/tmp" ? O_RDWR | O_TMPFILE : O_RDONLY;
      CHECK(rig.run({"open", path, std::to_string(flags)}).status.code != 0);
    }
  }

  TEST_CASE("VMM-04 Firecracker's list of system calls lets it make sockets, and reach nothing of the host by them") {
    Rig rig;
    rig.filter_with(firecracker::firecracker_seccomp());
    for (const auto* name : kRefusedToAll) {
      CAPTURE(name);
      check_fails(rig.run({"try", name}));
    }
  }

  TEST_CASE("VMM-04 a VMM that opens by name has its own descriptors, and cannot write by them what it may only read") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    rig.profile.own_descriptors = true;
    const auto seen = rig.run({"files"}).output;
    CHECK(seen.find("/proc/self/fd\n") != std::string::npos);
    CHECK(seen.find("/proc/self/fd/1\n") != std::string::npos);
    CHECK(seen.find("/proc/self/status") == std::string::npos);
    CHECK(seen.find("/proc/1") == std::string::npos);
    rig.filter_with(firecracker::firecracker_seccomp());
    CHECK(rig.run({"reopen", rig.readable, std::to_string(O_RDONLY)}).status.success());
    CHECK(rig.run({"reopen", rig.readable, std::to_string(O_RDWR)}).status.code == EROFS);
    CHECK(rig.run({"reopen", rig.writable, std::to_string(O_RDWR)}).status.success());
    CHECK(base::read_file(rig.readable, 100).value() == "content\n");
  }

  TEST_CASE("VMM-08 a VMM's sockets are in a directory of its own that holds little and has no name on the host") {
    Rig rig;
    rig.filter_with(firecracker::firecracker_seccomp());
    const auto on_host = base::TempDir::create(rig.directory.path(), "vmm-").value();
    const base::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    rig.profile.directory = jail::VmmDirectory{.on_host = on_host.path(), .sockets = {{"v.sock_1024", &listener}}};
    SUBCASE("without a mount namespace it is a directory of the host's") {
      rig.host.isolation.lose_namespaces("not wanted here");
      rig.host.user.reset();
      CHECK(rig.run({"dial", "v.sock_1024"}).status.success());
      CHECK(std::filesystem::is_socket(on_host.path() / "v.sock_1024"));
    }
    SUBCASE("with one it is in memory") {
      if (!rig.has_namespaces()) return;
      auto started = rig.start({"dial", "v.sock_1024"}, {});
      REQUIRE(started);
      CHECK(started->process.wait(base::deadline_in(20s)).value().success());
      const base::Fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      CHECK(base::read_all(accepted, "the stub's words", 100).value() == "hello");
      CHECK(std::filesystem::is_empty(on_host.path()));
      // The runner reaches it by descriptor, and by that alone.
      struct stat status {};
      CHECK(::fstatat(started->directory.get(), "v.sock_1024", &status, 0) == 0);
      CHECK(S_ISSOCK(status.st_mode));
    }
    SUBCASE("with one it cannot fill a disk") {
      if (!rig.has_namespaces()) return;
      CHECK(std::stol(rig.run({"fill"}).output) <= 64 * 1024);
    }
  }

  TEST_CASE("VMM-01 the VMM of a runner that is root has a user that nobody else has") {
    if (::geteuid() != 0) {
      std::printf("skip: needs root\n");
      return;
    }
    Rig rig;
    if (!rig.host.user) {
      std::printf("skip: needs namespaces of root: %s\n",
                  rig.host.isolation.why_absent(Wall::unprivileged_uid).c_str());
      return;
    }
    const Waiting stub(rig);
    const auto status = stub.proc("status");
    const auto uid = std::to_string(jail::kVmmGroup + static_cast<unsigned>(::getpid()));
    CHECK(field(status, "Uid") == fmt::format("{0}\t{0}\t{0}\t{0}", uid));
    CHECK(field(status, "Gid") == fmt::format("{0}\t{0}\t{0}\t{0}", jail::kVmmGroup));
    CHECK(lines_of(stub.proc("uid_map")).size() == 1);
    CHECK(stub.proc("uid_map").find(" " + uid + " ") != std::string::npos);
    CHECK(rig.host.isolation.has(Wall::unprivileged_uid));
    SUBCASE("VMM-04 it can read no file of root's, though it is in the list") {
      CHECK(::chown(rig.readable.c_str(), 0, 0) == 0);
      CHECK(::chmod(rig.readable.c_str(), 0600) == 0);
      CHECK(rig.run({"open", rig.readable, std::to_string(O_RDONLY)}).status.code == EACCES);
    }
    SUBCASE("a file on loan is the VMM's, and then the runner's again, readable for VMMs") {
      struct stat info {};
      {
        const auto loan = rig.host.lend(base::open_file(rig.writable, O_RDONLY).value()).value();
        CHECK(::stat(rig.writable.c_str(), &info) == 0);
        CHECK(info.st_uid == rig.host.user->uid);
      }
      CHECK(::stat(rig.writable.c_str(), &info) == 0);
      CHECK(info.st_uid == 0);
      CHECK(info.st_gid == jail::kVmmGroup);
      CHECK((info.st_mode & 07777) == 0640);
    }
  }

  TEST_CASE("VMM-01 no memory of a VMM is in a core, wherever this host sends cores") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    CHECK(Waiting(rig).proc("coredump_filter") == "00000000\n");
  }

  TEST_CASE("VMM-06 each system call outside the list ends the VMM with SIGSYS") {
    Rig rig;
    jail::SeccompProfile listed;
    SUBCASE("QEMU") {
      listed = qemu::qemu_seccomp(Accelerator::tcg);
    }
    SUBCASE("Firecracker") {
      listed = firecracker::firecracker_seccomp();
    }
    rig.filter_with(listed);
    std::set<std::string> known = {"execveat"};
    for (const auto* list : {&listed.allowed, &listed.refused, &listed.unknown})
      known.insert(list->begin(), list->end());
    std::set<std::string> conditional;
    for (const auto& call : listed.conditional)
      conditional.insert(call.name);
    // Without namespaces: the same filter, and much quicker to start.
    rig.host.isolation.lose_namespaces("not wanted here");
    rig.host.user.reset();
    int tried = 0;
    for (int number = 0; number < 460; ++number) {
      char* raw = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
      const std::string name = raw != nullptr ? raw : "";
      std::free(raw);
      // A conditional one with arguments that mean nothing is outside the list too.
      if (known.contains(name)) continue;
      // uretprobe, uprobe: entrances for the kernel's own traps, which it keeps filters away from; SIGILL for others.
      if (number == 335 || number == 336) continue;
      CAPTURE(number);
      CAPTURE(name);
      CHECK(rig.run({"call", std::to_string(number)}).status.signal == SIGSYS);
      ++tried;
    }
    CHECK(tried > 200);
    // The stub's own way of failing is not the filter's.
    CHECK(rig.run({"call", "39"}).status.success());  // getpid
  }

  TEST_CASE("VMM-04 a restored machine gets its memory to read, and cannot write the template") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    rig.profile.files.back().use = JailFile::Use::read;
    rig.profile.seccomp = std::make_shared<const jail::SeccompProgram>(
        jail::SeccompProgram::compile(qemu::with_memory_as_input(qemu::qemu_seccomp(Accelerator::tcg))).value());
    const auto run = [&](std::vector<std::string> arguments) {
      const auto memory = base::open_file(rig.writable, O_RDONLY).value();
      auto started = rig.start(std::move(arguments), {{0, &memory}});
      REQUIRE_MESSAGE(started.has_value(), started.error().message);
      return started->process.wait(base::deadline_in(20s)).value();
    };
    CHECK(run({"memory", rig.writable}).success());
    for (const int flags : {O_WRONLY, O_RDWR | O_TRUNC, O_WRONLY | O_CLOEXEC})
      CHECK(run({"open", rig.writable, std::to_string(flags)}).signal == SIGSYS);
    CHECK(base::read_file(rig.writable, 100).value() == "content\n");
  }

  TEST_CASE("without user namespaces the other walls stand, and the walls that do not are named") {
    Rig rig;
    rig.host.isolation.lose_namespaces("the kernel refuses");
    rig.host.user.reset();
    CHECK(rig.host.isolation.missing({Wall::seccomp, Wall::pid_namespace}) ==
          std::vector<std::string>{"pid_namespace: the kernel refuses"});
    const Waiting stub(rig);
    const auto status = stub.proc("status");
    CHECK(field(status, "CapEff") == "0000000000000000");
    CHECK(field(status, "NoNewPrivs") == "1");
    CHECK(field(status, "Seccomp") == "2");
    CHECK(stub.ns("mnt") == std::filesystem::read_symlink("/proc/self/ns/mnt").native());
    CHECK(rig.run({"try", "socket-inet"}).status.signal == SIGSYS);
  }

  TEST_CASE("a runner that cannot be dumped jails all the same") {
    Rig rig;
    const int before = ::prctl(PR_GET_DUMPABLE);
    REQUIRE(::prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(rig.run({"inherited"}).status.success());
    ::prctl(PR_SET_DUMPABLE, before);
  }

  TEST_CASE("a file that is not there is an error that names it, and nothing is started") {
    Rig rig;
    if (!rig.has_namespaces()) return;
    rig.profile.files.push_back({"/no/such/firmware", JailFile::Use::read});
    const auto started = rig.start({"files"}, {});
    REQUIRE_FALSE(started);
    CHECK(started.error().code == base::Code::not_found);
    CHECK(started.error().message.find("/no/such/firmware") != std::string::npos);
  }

  TEST_CASE("what the child could not do is named in the parent") {
    struct Refusing final : base::ChildSetup {
      unsigned long namespaces() const override { return 0; }
      const char* enter(const char*) const noexcept override {
        errno = EPERM;
        return "paint the walls of";
      }
    };
    const auto tried = base::Process::rehearse(Refusing());
    REQUIRE_FALSE(tried);
    CHECK(tried.error().message.find("cannot paint the walls of") != std::string::npos);
  }

  TEST_CASE("a call that libseccomp does not know is an error, not a hole") {
    const auto compiled = jail::SeccompProgram::compile(
        {.allowed = {"read", "no_such_call"}, .conditional = {}, .refused = {}, .unknown = {}});
    REQUIRE_FALSE(compiled);
    CHECK(compiled.error().message.find("no_such_call") != std::string::npos);
  }
}
