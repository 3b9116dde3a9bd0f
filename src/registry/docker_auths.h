#pragma once
// One file of Docker's or Podman's logins: which entry is for a registry, and what it has. No I/O.
//   Docker: https://docs.docker.com/reference/cli/docker/login/ ; Podman: containers-auth.json(5)
#include "src/registry/login.h"
#include "src/registry/secret_json.h"

#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::registry {

class DockerAuths {
 public:
  // `text` must outlive this. Errors are invalid_input and quote nothing.
  static base::Result<DockerAuths> parse(std::string_view text, std::size_t max_bytes);

  struct Match {
    // Name of the helper to ask: that of credHelpers, else credsStore; empty: none.
    std::string helper;
    bool listed = false;                  // the file names this registry: there should be a login
    const base::Json* entry = nullptr;    // of auths
    bool entry_is_more_specific = false;  // it is for a namespace: no helper knows those
  };
  // Keys of auths: `registry[/namespace]`, of which the longest counts; with a scheme (Docker's of old) the path says
  // nothing. Docker Hub's is https://index.docker.io/v1/ or docker.io.
  Match match(std::string_view registry, std::string_view repository) const;

  // The login in an entry; nullopt: it has none.
  base::Result<std::optional<Login>> login_of(const base::Json& entry) const;

 private:
  explicit DockerAuths(SecretJson json) : json_(std::move(json)) {}
  SecretJson json_;
};

// Of a helper or an entry. `user` and `password` as they are; a user `<token>` means an identity token. Nothing where
// one of them is empty; invalid_input when they are too long or have control bytes.
base::Result<std::optional<Login>> login_of_pair(std::string_view user, std::string_view password);

}  // namespace cleanroom::registry
