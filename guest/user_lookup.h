#pragma once
// The `User` of an OCI image configuration, resolved in the image's own /etc/passwd and /etc/group (passwd(5),
// group(5)), with Docker's meaning: `name`, `uid`, `name:group`, `uid:gid`, ...; a number needs no entry.
#include "src/base/os/result.h"

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::guest {

struct UserIdentity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
  std::string name = "root";  // empty when the uid has no entry
  std::string home = "/";
};

// not_found: a name that the files do not have. An empty `user` is root.
base::Result<UserIdentity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group);

}  // namespace cleanroom::guest
