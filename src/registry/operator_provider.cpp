#include "src/registry/operator_provider.h"

namespace cleanroom::registry {

ProviderOptions provider_options(const policy::OperatorConfig& config, const credentials::Bindings& bindings,
                                 const credentials::JobIdentity& job) {
  ProviderOptions options;
  options.registries = config.registries;
  options.images = config.images;
  options.logins = operator_logins(bindings, job, config.images);
  return options;
}

}  // namespace cleanroom::registry
