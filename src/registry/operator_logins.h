#pragma once
// All the logins this host may use for a job's images, by the operator's files.
#include "src/credentials/bindings.h"
#include "src/credentials/job_identity.h"
#include "src/policy/operator_config.h"
#include "src/registry/login.h"

#include <memory>

namespace cleanroom::registry {

// Bindings first, then Docker's files where `images.docker_config` allows them: by default outside Buildkite only,
// since they know no pipelines and no repositories. Reads this process's environment now; asks no source yet.
std::unique_ptr<LoginSource> operator_logins(const credentials::Bindings& bindings, const credentials::JobIdentity& job,
                                             const policy::ImagesConfig& images);

}  // namespace cleanroom::registry
