#pragma once
// The provider that an operator's files describe.
#include "src/registry/image_provider.h"
#include "src/registry/operator_logins.h"

namespace cleanroom::registry {

ProviderOptions provider_options(const policy::OperatorConfig& config, const credentials::Bindings& bindings,
                                 const credentials::JobIdentity& job);

}  // namespace cleanroom::registry
