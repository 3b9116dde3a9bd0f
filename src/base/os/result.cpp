#include "src/base/os/result.h"

#include <cerrno>
#include <cstring>

namespace cleanroom::base {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::invalid_input:
      return "invalid_input";
    case Code::policy_denied:
      return "policy_denied";
    case Code::not_found:
      return "not_found";
    case Code::already_exists:
      return "already_exists";
    case Code::failed_precondition:
      return "failed_precondition";
    case Code::unavailable:
      return "unavailable";
    case Code::timeout:
      return "timeout";
    case Code::cancelled:
      return "cancelled";
    case Code::guest_failure:
      return "guest_failure";
    case Code::unsupported:
      return "unsupported";
    case Code::internal:
      return "internal";
  }
  return "internal";
}

std::string Error::describe() const {
  std::string text;
  for (auto it = context.rbegin(); it != context.rend(); ++it)
    text += *it + ": ";
  return text + message;
}

namespace {

Code code_of_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
      return Code::not_found;
    case EEXIST:
      return Code::already_exists;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOSPC:
    case EDQUOT:
    case ENODEV:
      return Code::failed_precondition;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case ENOTDIR:
    case EISDIR:
      return Code::invalid_input;
    case ETIMEDOUT:
      return Code::timeout;
    case ECANCELED:
      return Code::cancelled;
    case ENOSYS:
    case EOPNOTSUPP:
      return Code::unsupported;
    default:
      return Code::unavailable;
  }
}

}  // namespace

Error errno_error(std::string_view attempt, std::string_view object, int error_number) {
  Error error(code_of_errno(error_number),
              fmt::format("cannot {} '{}': {}", attempt, object, std::strerror(error_number)));
  error.os_errno = error_number;
  return error;
}

Error errno_error(std::string_view attempt, std::string_view object) {
  return errno_error(attempt, object, errno);
}

}  // namespace cleanroom::base
