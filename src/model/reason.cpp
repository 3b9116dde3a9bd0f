#include "src/model/reason.h"

namespace cleanroom::model {

// NOLINTNEXTLINE(readability-function-size): one line a reason
std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::allowed:
      return "allowed";
    case Reason::host_not_allowed:
      return "host_not_allowed";
    case Reason::host_denied:
      return "host_denied";
    case Reason::port_not_allowed:
      return "port_not_allowed";
    case Reason::ip_denied:
      return "ip_denied";
    case Reason::invalid_host:
      return "invalid_host";
    case Reason::resolve_failed:
      return "resolve_failed";
    case Reason::connect_failed:
      return "connect_failed";
    case Reason::sni_missing:
      return "sni_missing";
    case Reason::sni_mismatch:
      return "sni_mismatch";
    case Reason::tls_invalid:
      return "tls_invalid";
    case Reason::http_host_mismatch:
      return "http_host_mismatch";
    case Reason::ech_denied:
      return "ech_denied";
    case Reason::connection_limit:
      return "connection_limit";
    case Reason::policy_invalid:
      return "policy_invalid";
    case Reason::policy_conflict:
      return "policy_conflict";
    case Reason::policy_missing:
      return "policy_missing";
    case Reason::config_invalid:
      return "config_invalid";
    case Reason::config_insecure:
      return "config_insecure";
    case Reason::backend_capability_mismatch:
      return "backend_capability_mismatch";
    case Reason::unsupported:
      return "unsupported";
    case Reason::emulation_refused:
      return "emulation_refused";
    case Reason::record_refused:
      return "record_refused";
    case Reason::image_ref_invalid:
      return "image_ref_invalid";
    case Reason::image_not_found:
      return "image_not_found";
    case Reason::image_invalid:
      return "image_invalid";
    case Reason::image_limit:
      return "image_limit";
    case Reason::kernel_unavailable:
      return "kernel_unavailable";
    case Reason::kernel_build_failed:
      return "kernel_build_failed";
    case Reason::vmm_unavailable:
      return "vmm_unavailable";
    case Reason::launch_timeout:
      return "launch_timeout";
    case Reason::launch_failed:
      return "launch_failed";
    case Reason::command_not_started:
      return "command_not_started";
    case Reason::internal_error:
      return "internal_error";
    case Reason::agent_lost:
      return "agent_lost";
    case Reason::protocol_error:
      return "protocol_error";
    case Reason::workspace_failed:
      return "workspace_failed";
    case Reason::output_rejected:
      return "output_rejected";
    case Reason::output_failed:
      return "output_failed";
    case Reason::plugin_invalid:
      return "plugin_invalid";
    case Reason::plugin_conflict:
      return "plugin_conflict";
    case Reason::environment_refused:
      return "environment_refused";
    case Reason::command_invalid:
      return "command_invalid";
    case Reason::pipeline_invalid:
      return "pipeline_invalid";
    case Reason::time_limit:
      return "time_limit";
    case Reason::cancelled:
      return "cancelled";
    case Reason::job_failed:
      return "job_failed";
    case Reason::job_succeeded:
      return "job_succeeded";
    case Reason::gateway_request_invalid:
      return "gateway_request_invalid";
    case Reason::gateway_route_unknown:
      return "gateway_route_unknown";
    case Reason::gateway_limit:
      return "gateway_limit";
    case Reason::git_repository_not_allowed:
      return "git_repository_not_allowed";
    case Reason::git_push_not_allowed:
      return "git_push_not_allowed";
    case Reason::git_lfs_not_allowed:
      return "git_lfs_not_allowed";
    case Reason::redirect_denied:
      return "redirect_denied";
    case Reason::upstream_untrusted:
      return "upstream_untrusted";
    case Reason::upstream_invalid:
      return "upstream_invalid";
    case Reason::upstream_unauthorized:
      return "upstream_unauthorized";
    case Reason::secret_scope_violation:
      return "secret_scope_violation";
    case Reason::credential_unavailable:
      return "credential_unavailable";
    case Reason::image_access_denied:
      return "image_access_denied";
    case Reason::image_pull_failed:
      return "image_pull_failed";
    case Reason::image_not_trusted:
      return "image_not_trusted";
    case Reason::image_in_use:
      return "image_in_use";
  }
  return "internal";
}

const std::array<Reason, static_cast<std::size_t>(Reason::image_in_use) + 1>& all_reasons() {
  static const auto reasons = [] {
    std::array<Reason, static_cast<std::size_t>(Reason::image_in_use) + 1> list{};
    for (std::size_t i = 0; i < list.size(); ++i)
      list[i] = static_cast<Reason>(i);
    return list;
  }();
  return reasons;
}

std::optional<Reason> parse_reason(std::string_view text) {
  for (const auto reason : all_reasons()) {
    if (to_string(reason) == text) return reason;
  }
  return std::nullopt;
}

}  // namespace cleanroom::model
