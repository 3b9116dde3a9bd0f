#pragma once
// Where Cleanroom keeps things on this host: the XDG base directories (XDG Base Directory Specification 0.8), all
// private to the user.
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::runner {

struct HostPaths {
  std::filesystem::path data;   // images, kernels
  std::filesystem::path cache;  // what can be made again: initramfs, probes
  std::filesystem::path state;  // run records
  std::filesystem::path agent;  // the guest agent's binary, beside this program

  // $XDG_*_HOME (absolute ones only), else the defaults below $HOME. failed_precondition without either, or without
  // agent.
  static base::Result<HostPaths> find();
};

}  // namespace cleanroom::runner
