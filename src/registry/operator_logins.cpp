#include "src/registry/operator_logins.h"

#include "src/registry/binding_logins.h"
#include "src/registry/docker_config.h"
#include "src/registry/login_chain.h"

namespace cleanroom::registry {

std::unique_ptr<LoginSource> operator_logins(const credentials::Bindings& bindings, const credentials::JobIdentity& job,
                                             const policy::ImagesConfig& images) {
  std::vector<std::unique_ptr<LoginSource>> sources;
  sources.push_back(std::make_unique<BindingLogins>(bindings, job, credentials::HostEnvironment::from_process()));
  const bool local = job.pipeline.empty();
  if (images.docker_config.value_or(local)) {
    sources.push_back(std::make_unique<DockerConfigLogins>(DockerConfigOptions::from_process(job)));
  }
  return std::make_unique<LoginChain>(std::move(sources));
}

}  // namespace cleanroom::registry
