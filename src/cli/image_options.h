#pragma once
// What the `cleanroom image` subcommands share.
#include "src/image/image_store.h"
#include "src/registry/image_provider.h"

#include <CLI/App.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>

namespace cleanroom::cli {

base::Result<image::ImageStore> open_image_store();

nlohmann::json to_json(const image::StoredImage& stored);

// A provider by the operator's files, as the person who runs this, with the progress on stderr: a bar on a terminal,
// lines elsewhere, nothing when `quiet`.
struct ImageAccess {
  image::ImageStore store;
  policy::CeilingLimits limits;
  std::unique_ptr<registry::PullProgress> progress;
  std::unique_ptr<registry::ImageProvider> provider;
};
// `shown_as` names the image in the progress.
base::Result<ImageAccess> open_image_access(const std::string& shown_as, bool quiet);

// `image pull`, `image bump-ref`, `image set-ref`: src/cli/image_pull_command.cpp
void add_image_pull_commands(CLI::App& image, int& exit_code);
// `image rm`, `image gc`: src/cli/image_remove_command.cpp
void add_image_remove_commands(CLI::App& image, int& exit_code);

}  // namespace cleanroom::cli
