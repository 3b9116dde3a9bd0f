#pragma once
// DockerConfigLogins: what `docker login`, `podman login` and `skopeo login` left on this host: their files (`auths`)
// and the credential helpers that these name (`credHelpers`, `credsStore`; the protocol of docker-credential-helpers).
#include "src/base/os/clock.h"
#include "src/credentials/job_identity.h"
#include "src/registry/login.h"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace cleanroom::registry {

inline constexpr std::size_t kMaxDockerConfigBytes = 1024 * 1024;
inline constexpr std::size_t kMaxHelperOutputBytes = 64 * 1024;
inline constexpr std::chrono::seconds kHelperTimeLimit{15};

struct DockerConfigOptions {
  std::vector<std::filesystem::path> files;  // the first that knows the registry counts; one that is not there is none
  std::string program_path;                  // where docker-credential-NAME is looked for
  std::vector<std::string> environment;      // of helpers, "K=V"; with PATH and HOME
  uid_t user = 0;                            // files belong to it, or to root
  bool fork = false;                         // the build is a fork's: it gets nothing
  std::chrono::milliseconds time_limit = kHelperTimeLimit;

  // Outside Buildkite: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json (default ~/.docker/config.json),
  // $XDG_RUNTIME_DIR/containers/auth.json; helpers are those of $PATH and see this process's environment.
  // Under Buildkite a pipeline's `env:` sets such variables: ~/.docker/config.json of the user database's home alone,
  // and PATH, HOME, LANG as sources of bindings have them.
  static DockerConfigOptions from_process(const credentials::JobIdentity& job);
};

// Holds nothing: each find() reads the files. Any thread may ask.
class DockerConfigLogins : public LoginSource {
 public:
  explicit DockerConfigLogins(DockerConfigOptions options) : options_(std::move(options)) {}

  // credential_unavailable names the file or the helper, never what is in it or what it said: a file that is malformed,
  // too long, or another's; one with a login in it that everybody may read; a helper that fails for a registry which
  // the file names.
  base::Result<std::optional<Login>> find(const std::string& registry, const std::string& repository) override;
  std::string withheld(const std::string& registry, const std::string& repository) const override;

 private:
  DockerConfigOptions options_;
};

}  // namespace cleanroom::registry
