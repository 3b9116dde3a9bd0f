#include "src/runner/workspace_disk.h"

#include "src/runner/workspace_disk_git.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/runner_io/support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>

namespace cleanroom::runner {
namespace {

using namespace test;
using base::Code;

struct Disk {
  Directory directory;
  fs::path file = directory.path / "disk.ext4";
  base::Fd fd = base::open_file(file, O_RDWR | O_CREAT | O_EXCL).value();
};

WorkspaceOptions options_for(const fs::path& checkout) {
  WorkspaceOptions options;
  options.checkout = checkout;
  options.size_mib = 64;
  return options;
}

// Builds, checks the file system, and dumps it; the dump is what a guest would see.
struct Copy {
  Disk disk;
  WorkspaceReport report;
  fs::path tree = disk.directory.path / "tree";
};
Copy copy(const WorkspaceOptions& options) {
  Copy result;
  auto report = build_workspace_disk(result.disk.fd, options);
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  result.report = std::move(*report);
  run({"e2fsck", "-fn", result.disk.file.native()});
  fs::create_directory(result.tree);
  run({"debugfs", "-R", "rdump / " + result.tree.native(), result.disk.file.native()});
  return result;
}

std::string debugfs(const Disk& disk, const std::string& request) {
  return run({"debugfs", "-R", request, disk.file.native()});
}

bool has_warning(const WorkspaceReport& report, std::string_view text) {
  return std::any_of(report.warnings.begin(), report.warnings.end(),
                     [&](const auto& warning) { return warning.find(text) != std::string::npos; });
}

std::vector<std::string> git(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"git", "-c", "safe.directory=*", "-c", "protocol.file.allow=always"});
  return arguments;
}

// A repository with two commits, a tag and a change that is not committed.
void make_repository(const fs::path& path) {
  fs::create_directories(path);
  run(git({"init", "-q", "-b", "main"}), path);
  write(path / "main.c", "int main(void) { return 0; }\n");
  run(git({"add", "."}), path);
  run(git({"commit", "-qm", "one"}), path);
  run(git({"tag", "-am", "v1", "v1"}), path);
  write(path / "lib/util.c", "int x;\n");
  run(git({"add", "."}), path);
  run(git({"commit", "-qm", "two"}), path);
}

TEST_CASE("a checkout is copied with modes, links, hard links, holes and one owner") {
  Directory checkout;
  write(checkout.path / "bin/run", "#!/bin/sh\n");
  fs::permissions(checkout.path / "bin/run", fs::perms(06755));
  fs::create_symlink("/etc/shadow", checkout.path / "absolute");
  fs::create_symlink("../../../outside", checkout.path / "escaping");
  fs::create_symlink("bin", checkout.path / "bin-link");
  write(checkout.path / "first", "shared");
  fs::create_hard_link(checkout.path / "first", checkout.path / "second");
  write(checkout.path / "holes", "");
  fs::resize_file(checkout.path / "holes", 32u << 20);
  std::ofstream(checkout.path / "holes", std::ios::in | std::ios::ate | std::ios::binary) << "end";
  write(checkout.path / "a name\nwith \xff bytes", "odd");
  write(checkout.path / ".cleanroom-outputs-0123/0", "left by a killed run");
  auto options = options_for(checkout.path);
  options.uid = 1000;
  options.gid = 70000;
  const auto copied = copy(options);
  CHECK(copied.report.warnings.empty());
  CHECK(copied.report.entries == 9);
  CHECK(copied.report.bytes < (1u << 20));
  CHECK(read(copied.tree / "bin/run") == "#!/bin/sh\n");
  CHECK(fs::read_symlink(copied.tree / "absolute") == "/etc/shadow");
  CHECK(fs::read_symlink(copied.tree / "escaping") == "../../../outside");
  CHECK(fs::file_size(copied.tree / "holes") == (32u << 20) + 3);
  CHECK(read(copied.tree / "a name\nwith \xff bytes") == "odd");
  CHECK_FALSE(fs::exists(copied.tree / ".cleanroom-outputs-0123"));
  const std::string run_status = debugfs(copied.disk, "stat /bin/run");
  CHECK(run_status.find("Mode:  0755") != std::string::npos);
  CHECK(run_status.find("User:  1000   Group: 70000") != std::string::npos);
  CHECK(debugfs(copied.disk, "stat /first").find("Links: 2") != std::string::npos);
  CHECK(fs::file_size(copied.disk.file) <= 64u << 20);
}

TEST_CASE("the step's script is executable in the guest, and no other name of its file") {
  Directory checkout;
  write(checkout.path / "a/other", "#!/bin/sh\n");
  fs::permissions(checkout.path / "a/other", fs::perms(0640));
  fs::create_hard_link(checkout.path / "a/other", checkout.path / "ci.sh");
  auto options = options_for(checkout.path);
  options.executable = "ci.sh";
  const auto copied = copy(options);
  CHECK(debugfs(copied.disk, "stat /ci.sh").find("Mode:  0751") != std::string::npos);
  CHECK(debugfs(copied.disk, "stat /a/other").find("Mode:  0640") != std::string::npos);
  CHECK(read(copied.tree / "ci.sh") == "#!/bin/sh\n");
  CHECK((fs::status(checkout.path / "ci.sh").permissions() & fs::perms(0111)) == fs::perms::none);
}

TEST_CASE("the same checkout gives the same disk") {
  Directory checkout;
  for (const auto* name : {"b", "a", "c/d", "c/a"})
    write(checkout.path / name, name);
  const auto one = copy(options_for(checkout.path)), two = copy(options_for(checkout.path));
  CHECK(read(one.disk.file) == read(two.disk.file));
}

TEST_CASE("FIFOs, sockets and what cannot be read are left out with a warning, nothing blocks") {
  Directory checkout;
  REQUIRE(::mkfifo((checkout.path / "fifo").c_str(), 0600) == 0);
  const base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (checkout.path / "s").native().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  write(checkout.path / "file", "x");
  const auto copied = copy(options_for(checkout.path));
  CHECK(copied.report.entries == 1);
  CHECK(copied.report.warnings.size() == 2);
  CHECK(has_warning(copied.report, "'fifo' was left out: it is a FIFO"));
}

TEST_CASE("limits, a disk that is too small, and a cancelled run are clear errors") {
  Directory checkout;
  for (int i = 0; i < 30; ++i)
    write(checkout.path / "a/b/c" / std::to_string(i), std::string(1000, 'x'));
  write(checkout.path / "large", std::string(3 << 20, 'x'));
  const auto fails = [&](auto change, Code code) {
    auto options = options_for(checkout.path);
    change(options);
    Disk disk;
    const auto report = build_workspace_disk(disk.fd, options);
    REQUIRE_FALSE(report.has_value());
    CHECK(report.error().code == code);
    CHECK(report.error().reason == "workspace_failed");
  };
  fails([](auto& o) { o.limits.entries = 20; }, Code::invalid_input);
  fails([](auto& o) { o.limits.depth = 2; }, Code::invalid_input);
  fails([](auto& o) { o.limits.path_bytes = 5; }, Code::invalid_input);
  fails([](auto& o) { o.limits.content_bytes = 1 << 20; }, Code::invalid_input);
  fails([](auto& o) { o.checkout /= "missing"; }, Code::not_found);
  std::stop_source source;
  source.request_stop();
  fails([&](auto& o) { o.stop = source.get_token(); }, Code::cancelled);
  auto options = options_for(checkout.path);
  options.size_mib = 1;
  Disk disk;
  const auto report = build_workspace_disk(disk.fd, options);
  REQUIRE_FALSE(report.has_value());
  CHECK(report.error().reason == "workspace_failed");
}

TEST_CASE("git describe, status and log work on the copy, and no credential is in it") {
  Directory origin, work;
  make_repository(origin.path / "repo");
  const fs::path checkout = work.path / "checkout";
  run(git({"clone", "-q", (origin.path / "repo").native(), checkout.native()}));
  run(git({"remote", "set-url", "origin", "https://bot:SECRET-1@git.example/a.git?token=SECRET-2"}), checkout);
  run(git({"config", "http.https://git.example/.extraheader", "AUTHORIZATION: basic SECRET-3"}), checkout);
  run(git({"config", "credential.helper", "!echo password=SECRET-4"}), checkout);
  run(git({"config", "url.https://x:SECRET-5@git.example/.insteadOf", "git@git.example:"}), checkout);
  run(git({"config", "core.sshCommand", "ssh -i SECRET-6"}), checkout);
  write(checkout / ".git/FETCH_HEAD", "abc\t\tbranch 'main' of https://bot:SECRET-7@git.example/a\n");
  write(checkout / ".git/credentials", "https://bot:SECRET-8@git.example\n");
  write(checkout / ".git/hooks/pre-commit", "SECRET-9");
  write(checkout / ".git/modules/sub/HEAD", "ref: refs/heads/main\n");
  write(checkout / ".git/modules/sub/config",
        "[core]\n\tworktree = ../../../sub\n[remote \"origin\"]\n\turl = ssh://git:SECRET-10@h/x\n");
  write(checkout / ".git/modules/sub/hooks/x", "SECRET-11");
  write(checkout / "main.c", "changed\n");
  std::ofstream(checkout / ".git/logs/HEAD", std::ios::app)
      << "0 1 a <a@b> 1 +0\tfetch: https://bot:SECRET-12@git.example/a\n";

  const auto copied = copy(options_for(checkout));
  CHECK(run(git({"describe", "--tags", "--dirty"}), copied.tree) ==
        run(git({"describe", "--tags", "--dirty"}), checkout));
  CHECK(run(git({"status", "--porcelain"}), copied.tree) == " M main.c\n");
  CHECK(run(git({"log", "--format=%s"}), copied.tree) == "two\none\n");
  CHECK(run(git({"remote", "get-url", "origin"}), copied.tree) == "https://git.example/a.git\n");
  CHECK(read(copied.tree / ".git/modules/sub/config") ==
        "[core]\n\tworktree = \"../../../sub\"\n[remote \"origin\"]\n\turl = \"ssh://git@h/x\"\n");
  CHECK_FALSE(fs::exists(copied.tree / ".git/hooks"));
  CHECK_FALSE(fs::exists(copied.tree / ".git/credentials"));
  CHECK(has_warning(copied.report, ".git/credentials"));
  const std::string disk = read(copied.disk.file);
  CHECK(disk.find("SECRET-") == std::string::npos);
  CHECK(disk.find("branch 'main' of https://git.example/a") != std::string::npos);
}

TEST_CASE("objects of the operator's mirror come along, those of any other alternate do not") {
  Directory origin, work;
  make_repository(origin.path / "repo");
  const fs::path mirror = work.path / "mirror", checkout = work.path / "checkout";
  run(git({"clone", "-q", "--mirror", (origin.path / "repo").native(), mirror.native()}));
  run(git(
      {"clone", "-q", "--reference", mirror.native(), "file://" + (origin.path / "repo").native(), checkout.native()}));
  REQUIRE(read(checkout / ".git/objects/info/alternates") == fs::canonical(mirror).native() + "/objects\n");
  auto options = options_for(checkout);
  SUBCASE("the mirror is known") {
    options.repo_mirror = mirror;
    const auto copied = copy(options);
    CHECK(copied.report.warnings.empty());
    CHECK(read(copied.tree / ".git/objects/info/alternates") == "../cleanroom-mirror\n");
    fs::remove_all(mirror);
    run(git({"fsck", "--full"}), copied.tree);
    CHECK(run(git({"describe", "--tags"}), copied.tree).starts_with("v1-1-g"));
  }
  SUBCASE("there is no mirror") {}
  SUBCASE("the repository names another directory") {
    options.repo_mirror = mirror;
    write(work.path / "elsewhere/objects/stolen", "stolen");
    write(checkout / ".git/objects/info/alternates", (work.path / "elsewhere/objects").native() + "\n");
  }
  SUBCASE("the repository names the mirror by a way around") {
    options.repo_mirror = mirror;
    write(checkout / ".git/objects/info/alternates", (mirror / "../mirror/objects").native() + "\n");
  }
  if (fs::exists(mirror)) {
    const auto copied = copy(options);
    CHECK_FALSE(fs::exists(copied.tree / ".git/objects/info/alternates"));
    CHECK_FALSE(fs::exists(copied.tree / ".git/cleanroom-mirror"));
    CHECK(has_warning(copied.report, "git may miss objects"));
    CHECK(read(copied.disk.file).find("stolen") == std::string::npos);
  }
}

// Kills this process when it starts another: the proof that nothing below it does.
void forbid_new_processes() {
  const std::uint32_t forbidden[] = {SYS_execve, SYS_execveat, SYS_fork, SYS_vfork, SYS_clone, SYS_clone3};
  std::vector<sock_filter> code{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const auto number : forbidden) {
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    ::_exit(70);
  }
}

// The wait status of `work` run in a process that may not start another.
template <class Work>
int run_confined(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    forbid_new_processes();
    ::_exit(work());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

TEST_CASE("GIT-11 a hostile checkout starts no process and reads nothing outside itself") {
  Directory outside, work;
  const fs::path checkout = work.path / "checkout", canary = outside.path / "canary";
  make_repository(checkout);
  const std::string touch = "touch " + canary.native();
  write(checkout / ".git/config",
        fmt::format(
            "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"{0}\"\n\tsshCommand = {0}\n\thooksPath = {1}\n"
            "\teditor = {0}\n\tpager = {0}\n\tworktree = /\n[filter \"x\"]\n\tclean = {0}\n\tsmudge = {0}\n\tprocess = "
            "{0}\n"
            "[diff]\n\texternal = {0}\n[alias]\n\tdescribe = !{0}\n[include]\n\tpath = {1}/more\n"
            "[submodule \"s\"]\n\tupdate = !{0}\n[credential]\n\thelper = !{0}\n",
            touch, outside.path.native()));
  write(outside.path / "more", "[user]\n\tname = OUTSIDE-DATA\n");
  write(outside.path / "repo/HEAD", "OUTSIDE-DATA");
  write(checkout / ".gitattributes", "* filter=x\n");
  write(checkout / ".git/hooks/post-index-change", "#!/bin/sh\n" + touch + "\n");
  write(checkout / "sub/.git", "gitdir: " + (outside.path / "repo").native() + "\n");
  fs::create_directories(checkout / "linked");
  fs::create_directory_symlink(outside.path / "repo", checkout / "linked/.git");
  fs::create_directory_symlink(outside.path, checkout / ".git/refs/outside");

  Disk disk;
  const auto options = options_for(checkout);
  const int status = run_confined([&] { return build_workspace_disk(disk.fd, options).has_value() ? 0 : 1; });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK_FALSE(fs::exists(canary));
  CHECK(read(disk.file).find("OUTSIDE-DATA") == std::string::npos);
  // The guest's own git is not told to run anything either.
  const auto copied = copy(options);
  CHECK(read(copied.tree / ".git/config") == "[core]\n\trepositoryformatversion = \"0\"\n");
  CHECK_FALSE(fs::exists(copied.tree / "sub/.git"));
  CHECK(has_warning(copied.report, "'sub/.git' was left out"));
  CHECK(has_warning(copied.report, "'linked/.git' was left out"));
  // The filter does what it is there for.
  const int killed = run_confined([] { return ::fork() == 0 ? 0 : 1; });
  CHECK(WIFSIGNALED(killed));
}

TEST_CASE("a Git configuration is read as Git reads it, and written from an allow-list") {
  struct {
    std::string_view input, output;
  } const cases[] = {
      {"", ""},
      {"[core]\n\tbare = false # c\n\tfilemode\n", "[core]\n\tbare = \"false\"\n\tfilemode\n"},
      {"[CORE] Bare=true\n", "[core]\n\tbare = \"true\"\n"},
      {"[remote \"o\\\"x\"]\n\turl = \"a;b\" c ; d\n", "[remote \"o\\\"x\"]\n\turl = \"a;b c\"\n"},
      {"[remote \"o\"]\n\turl = a\\\n  b\\t\\\\\n", "[remote \"o\"]\n\turl = \"a  b\\t\\\\\"\n"},
      {"[remote \"https://u:p@h\"]\n\turl = x\n", ""},
      {"[remote.o]\n\turl = x\n", ""},
      {"[http]\n\textraheader = s\n[HTTP \"https://h/\"]\n\textraheader = s\n[credential]\n\thelper = s\n", ""},
      {"[submodule \"a\"]\n\tupdate = merge\n\tactive = true\n",
       "[submodule \"a\"]\n\tupdate = \"merge\"\n\tactive = \"true\"\n"},
      {"[core]\r\n\tbare = true\r\n", "[core]\n\tbare = \"true\"\n"},
  };
  for (const auto& [input, output] : cases) {
    CAPTURE_BINDING(input);
    CHECK(rewrite_git_config(input).value_or("refused") == output);
  }
  for (const std::string_view bad :
       {"[core\n", "x = 1\n", "[core]\n\tbare = \"open\n", "[core]\n\tbare = a\\q\n", "[core]\n\t= 1\n", "[]\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(rewrite_git_config(bad).has_value());
  }
}

TEST_CASE("credentials are taken out of URLs") {
  struct {
    std::string_view input, output;
  } const cases[] = {
      {"https://u:p@h/x", "https://h/x"},
      {"https://token@h/x", "https://h/x"},
      {"http://u:p@q@h:8080/x?t=1", "http://h:8080/x"},
      {"ssh://git@h/x", "ssh://git@h/x"},
      {"ssh://git:p@h/x", "ssh://git@h/x"},
      {"git@h:a/b.git", "git@h:a/b.git"},
      {"a https://u:p@h b http://v@i", "a https://h b http://i"},
      {"https://h/a@b", "https://h/a@b"},
      {"https://proxy/https://u:p@h/x", "https://proxy/https://h/x"},
      {"://@", "://"},
      {"ftp://u:p@h", "ftp://h"},
  };
  for (const auto& [input, output] : cases)
    CHECK(strip_url_credentials(input) == output);
}

TEST_CASE("a scratch disk is empty, sound and costs next to nothing") {
  Disk disk;
  REQUIRE(create_scratch_disk(disk.fd, 8192).has_value());
  run({"e2fsck", "-fn", disk.file.native()});
  struct ::stat status {};
  REQUIRE(::fstat(disk.fd.get(), &status) == 0);
  CHECK(status.st_size == 8192ll << 20);
  CHECK(status.st_blocks * 512 < 16 << 20);
}

}  // namespace
}  // namespace cleanroom::runner
