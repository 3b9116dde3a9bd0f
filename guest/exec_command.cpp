#include "guest/exec_command.h"

#include "guest/user_lookup.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kMaxUserFile = 4 << 20;
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr rlim_t kOpenFilesSoft = 65'536;
constexpr rlim_t kOpenFilesHard = 1'048'576;

std::string read_user_file(const char* path) {
  // O_NONBLOCK: a FIFO in its place must not hold us.
  const auto fd = base::open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat status {};
  if (!fd || ::fstat(fd->get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return base::read_all(*fd, path, kMaxUserFile).value_or(std::string());
}

const std::string* find_variable(const std::vector<std::string>& environment, std::string_view name) {
  for (const auto& entry : environment) {
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') return &entry;
  }
  return nullptr;
}

std::vector<std::string> complete_environment(const channel::ExecRequest& request, const UserIdentity& user) {
  auto environment = request.environment;
  if (find_variable(environment, "PATH") == nullptr) environment.push_back(std::string("PATH=") + kDefaultPath);
  if (find_variable(environment, "HOME") == nullptr) environment.push_back("HOME=" + user.home);
  if (request.tty != 0 && find_variable(environment, "TERM") == nullptr) environment.emplace_back("TERM=xterm");
  return environment;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void reset_process_state() {
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  const rlimit files{kOpenFilesSoft, kOpenFilesHard};
  ::setrlimit(RLIMIT_NOFILE, &files);
  const rlimit core{0, RLIM_INFINITY};
  ::setrlimit(RLIMIT_CORE, &core);
}

base::Result<void> become_user(const UserIdentity& user) {
  // The streams belong to root; /dev/stdout is opened anew by who writes to it.
  for (int fd = 0; user.uid != 0 && fd < 3; ++fd) {
    struct stat status {};
    if (::fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || ::isatty(fd) == 1) &&
        ::fchown(fd, user.uid, user.gid) != 0) {
      return base::fail(base::errno_error("hand over", "the command's streams"));
    }
  }
  if (::setgroups(user.groups.size(), user.groups.data()) != 0 || ::setresgid(user.gid, user.gid, user.gid) != 0 ||
      ::setresuid(user.uid, user.uid, user.uid) != 0) {
    return base::fail(base::errno_error("become", fmt::format("user {}:{}", user.uid, user.gid)));
  }
  return {};
}

base::Error exec_first(const channel::ExecRequest& request, std::vector<std::string>& environment) {
  const std::string path = find_variable(environment, "PATH")->substr(5);
  std::optional<base::Error> first;
  for (auto argv : request.commands) {
    const auto program = find_command(argv.front(), path);
    if (!program) {
      if (!first) first = program.error();
      continue;
    }
    ::execve(program->c_str(), pointers_to(argv).data(), pointers_to(environment).data());
    return base::errno_error("run", *program);
  }
  return first.value_or(base::Error(base::Code::invalid_input, "no command"));
}

}  // namespace

base::Result<std::string> find_command(const std::string& program, const std::string& path_variable) {
  std::vector<std::string> candidates;
  if (program.find('/') != std::string::npos) {
    candidates.push_back(program);
  } else if (!program.empty()) {
    std::string_view rest = path_variable;
    for (;;) {
      const auto end = rest.find(':');
      const auto directory = rest.substr(0, end);
      candidates.push_back(directory.empty() ? "./" + program : std::string(directory) + "/" + program);
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
  }
  int error = ENOENT;
  for (const auto& candidate : candidates) {
    struct stat status {};
    if (::stat(candidate.c_str(), &status) != 0) continue;
    if (S_ISREG(status.st_mode) && ::faccessat(AT_FDCWD, candidate.c_str(), X_OK, AT_EACCESS) == 0) return candidate;
    error = EACCES;
  }
  return base::fail(base::errno_error("run", program, error));
}

base::Error become_command(const channel::ExecRequest& request,
                           const std::function<base::Result<void>()>& wait_for_disks) {
  const auto user = resolve_user(request.user, read_user_file("/etc/passwd"), read_user_file("/etc/group"));
  if (!user) return user.error();
  auto environment = complete_environment(request, *user);
  ::setsid();
  if (request.tty != 0 && ::ioctl(0, TIOCSCTTY, 0) != 0) return base::errno_error("take", "the terminal");
  reset_process_state();
  if (auto changed = become_user(*user); !changed) return changed.error();
  if (auto mounted = wait_for_disks(); !mounted) return mounted.error();
  if (::chdir(request.working_directory.c_str()) != 0) return base::errno_error("enter", request.working_directory);
  return exec_first(request, environment);
}

}  // namespace cleanroom::guest
