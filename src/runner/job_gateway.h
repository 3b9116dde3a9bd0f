#pragma once
// The gateway of one job, put together from policy, ceiling and credential bindings, and what the guest is told of it.
#include "src/git_gateway/git_gateway.h"
#include "src/runner/admission.h"
#include "src/runner/default_command.h"

#include <memory>
#include <optional>
#include <vector>

namespace cleanroom::runner {

// "github.com" and "acme/web" of a repository's URL in any usual spelling; nullopt when it is none.
std::optional<git_gateway::OwnRepository> own_repository(const std::string& url);

class JobGateway {
 public:
  // Null when the policy opens nothing that the gateway could serve. The references must outlive it. Reads certificate
  // files. config_invalid: they cannot be read.
  static base::Result<std::unique_ptr<JobGateway>> create(const Admission& admission, const RunRequest& request,
                                                          base::BlockingPool& pool, egress::Resolver& resolver,
                                                          egress::Dialer& dialer, egress::AuditLog& audit,
                                                          git_gateway::GitDenialSink on_denial);
  egress::GatewayHandler handler() { return git_->handler(); }
  // Git's configuration in the guest, and the variables by which git finds it; `environment` is the job's.
  GuestFile guest_file() const;
  void add_variables(Environment& environment) const;

 private:
  JobGateway(credentials::Broker broker, std::vector<git_gateway::RewrittenHost> hosts)
      : broker_(std::move(broker)), hosts_(std::move(hosts)) {}
  credentials::Broker broker_;
  std::vector<git_gateway::RewrittenHost> hosts_;
  std::unique_ptr<git_gateway::GitGateway> git_;
};

}  // namespace cleanroom::runner
