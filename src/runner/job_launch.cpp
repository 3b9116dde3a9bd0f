// From an image and a kernel to a guest that takes commands.
#include "src/base/os/random.h"
#include "src/base/os/secret_io.h"
#include "src/runner/job_run.h"
#include "src/runner/vmm_end.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <algorithm>

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;
using namespace base::asio::experimental::awaitable_operators;

namespace {

constexpr std::uint8_t kWorkspaceSlot = 2;    // behind those that handshake.h names
constexpr std::size_t kMaxBlockedLines = 25;  // in the job log; the summary counts all, audit.jsonl has each
constexpr std::size_t kMaxAdvisedHosts = 5;
constexpr std::size_t kMaxAdvisedRepositories = 10;
constexpr std::size_t kConsoleTailShown = 2048;
constexpr std::size_t kHostnameDigits = 8;

channel::GuestNetwork guest_network(const policy::NetworkRules& rules, bool has_gateway) {
  channel::GuestNetwork network{
      .names = rules.allowed_name_patterns(), .ports = rules.allowed_ports(), .addresses = {}};
  if (rules.recording()) network.ports = {channel::kEveryPort, 80, 443};
  if (rules.any_public_name()) network.addresses.emplace_back("0.0.0.0/0");
  for (const auto& cidr : rules.allowed_cidrs()) {
    if (cidr.network().is_v4()) network.addresses.push_back(cidr.to_string());
  }
  if (!has_gateway) return network;
  network.names.emplace_back(egress::kGatewayHost);
  if (std::find(network.ports.begin(), network.ports.end(), egress::kGatewayPort) == network.ports.end())
    network.ports.push_back(egress::kGatewayPort);
  return network;
}

}  // namespace

channel::StartRecord JobRun::start_record() const {
  channel::StartRecord start;
  base::fill_random(start.nonce);
  base::fill_random(start.entropy);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  start.wall_clock_ns = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  // As a container's: no two VMs have one (WRM-02).
  start.hostname = "cleanroom-" + base::random_hex(kHostnameDigits / 2);
  start.mounts = {{.slot = kWorkspaceSlot, .path = request_.workdir, .read_only = 0}};
  start.network = guest_network(admission_->policy.policy.network(), machine_->gateway != nullptr);
  return start;
}

Awaitable<Result<void>> JobRun::launch_phase() {
  machine_ = std::make_unique<Machine>(context_.get_executor());
  CR_CO_ASSIGN(machine_->audit, egress::AuditLog::open(directory_->path() / "audit.jsonl", record_.run_id));
  if (audit_sink_) machine_->audit->copy_to(*audit_sink_);
  CR_CO_TRY(prepare_gateway());
  CR_CO_TRY(co_await start_machine());
  serve_egress();
  co_return Result<void>{};
}

base::Error JobRun::with_console(base::Error error) const {
  const auto tail = machine_->vm ? machine_->vm->console_tail(kConsoleTailShown) : std::string{};
  if (!tail.empty()) error.message += "\nits console ends with:\n" + tail;
  return error;
}

Awaitable<Result<void>> JobRun::await_agent() {
  const auto deadline = base::deadline_in(admission_->launch_timeout);
  auto started = GuestSession::start(std::move(*machine_->control), start_record(), deadline);
  machine_->control.reset();
  auto first = co_await (std::move(started) || cancellation_.wait_requested());
  if (first.index() == 1) co_return base::fail(Code::cancelled, "cancelled", "cancelled while the VM started");
  auto session = std::move(std::get<0>(first));
  if (!session) {
    co_await add_vmm_end(*machine_->vm, session.error());
    co_return base::fail(with_console(std::move(session).error()));
  }
  machine_->session = std::move(*session);
  record_.timer.finish("start");
  co_return Result<void>{};
}

// A refusal is worth a line once. A name that does not resolve or a server that does not answer is no refusal of ours.
void JobRun::announce(const egress::Denial& denial) {
  if (denial.occurrence != 1 || ++blocked_lines_ > kMaxBlockedLines) return;
  const bool failed = denial.reason == model::Reason::resolve_failed || denial.reason == model::Reason::connect_failed;
  const std::string port = denial.port == 0 ? "" : fmt::format(":{}", denial.port);
  log_.line(fmt::format("{} {}{} ({})", failed ? "cannot reach" : "blocked", denial.host, port,
                        model::to_string(denial.reason)));
}

void JobRun::announce_git(const git_gateway::GitDenial& denial) {
  const bool lacks_entry =
      denial.reason == model::Reason::git_repository_not_allowed || denial.reason == model::Reason::host_not_allowed;
  if (lacks_entry && refused_repositories_.size() < kMaxAdvisedHosts) {
    auto& repositories = refused_repositories_[denial.host];
    if (repositories.size() < kMaxAdvisedRepositories) repositories.insert(denial.repository);
  }
  if (!denial.is_first || ++blocked_lines_ > kMaxBlockedLines) return;
  log_.line(fmt::format("blocked git {}{}{} ({}{}{})", denial.host, denial.host.empty() ? "" : "/", denial.repository,
                        model::to_string(denial.reason), denial.detail.empty() ? "" : ": ", denial.detail));
}

Result<void> JobRun::prepare_gateway() {
  auto& machine = *machine_;
  CR_TRY(base::forbid_core_dumps());
  CR_ASSIGN(machine.gateway,
            JobGateway::create(*admission_, request_, pool_, machine.resolver, machine.dialer, *machine.audit,
                               [this](const git_gateway::GitDenial& denial) { announce_git(denial); }));
  return {};
}

void JobRun::serve_egress() {
  egress::EgressOptions options;
  if (machine_->gateway) options.gateway = machine_->gateway->handler();
  machine_->egress = std::make_unique<egress::EgressServer>(
      admission_->policy.policy.network(), machine_->resolver, machine_->dialer, *machine_->audit,
      [this](const egress::Denial& denial) { announce(denial); }, std::move(options));
  const auto ended = machine_->egress_ended;
  base::asio::co_spawn(context_, machine_->egress->serve(machine_->vm->take_network()),
                       [ended](std::exception_ptr, const Result<void>&) {
                         ended->over = true;
                         ended->changed.notify_all();
                       });
}

}  // namespace cleanroom::runner
