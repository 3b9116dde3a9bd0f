#include "src/cli/image_options.h"

#include "src/cli/pull_bar.h"
#include "src/policy/ceiling.h"
#include "src/registry/operator_provider.h"
#include "src/registry/pull_lines.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

extern "C" char** environ;  // NOLINT(readability-redundant-declaration): no header declares it under C++20

namespace cleanroom::cli {
namespace {

credentials::Environment environment() {
  credentials::Environment variables;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::unique_ptr<registry::PullProgress> make_progress(const std::string& shown_as, bool quiet) {
  if (quiet) return nullptr;
  if (::isatty(STDERR_FILENO) == 1) return std::make_unique<PullBar>(shown_as);
  return std::make_unique<registry::PullLines>(shown_as,
                                               [](const std::string& line) { fmt::print(stderr, "{}\n", line); });
}

}  // namespace

base::Result<image::ImageStore> open_image_store() {
  CR_ASSIGN(auto root, image::default_image_root());
  return image::ImageStore(std::move(root));
}

nlohmann::json to_json(const image::StoredImage& stored) {
  return {{"digest", stored.digest.to_string()},
          {"source", stored.source},
          {"created", stored.created},
          {"rootfs", stored.rootfs.native()},
          {"rootfs_bytes", stored.rootfs_bytes},
          {"config",
           {{"env", stored.config.env},
            {"user", stored.config.user},
            {"workdir", stored.config.workdir},
            {"entrypoint", stored.config.entrypoint},
            {"cmd", stored.config.cmd}}}};
}

base::Result<ImageAccess> open_image_access(const std::string& shown_as, bool quiet) {
  const auto paths = policy::OperatorPaths::from_environment();
  CR_ASSIGN(const auto config, policy::load_operator_config(paths));
  CR_ASSIGN(const auto bindings, credentials::load_bindings(paths));
  CR_ASSIGN(const auto ceiling, policy::load_ceiling(paths));
  CR_ASSIGN(image::ImageStore store, open_image_store());
  const auto job = credentials::job_identity(environment());
  auto options = registry::provider_options(config, bindings, job);
  auto progress = make_progress(shown_as, quiet);
  options.progress = progress.get();
  options.note = [](const std::string& text) { fmt::print(stderr, "note: {}\n", text); };
  auto provider = std::make_unique<registry::ImageProvider>(store, std::move(options));
  return ImageAccess{std::move(store), ceiling.limits_for(job.pipeline), std::move(progress), std::move(provider)};
}

}  // namespace cleanroom::cli
