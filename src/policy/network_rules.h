#pragma once
// NetworkRules: the compiled `sandbox.network` of a policy, and the two questions asked of it. Immutable; safe to share
// between threads. A verdict costs hash look-ups by label and by distinct prefix length, whatever the number of rules.
//
// Precedence: deny exact/IP, allow exact/IP, deny wildcard, allow wildcard, default deny. A rule takes part only when
// its ports include the port. `*.example.com` is one or more labels below, never the apex. Deny rules judge the name
// asked for and each address it resolves to. Special-purpose addresses (address_rules.h) and the host's own need an
// explicit IP or CIDR allow rule, also behind an allowed name.
#include "src/model/host_name.h"
#include "src/model/ip_address.h"
#include "src/model/reason.h"

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::policy {

// Port 443: the ClientHello's SNI must be the name; or anything goes; or, in record mode only, a ClientHello that names
// another host is refused and one without SNI, or what is no TLS at all, passes.
enum class TlsMode { sni, opaque, observe };
enum class HttpMode { host, opaque };  // port 80: every request's Host must be the name, or anything goes
enum class EchMode { allow, deny };

// Begins the rule of a verdict in a recorded run: `record:hosts[0]`, `record:public`.
inline constexpr std::string_view kRecordRulePrefix = "record:";

std::string_view to_string(TlsMode mode);
std::string_view to_string(HttpMode mode);
std::string_view to_string(EchMode mode);

// One entry of `allow` or `deny` as the policy file gives it.
struct NetworkRuleSpec {
  std::string host;                  // exact name | *.suffix | IPv4 | IPv6 | CIDR
  std::vector<std::uint16_t> ports;  // empty = not given: {80, 443} in allow, every port in deny
  TlsMode tls = TlsMode::sni;        // allow only
  HttpMode http = HttpMode::host;    // allow only
  std::string reason;                // the author's text, for reports
  std::string key_path;              // "sandbox.network.allow[0]", for errors and verdicts
};

// What a recorded run may reach: the operator's ceiling in place of a policy. No policy file can say this.
struct RecordingScope {
  bool any_public_name = false;    // every name and every public address
  std::vector<std::string> hosts;  // names, *.suffix (public suffixes too), addresses, CIDRs
  std::vector<std::string> cidrs;  // ranges that may be private
};

struct RuleProblem {
  std::string key_path;  // the rule's, with ".host" or ".ports" added
  std::string message;   // for people
  std::string hint;      // may be empty
};

struct Verdict {
  bool allowed = false;
  model::Reason reason = model::Reason::host_not_allowed;
  std::string rule;    // key path of the rule that decides; empty for the default
  std::string detail;  // for ip_denied: "loopback", "private", "host's own", ...
  TlsMode tls = TlsMode::sni;
  HttpMode http = HttpMode::host;
  bool by_wildcard = false;  // the deciding rule is `*.suffix`
};

class NetworkRules {
 public:
  // No rule: everything is denied.
  NetworkRules();
  // All problems at once, in the order of the rules. Two allow rules that give one host and port different tls or http
  // modes are a problem too.
  static tl::expected<NetworkRules, std::vector<RuleProblem>> build(std::vector<NetworkRuleSpec> allow,
                                                                    std::vector<NetworkRuleSpec> deny,
                                                                    EchMode ech = EchMode::allow);

  // Rules of a recorded run: every port, TlsMode::observe, addresses judged as ever. A verdict's rule begins with
  // kRecordRulePrefix; names count as wildcard names. The problems are those of the scope's patterns.
  static tl::expected<NetworkRules, std::vector<RuleProblem>> build_recording(const RecordingScope& scope);

  // Before resolution. An address as host is judged as judge_address() would.
  Verdict judge(const model::HostName& host, std::uint16_t port) const;
  // Each address that an allowed name resolved to, right before it is dialled. `own_addresses` are this host's.
  Verdict judge_address(const model::HostName& host, const model::IpAddress& address, std::uint16_t port,
                        std::span<const model::IpAddress> own_addresses = {}) const;

  EchMode ech() const;
  bool any_public_name() const;
  // Made by build_recording(): allow rules have every port, so allowed_ports() is empty.
  bool recording() const;
  // Every port that some allow rule names, sorted: what the guest's agent listens on.
  const std::vector<std::uint16_t>& allowed_ports() const;
  // IP and CIDR allow rules, sorted: the guest's agent makes local routes for them.
  const std::vector<model::Cidr>& allowed_cidrs() const;
  // Host patterns of the allow rules in canonical form (`example.com`, `*.example.com`), sorted: the names that the
  // guest's DNS answers. Addresses are not among them. `*` for any_public_name().
  const std::vector<std::string>& allowed_name_patterns() const;
  // As given, with hosts in canonical form (a single address without its length) and ports sorted.
  const std::vector<NetworkRuleSpec>& allow() const;
  const std::vector<NetworkRuleSpec>& deny() const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace cleanroom::policy
