#include "src/egress/judged_dial.h"

namespace cleanroom::egress {

using base::Awaitable;
using model::Reason;

Awaitable<tl::expected<Dialed, DialRefusal>> judged_dial(const policy::NetworkRules& rules, Resolver& resolver,
                                                         Dialer& dialer, std::vector<model::IpAddress> own,
                                                         DialTarget target) {
  using Refused = tl::unexpected<DialRefusal>;
  std::vector<model::IpAddress> addresses;
  if (target.host.is_ip()) {
    addresses.push_back(target.host.ip());
  } else {
    auto resolved = co_await resolver.resolve(target.host, base::deadline_in(target.resolve_limit));
    if (!resolved) {
      DialRefusal failed{.reason = Reason::resolve_failed, .detail = resolved.error().message};
      co_return Refused(std::move(failed));
    }
    addresses = std::move(*resolved);
  }
  std::vector<model::IpAddress> judged;
  std::optional<DialRefusal> denied;
  for (const auto& address : addresses) {
    const auto verdict = rules.judge_address(target.host, address, target.port, own);
    if (verdict.allowed)
      judged.push_back(address);
    else if (!denied)
      denied = DialRefusal{
          .reason = verdict.reason, .rule = verdict.rule, .detail = verdict.detail, .address = address.to_string()};
  }
  if (judged.empty()) {
    if (!denied) denied = DialRefusal{.reason = Reason::resolve_failed, .detail = "no address"};
    co_return Refused(std::move(*denied));
  }
  auto dialed = co_await dial_first(dialer, judged, target.port, base::deadline_in(target.connect_limit));
  if (dialed) co_return std::move(*dialed);
  DialRefusal failed{
      .reason = Reason::connect_failed, .detail = dialed.error().message, .address = judged.front().to_string()};
  co_return Refused(std::move(failed));
}

}  // namespace cleanroom::egress
