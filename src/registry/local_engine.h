#pragma once
// Images of a Docker or Podman on this host, by name: what `docker save` and `podman save` give.
#include "src/image/image_source.h"

#include <filesystem>
#include <stop_token>
#include <string>

namespace cleanroom::registry {

// Docker: by the API on its Unix socket ($DOCKER_HOST when it is unix:///..., else /var/run/docker.sock). The archive
// is kept in a file without a name in `spool` while it is read. image_not_found (no such image, or no engine),
// image_pull_failed. Blocks, for ten minutes at most.
base::Result<image::ImageSource> open_docker_image(const std::string& name, const std::filesystem::path& spool,
                                                   const image::Limits& limits, const std::stop_token& stop);
// Podman: by its program.
base::Result<image::ImageSource> open_podman_image(const std::string& name, const std::filesystem::path& spool,
                                                   const image::Limits& limits, const std::stop_token& stop);

}  // namespace cleanroom::registry
