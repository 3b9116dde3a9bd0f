#include "src/model/exit_code.h"

namespace cleanroom::model {

int exit_code_of_job(int exit_status, int signal) {
  const int code = signal != 0 ? 128 + signal : exit_status;
  // 255 is what Buildkite shows for a killed agent, and many pipelines retry it: a job that exits 255 becomes 254.
  return code >= 255 || code < 0 ? 254 : code;
}

ExitCode exit_code_of(const base::Error& error) {
  switch (error.code) {
    case base::Code::invalid_input:
    case base::Code::policy_denied:
    case base::Code::unsupported:
      return ExitCode::configuration;
    case base::Code::not_found:
    case base::Code::already_exists:
    case base::Code::failed_precondition:
    case base::Code::unavailable:
    case base::Code::timeout:
    case base::Code::cancelled:
    case base::Code::guest_failure:
    case base::Code::internal:
      return ExitCode::infrastructure;
  }
  return ExitCode::infrastructure;
}

}  // namespace cleanroom::model
