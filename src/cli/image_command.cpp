// cleanroom image import|ls|inspect: the store of root file systems. No network.
#include "src/cli/image_command.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/cli/command.h"
#include "src/cli/image_options.h"
#include "src/image/image_names.h"
#include "src/registry/pull_lines.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <unistd.h>

namespace cleanroom::cli {
namespace {

using base::Code;
using base::fail;
using base::Result;
using Json = nlohmann::json;

struct ImageOptions {
  std::vector<std::string> words;
  bool json = false;
};

class StandardInput final : public image::ContentReader {
 public:
  Result<std::size_t> read(std::span<std::byte> into) override {
    for (;;) {
      const ssize_t n = ::read(STDIN_FILENO, into.data(), into.size());
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return fail(base::errno_error("read", "standard input"));
    }
  }
};

// A source with a scheme, or a path whose content tells what it is.
Result<image::StoredImage> import_source(const image::ImageStore& store, const std::string& source) {
  const bool has_scheme =
      source.starts_with("oci:") || source.starts_with("oci-archive:") || source.starts_with("docker-archive:");
  if (has_scheme) return store.ensure(source);
  if (source.starts_with("docker-daemon:") || source.starts_with("podman:")) {
    CR_ASSIGN(auto access, open_image_access(source, true));
    return access.provider->ensure(source, {});
  }
  CR_TRY(base::make_private_directories(store.root()));
  if (source == "-") {
    StandardInput input;
    CR_ASSIGN(const auto opened, image::ImageSource::read_any(input, store.root(), store.limits()));
    return store.import(opened, "standard input");
  }
  CR_ASSIGN(const auto opened, image::ImageSource::open_any(source, store.root(), store.limits()));
  return store.import(opened, source);
}

Result<void> import(const ImageOptions& options) {
  CR_ASSIGN(const image::ImageStore store, open_image_store());
  std::optional<model::ImageReference> name;
  if (options.words.size() == 2) {
    CR_ASSIGN(name, model::ImageReference::parse(options.words.front()));
    if (name->pinned())
      return fail(Code::invalid_input, "image_ref_invalid",
                  fmt::format("cannot import as '{}': a name for a local image has no digest", name->to_string()));
  }
  const std::string& source = options.words.back();
  auto stored = import_source(store, source);
  if (!stored) return fail(std::move(stored.error()).with_context(fmt::format("cannot import '{}'", source)));
  if (name) CR_TRY(image::ImageNames(store.root()).set_name(*name, stored->digest, image::ImageNames::Origin::import));
  if (options.json)
    print_json(to_json(*stored));
  else
    fmt::print("{}\n", stored->digest.to_string());
  return {};
}

Result<void> list(const ImageOptions& options) {
  CR_ASSIGN(const image::ImageStore store, open_image_store());
  CR_ASSIGN(const auto images, store.list());
  if (options.json) {
    Json rows = Json::array();
    for (const auto& stored : images) {
      Json row = to_json(stored);
      row["names"] = stored.names;
      row["disk_bytes"] = stored.disk_bytes;
      row["last_used"] = base::format_utc(stored.last_used);
      rows.push_back(std::move(row));
    }
    print_json(rows);
    return {};
  }
  for (const auto& stored : images) {
    const std::string names = fmt::format("{}", fmt::join(stored.names, " "));
    fmt::print("{}  {:>10}  {}  {}\n", stored.digest.to_string(), registry::show_bytes(stored.disk_bytes),
               base::format_utc(stored.last_used), names.empty() ? stored.source : names);
  }
  return {};
}

Result<void> inspect(const ImageOptions& options) {
  CR_ASSIGN(const image::ImageStore store, open_image_store());
  CR_ASSIGN(const auto stored, store.ensure(options.words.front()));
  print_json(to_json(stored));
  return {};
}

}  // namespace

void add_image_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("image", "Pull, import, list and remove the images that jobs run in");
  command->require_subcommand(1);
  add_image_pull_commands(*command, exit_code);
  std::shared_ptr<ImageOptions> options;
  CLI::App* leaf = add_leaf(*command, "import",
                            "Build the root file system of a local image and print its digest; quick when it is there",
                            exit_code, import, options);
  leaf->add_option("source", options->words,
                   "[NAME] and what to import: oci:DIR[:tag], oci-archive:FILE[:tag], docker-archive:FILE[:name], "
                   "docker-daemon:NAME, podman:NAME, a tar archive, a directory with an OCI layout, or - for a tar on "
                   "standard input")
      ->required()
      ->expected(1, 2)
      ->type_name("[NAME] SOURCE");
  leaf->add_flag("--json", options->json, "Print JSON");
  leaf = add_leaf(*command, "ls", "List the images in the store", exit_code, list, options);
  leaf->add_flag("--json", options->json, "Print JSON");
  leaf = add_leaf(*command, "inspect", "Print what is known of one image, as JSON", exit_code, inspect, options);
  leaf->add_option("image", options->words, "sha256:..., or a reference")->required()->expected(1)->type_name("IMAGE");
  add_image_remove_commands(*command, exit_code);
}

}  // namespace cleanroom::cli
