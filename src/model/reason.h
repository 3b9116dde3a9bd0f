#pragma once
// Stable reason codes: the strings in run.json, audit.jsonl and --json errors. Documented in docs/reason-codes.md; a
// test holds the two lists together. A code is never renamed or reused.
#include <array>
#include <optional>
#include <string_view>

namespace cleanroom::model {

enum class Reason {
  allowed,           // a rule allows it
  host_not_allowed,  // no rule allows this name and port
  host_denied,       // a deny rule names it
  port_not_allowed,  // the host is allowed, this port is not
  ip_denied,         // the address is private, loopback, link-local, metadata, or denied
  invalid_host,      // not a host name or address we accept
  resolve_failed,    // the allowed name has no usable address
  connect_failed,    // no judged address could be reached
  sni_missing,
  sni_mismatch,
  tls_invalid,         // no ClientHello within the limits on a TLS port
  http_host_mismatch,  // port 80: Host is not the name asked for, or the request is malformed
  ech_denied,
  connection_limit,  // more connections than one sandbox may have
  policy_invalid,    // the policy file's text
  policy_conflict,   // it asks for more than the operator's ceiling
  policy_missing,
  config_invalid,               // an operator file
  config_insecure,              // an operator file others may write
  backend_capability_mismatch,  // the policy needs what this backend cannot enforce
  unsupported,                  // a feature this build does not enforce yet
  emulation_refused,            // no hardware virtualisation, and emulation is not allowed here
  record_refused,               // --record where the operator does not permit it
  image_ref_invalid,
  image_not_found,
  image_invalid,  // manifest, digest, or layer content
  image_limit,    // larger than the limits
  kernel_unavailable,
  kernel_build_failed,  // tools, source or configuration of the trimmed kernel
  vmm_unavailable,
  launch_timeout,
  launch_failed,        // the VM ended before its agent was ready
  command_not_started,  // the job's command does not exist in the image, or cannot be executed (127, 126)
  internal_error,       // a failure without a code of its own; the message says what
  agent_lost,           // the control channel ended before the job's exit
  protocol_error,       // the guest broke the protocol
  workspace_failed,     // the checkout could not be copied in
  output_rejected,      // an output entry was refused (link, special file, path, size)
  output_failed,
  plugin_invalid,       // the plugin's options in a pipeline step
  plugin_conflict,      // another plugin of the step would run the command on the host
  environment_refused,  // a variable that may not enter the guest was asked for
  command_invalid,      // no command, or one that cannot be run
  pipeline_invalid,     // the pipeline file, or the step asked for
  time_limit,
  cancelled,
  job_failed,
  job_succeeded,
  gateway_request_invalid,     // a gateway request whose method, path, host or framing is not accepted
  gateway_route_unknown,       // the gateway has no such route: git's smart HTTP and LFS downloads are all there is
  gateway_limit,               // a gateway request or answer larger than the limits
  git_repository_not_allowed,  // no git.allow entry names this repository
  git_push_not_allowed,        // a push, and the policy allows reading only
  git_lfs_not_allowed,         // an LFS request, and the rule says lfs: false
  redirect_denied,             // upstream redirects to where policy does not allow
  upstream_untrusted,          // upstream's TLS certificate or protocol version was refused
  upstream_invalid,            // upstream's answer is not the protocol that was asked for
  upstream_unauthorized,       // upstream refused the request for lack of permission
  secret_scope_violation,      // a credential exists for this host, but none for this path, method or job
  credential_unavailable,      // the source of a bound credential gave none
  image_access_denied,         // the registry refuses this image without, or with the, credentials there are
  image_pull_failed,           // the registry could not be reached, or did not deliver
  image_not_trusted,           // a required signature is missing or wrong
  image_in_use,                // a job runs in the image that is to be removed
};

std::string_view to_string(Reason reason);
// nullopt when there is no such code.
std::optional<Reason> parse_reason(std::string_view text);
// Every reason, in the order above.
const std::array<Reason, static_cast<std::size_t>(Reason::image_in_use) + 1>& all_reasons();

}  // namespace cleanroom::model
