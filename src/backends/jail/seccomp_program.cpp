#include "src/backends/jail/seccomp_program.h"

#include "src/base/os/io.h"
#include "src/base/os/process.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <memory>
#include <sstream>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;

namespace {

constexpr std::uint64_t kWord = 0xffffffff;

constexpr std::size_t kMaxProgramBytes = BPF_MAXINSNS * sizeof(sock_filter);

struct ReleaseFilter {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

base::Error filter_error(std::string_view object, int negative_errno) {
  return base::errno_error("make a system call filter with", object, -negative_errno);
}

Result<void> add(const Filter& filter, std::uint32_t action, const std::string& name,
                 const std::vector<scmp_arg_cmp>& conditions = {}) {
  const int number = ::seccomp_syscall_resolve_name(name.c_str());
  if (number == __NR_SCMP_ERROR) return base::fail(filter_error(name, -ENOSYS));
  const int status = ::seccomp_rule_add_array(filter.get(), action, number, static_cast<unsigned>(conditions.size()),
                                              conditions.data());
  if (status != 0) return base::fail(filter_error(name, status));
  return {};
}

scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

Result<std::vector<sock_filter>> code_of(const Filter& filter) {
  const base::Fd file(::memfd_create("cleanroom-seccomp", MFD_CLOEXEC));
  if (!file) return base::fail(base::errno_error("make", "a memory file"));
  if (const int status = ::seccomp_export_bpf(filter.get(), file.get()); status != 0)
    return base::fail(filter_error("its rules", status));
  const auto bytes = ::lseek(file.get(), 0, SEEK_END);
  if (bytes <= 0 || static_cast<std::size_t>(bytes) > kMaxProgramBytes)
    return base::fail(Code::internal, fmt::format("a system call filter of {} bytes", bytes));
  std::vector<sock_filter> code(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  if (::pread(file.get(), code.data(), static_cast<std::size_t>(bytes), 0) != bytes)
    return base::fail(base::errno_error("read", "a system call filter"));
  return code;
}

}  // namespace

std::vector<std::string> call_names(const std::string& words) {
  std::istringstream from(words);
  return {std::istream_iterator<std::string>(from), {}};
}

ConditionalCall clone_of_threads() {
  constexpr std::uint64_t kNamespaces =
      CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  return {.name = "clone", .argument = 0, .mask = CLONE_THREAD | kNamespaces, .value = CLONE_THREAD};
}

ConditionalCall call_with(const char* name, unsigned argument, int value) {
  return {.name = name, .argument = argument, .mask = kWord, .value = static_cast<std::uint32_t>(value)};
}

Result<SeccompProgram> SeccompProgram::compile(const SeccompProfile& profile) {
  const Filter filter(::seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!filter) return base::fail(Code::internal, "cannot make a system call filter: libseccomp has no memory");
  // A binary search in place of a comparison with each number: it runs at every call.
  if (const int status = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); status != 0)
    return base::fail(filter_error("an optimiser", status));
  for (const auto& name : profile.allowed)
    CR_TRY(add(filter, SCMP_ACT_ALLOW, name));
  for (const auto& call : profile.conditional)
    CR_TRY(add(filter, SCMP_ACT_ALLOW, call.name, {masked(call.argument, call.mask, call.value)}));
  for (const auto& call : profile.answered_with_zero)
    CR_TRY(add(filter, SCMP_ACT_ERRNO(0), call.name, {masked(call.argument, call.mask, call.value)}));
  for (const auto& name : profile.refused)
    CR_TRY(add(filter, SCMP_ACT_ERRNO(EPERM), name));
  for (const auto& name : profile.unknown)
    CR_TRY(add(filter, SCMP_ACT_ERRNO(ENOSYS), name));
  CR_TRY(add(filter, SCMP_ACT_ALLOW, "execveat",
             {masked(0, kWord, base::ChildSetup::kProgramFd), masked(4, kWord, AT_EMPTY_PATH)}));
  CR_ASSIGN(auto code, code_of(filter));
  return SeccompProgram(std::move(code));
}

bool SeccompProgram::install() const noexcept {
  const sock_fprog program{static_cast<unsigned short>(code_.size()), const_cast<sock_filter*>(code_.data())};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

}  // namespace cleanroom::backends::jail
