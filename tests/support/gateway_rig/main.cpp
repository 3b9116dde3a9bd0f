// gateway_rig: egress server and gateway of a run without its VM, for tests and benches that use real git, curl and
// servers. It is put together as cleanroom-run does it (JobGateway); two things stand in for what a test cannot have:
//
//   - the guest's agent: a SOCKS5 listener (RFC 1928) whose connections become CONNECT tunnels, for
//     `git -c http.proxy=socks5h://127.0.0.1:PORT`;
//   - the internet: each --map NAME=ADDRESS=HOST:PORT resolves NAME to ADDRESS, which is judged as ever, and then dials
//     HOST:PORT instead. A name that is not mapped does not resolve; every query is logged on stderr.
//
//   gateway_rig --policy FILE [--repository URL] [--map ...]... [--audit FILE] [--gitconfig FILE] [--network SOCKET]
//
//   --network SOCKET   also serves each connection to this Unix socket as a network stream: the raw HTTP/2 of a guest
//
// Operator files come from $CLEANROOM_CONFIG_DIR, and the job's identity from BUILDKITE_* as ever. Prints `socks PORT`
// when ready, `denied ...` for each refusal, and ends when stdin does.
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/runner/admission.h"
#include "src/runner/job_gateway.h"
#include "tests/support/gateway_rig/socks_guest.h"

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <unistd.h>

#include <cstdio>
#include <map>

using namespace cleanroom;
using base::Awaitable;
using base::Result;
namespace asio = base::asio;

namespace {

struct Mapping {
  model::IpAddress address;
  asio::ip::tcp::endpoint endpoint;
};
using Mappings = std::map<std::string, Mapping>;

class MappedResolver : public egress::Resolver {
 public:
  explicit MappedResolver(const Mappings& mappings) : mappings_(mappings) {}
  Awaitable<Result<std::vector<model::IpAddress>>> resolve(model::HostName name, base::Deadline) override {
    std::fprintf(stderr, "query %s\n", name.text().c_str());
    const auto found = mappings_.find(name.text());
    if (found == mappings_.end()) co_return base::fail(base::Code::not_found, "resolve_failed", "no such name");
    co_return std::vector{found->second.address};
  }

 private:
  const Mappings& mappings_;
};

class MappedDialer : public egress::Dialer {
 public:
  explicit MappedDialer(const Mappings& mappings) : mappings_(mappings) {}
  Awaitable<Result<egress::TcpSocket>> connect(model::IpAddress address, std::uint16_t port,
                                               base::Deadline deadline) override {
    std::fprintf(stderr, "dial %s %u\n", address.to_string().c_str(), static_cast<unsigned>(port));
    for (const auto& [name, mapping] : mappings_) {
      if (mapping.address != address) continue;
      const auto real = model::IpAddress::parse(mapping.endpoint.address().to_string());
      co_return co_await real_.connect(*real, mapping.endpoint.port(), deadline);
    }
    co_return base::fail(base::Code::unavailable, "connect_failed", "not mapped");
  }

 private:
  const Mappings& mappings_;
  egress::SystemDialer real_;
};

struct Options {
  std::string policy, repository, audit = "/dev/null", gitconfig, network;
  Mappings mappings;
};

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "gateway_rig: %s\n", message.c_str());
  std::exit(2);
}

template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().describe());
  return std::move(*result);
}

void add_mapping(Mappings& mappings, const std::string& text) {
  const auto first = text.find('=');
  const auto second = text.find('=', first + 1);
  const auto colon = text.rfind(':');
  if (second == std::string::npos || colon < second) die("--map wants NAME=ADDRESS=HOST:PORT");
  const auto address = must(model::IpAddress::parse(text.substr(first + 1, second - first - 1)));
  mappings.insert_or_assign(text.substr(0, first),
                            Mapping{address,
                                    {asio::ip::make_address(text.substr(second + 1, colon - second - 1)),
                                     static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1)))}});
}

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--policy")
      options.policy = value;
    else if (name == "--repository")
      options.repository = value;
    else if (name == "--audit")
      options.audit = value;
    else if (name == "--gitconfig")
      options.gitconfig = value;
    else if (name == "--network")
      options.network = value;
    else if (name == "--map")
      add_mapping(options.mappings, value);
    else
      die("unknown option " + name);
  }
  return options;
}

Awaitable<void> until_stdin_ends(asio::io_context& context) {
  asio::posix::stream_descriptor input(context, ::dup(STDIN_FILENO));
  std::array<char, 256> buffer{};
  for (;;) {
    auto [ec, n] = co_await input.async_read_some(asio::buffer(buffer), base::kTuple);
    if (ec) break;
  }
  context.stop();
}

using Acceptor = asio::local::stream_protocol::acceptor;
Awaitable<void> serve_network(egress::EgressServer& server, Acceptor acceptor) {
  for (;;) {
    auto [ec, socket] = co_await acceptor.async_accept(base::kTuple);
    if (ec) co_return;
    asio::co_spawn(acceptor.get_executor(), server.serve(std::move(socket)), asio::detached);
  }
}

runner::Admission admitted(const Options& options) {
  const auto paths = policy::OperatorPaths::from_environment();
  runner::Admission admission{.operator_config = must(policy::load_operator_config(paths)),
                              .policy = must(policy::load_policy_file(options.policy)),
                              .bindings = must(credentials::load_bindings(paths))};
  admission.gateway_network = admission.policy.policy.network();
  admission.limits = must(policy::load_ceiling(paths)).limits_for("");
  return admission;
}

}  // namespace

int main(int argc, char** argv) {
  ::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto options = read_options(argc, argv);
  asio::io_context context;
  base::BlockingPool pool(2);
  MappedResolver resolver(options.mappings);
  MappedDialer dialer(options.mappings);
  const auto audit = must(egress::AuditLog::open(options.audit, "rig"));
  const auto admission = admitted(options);
  runner::RunRequest request;
  request.repository_url = options.repository;
  request.identity = credentials::job_identity(runner::environment_from(environ));
  const auto gateway = must(runner::JobGateway::create(
      admission, request, pool, resolver, dialer, *audit, [](const git_gateway::GitDenial& denial) {
        std::printf("denied %s/%s %s\n", denial.host.c_str(), denial.repository.c_str(),
                    std::string(model::to_string(denial.reason)).c_str());
      }));
  egress::EgressOptions egress_options;
  if (gateway) egress_options.gateway = gateway->handler();
  egress::EgressServer server(
      admission.policy.policy.network(), resolver, dialer, *audit,
      [](const egress::Denial& denial) {
        std::printf("denied %s:%u %s\n", denial.host.c_str(), static_cast<unsigned>(denial.port),
                    std::string(model::to_string(denial.reason)).c_str());
      },
      egress_options);
  if (gateway && !options.gitconfig.empty())
    if (auto written = base::write_file_atomically(options.gitconfig, gateway->guest_file().content); !written)
      die(written.error().describe());
  channel::StreamSocket host_end(context);
  channel::StreamSocket guest_end(context);
  asio::local::connect_pair(host_end, guest_end);
  asio::co_spawn(context, server.serve(std::move(host_end)), asio::detached);
  if (!options.network.empty())
    asio::co_spawn(context, serve_network(server, Acceptor(context, {options.network})), asio::detached);
  testing::SocksGuest guest(context, std::move(guest_end));
  asio::co_spawn(context, until_stdin_ends(context), asio::detached);
  std::printf("socks %u\n", static_cast<unsigned>(guest.port()));
  context.run();
  return 0;
}
