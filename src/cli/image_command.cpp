// cleanroom image import|ls|inspect: the store of root file systems. No network.
#include "src/cli/image_command.h"

#include "src/image/image_store.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>

namespace cleanroom::cli {
namespace {

using Json = nlohmann::json;

struct ImageOptions {
  std::string source;
  bool json = false;
};

Json to_json(const image::StoredImage& stored) {
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

void print_json(const Json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, Json::error_handler_t::replace));
}

base::Result<image::ImageStore> open_store() {
  CR_ASSIGN(auto root, image::default_image_root());
  return image::ImageStore(std::move(root));
}

int run_import(const ImageOptions& options) {
  auto store = open_store();
  if (!store) return report_failure(store.error());
  const auto stored = store->ensure(options.source);
  if (!stored) return report_failure(stored.error());
  if (options.json)
    print_json(to_json(*stored));
  else
    fmt::print("{}\n", stored->digest.to_string());
  return 0;
}

int run_list(const ImageOptions& options) {
  const auto store = open_store();
  if (!store) return report_failure(store.error());
  const auto images = store->list();
  if (!images) return report_failure(images.error());
  if (options.json) {
    Json list = Json::array();
    for (const auto& stored : *images)
      list.push_back(to_json(stored));
    print_json(list);
    return 0;
  }
  for (const auto& stored : *images) {
    fmt::print("{}  {:>6} MiB  {}  {}\n", stored.digest.to_string(), stored.rootfs_bytes >> 20, stored.created,
               stored.source);
  }
  return 0;
}

int run_inspect(const ImageOptions& options) {
  const auto store = open_store();
  if (!store) return report_failure(store.error());
  const auto digest = model::Digest::parse(options.source);
  if (!digest) return report_failure(digest.error());
  const auto stored = store->find(*digest);
  if (!stored) return report_failure(stored.error());
  print_json(to_json(*stored));
  return 0;
}

CLI::App* add_leaf(CLI::App& parent, const char* name, const char* help, int& exit_code,
                   int (*run)(const ImageOptions&)) {
  auto options = std::make_shared<ImageOptions>();
  CLI::App* leaf = parent.add_subcommand(name, help);
  const std::string_view which = name;
  if (which == "import") {
    leaf->add_option("source", options->source, "oci:DIR[:tag], oci-archive:FILE[:tag] or docker-archive:FILE[:name]")
        ->required()
        ->type_name("SOURCE");
  }
  if (which == "inspect") leaf->add_option("digest", options->source, "sha256:...")->required()->type_name("DIGEST");
  if (which != "inspect") leaf->add_flag("--json", options->json, "Print JSON");
  leaf->callback([options, &exit_code, run] { exit_code = run(*options); });
  return leaf;
}

}  // namespace

void add_image_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("image", "Import and list the images that jobs run in");
  command->require_subcommand(1);
  add_leaf(*command, "import", "Build the root file system of an image and print its digest; quick when it is there",
           exit_code, run_import);
  add_leaf(*command, "ls", "List the images in the store", exit_code, run_list);
  add_leaf(*command, "inspect", "Print what is known of one image, as JSON", exit_code, run_inspect);
}

}  // namespace cleanroom::cli
