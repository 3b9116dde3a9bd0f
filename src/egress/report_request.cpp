// POST /v1/report: what the guest refused by itself, one line each: `name port`, or `name -` where no port is known (a
// DNS query). These are claims: each is judged again here, and one that the policy allows is not counted as refused.
#include "src/base/async/event.h"
#include "src/base/os/io.h"
#include "src/egress/connect_target.h"
#include "src/egress/egress_state.h"

#include <algorithm>

namespace cleanroom::egress {

using base::Awaitable;
using model::Reason;

namespace {

Awaitable<base::Result<std::string>> read_body(channel::H2Stream& stream) {
  const auto deadline = base::deadline_in(kReportLimit);
  std::vector<std::byte> buffer(kMaxReportBytes + 1);
  std::string body;
  for (;;) {
    const auto n = co_await base::with_deadline(deadline, "read a report", stream.read(buffer));
    if (!n) co_return base::fail(n.error());
    if (*n == 0) co_return body;
    body.append(base::as_text(std::span<const std::byte>(buffer).first(*n)));
    if (body.size() > kMaxReportBytes)
      co_return base::fail(base::Code::guest_failure, "protocol_error", "cannot read a report: it is too long");
  }
}

// The verdict on a name without a port: allowed if any port is.
policy::Verdict judge_any_port(const policy::NetworkRules& rules, const model::HostName& host) {
  const auto& ports = rules.allowed_ports();
  const auto allowed =
      std::find_if(ports.begin(), ports.end(), [&](std::uint16_t port) { return rules.judge(host, port).allowed; });
  return rules.judge(host, allowed == ports.end() ? 443 : *allowed);
}

void take_line(EgressState& state, std::string_view line) {
  Refusal refusal{.event = "report", .reason = Reason::invalid_host};
  const auto space = line.rfind(' ');
  const auto name = line.substr(0, space);
  const auto port_text = space == std::string_view::npos ? std::string_view("-") : line.substr(space + 1);
  const auto host = model::HostName::parse_wire(name);
  const auto port = port_text == "-" ? base::Result<std::uint16_t>(0) : parse_port(port_text);
  const auto id = ++state.last_connection;
  if (!host || !port) {
    refusal.detail = "reported by the guest";
    record_refusal(state, id, line, 0, refusal);
    return;
  }
  const auto verdict = *port == 0 ? judge_any_port(state.rules, *host) : state.rules.judge(*host, *port);
  if (verdict.allowed) return;
  refusal.reason = verdict.reason;
  refusal.rule = verdict.rule;
  refusal.detail = verdict.detail;
  record_refusal(state, id, host->text(), *port, refusal);
}

}  // namespace

Awaitable<void> serve_report(StatePtr state, channel::H2Stream stream) {
  const auto body = co_await read_body(stream);
  if (!body) {
    co_await answer(std::move(stream), "400", Reason::protocol_error);
    co_return;
  }
  std::string_view rest(*body);
  for (std::size_t lines = 0; !rest.empty() && lines < kMaxReportLines; ++lines) {
    const auto end = rest.find('\n');
    if (const auto line = rest.substr(0, end); !line.empty()) {
      // A line costs as much as a request, so that a report is no way around the rate.
      state->requests.reserve(base::SteadyClock::now());
      take_line(*state, line);
    }
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  co_await answer(std::move(stream), "204", Reason::allowed);
}

}  // namespace cleanroom::egress
