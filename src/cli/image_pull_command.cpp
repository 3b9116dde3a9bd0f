// cleanroom image pull|bump-ref|set-ref: images of registries.
#include "src/cli/command.h"
#include "src/cli/image_options.h"
#include "src/policy/ref_edit.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>

namespace cleanroom::cli {
namespace {

using base::Result;

struct PullOptions {
  std::string reference;
  std::string file;
  bool json = false;
  bool quiet = false;
};

Result<void> pull(const PullOptions& options) {
  CR_ASSIGN(const auto reference, model::ImageReference::parse(options.reference));
  CR_ASSIGN(auto access, open_image_access(reference.to_string(), options.quiet));
  const auto demands = policy::image_signature_demands({}, access.limits, reference);
  CR_ASSIGN(const auto pulled, access.provider->pull(reference, demands));
  access.progress.reset();
  if (options.json) {
    auto json = to_json(pulled.image);
    json["reference"] = pulled.reference.to_string();
    print_json(json);
  } else {
    fmt::print("{}\n", pulled.reference.to_string());
  }
  return {};
}

Result<std::filesystem::path> policy_file(const PullOptions& options) {
  if (!options.file.empty()) return std::filesystem::path(options.file);
  return policy::find_policy_file(".");
}

// The reference with its tag, pinned: the tag says where it came from, the digest is what counts.
Result<model::ImageReference> pin(const model::ImageReference& reference, const model::Digest& digest) {
  return model::ImageReference::parse(fmt::format("{}@{}", reference.without_digest().to_string(), digest.to_string()));
}

Result<void> write_ref(const std::filesystem::path& file, const model::ImageReference& reference) {
  CR_ASSIGN(const auto change, policy::write_image_ref(file, reference));
  const bool written = change == policy::RefChange::written;
  fmt::print("{}: {}{}\n", file.native(), reference.to_string(), written ? "" : " (as it was)");
  return {};
}

// A tag is resolved; what has a digest is taken at its word.
Result<void> set_ref(const PullOptions& options) {
  CR_ASSIGN(auto reference, model::ImageReference::parse(options.reference));
  CR_ASSIGN(const auto file, policy_file(options));
  if (!reference.pinned()) {
    CR_ASSIGN(auto access, open_image_access(reference.to_string(), true));
    CR_ASSIGN(const auto digest, access.provider->resolve_tag(reference));
    CR_ASSIGN(reference, pin(reference, digest));
  }
  return write_ref(file, reference);
}

Result<void> bump_ref(const PullOptions& options) {
  CR_ASSIGN(const auto file, policy_file(options));
  CR_ASSIGN(const std::string text, policy::read_policy_text(file));
  CR_ASSIGN(const auto current, policy::image_ref_of(text));
  if (!current) {
    return base::fail(base::Error(base::Code::invalid_input, "image_ref_invalid",
                                  fmt::format("cannot bump '{}': it names no image", file.native()))
                          .with_hint("cleanroom image set-ref NAME:TAG"));
  }
  if (!current->tag()) {
    return base::fail(
        base::Error(base::Code::invalid_input, "image_ref_invalid",
                    fmt::format("cannot bump '{}': '{}' has no tag to look up", file.native(), current->to_string()))
            .with_hint("cleanroom image set-ref NAME:TAG keeps the tag beside the digest"));
  }
  CR_ASSIGN(auto access, open_image_access(current->to_string(), true));
  CR_ASSIGN(const auto digest, access.provider->resolve_tag(*current));
  CR_ASSIGN(const auto pinned, pin(*current, digest));
  return write_ref(file, pinned);
}

using Run = Result<void> (*)(const PullOptions&);

std::shared_ptr<PullOptions> add_leaf(CLI::App*& leaf, CLI::App& parent, const char* name, const char* help,
                                      int& exit_code, Run run) {
  auto options = std::make_shared<PullOptions>();
  leaf = parent.add_subcommand(name, help);
  leaf->callback([options, &exit_code, run] {
    const auto done = run(*options);
    exit_code = done ? 0 : report_failure(done.error());
  });
  return options;
}

}  // namespace

void add_image_pull_commands(CLI::App& image, int& exit_code) {
  CLI::App* leaf = nullptr;
  auto options =
      add_leaf(leaf, image, "pull", "Fetch an image from its registry and print its pinned reference", exit_code, pull);
  leaf->add_option("reference", options->reference, "[registry/]name[:tag][@sha256:...]")->required()->type_name("REF");
  leaf->add_flag("--json", options->json, "Print JSON");
  leaf->add_flag("-q,--quiet", options->quiet, "No progress");

  options = add_leaf(leaf, image, "set-ref", "Make an image the policy's: sandbox.image.ref of cleanroom.yaml, pinned",
                     exit_code, set_ref);
  leaf->add_option("reference", options->reference, "[registry/]name:tag, resolved now, or name@sha256:...")
      ->required()
      ->type_name("REF");
  leaf->add_option("file", options->file, "Policy file; default: as a run finds it")->type_name("FILE");

  options = add_leaf(leaf, image, "bump-ref", "Pin the policy's image to what its tag means now", exit_code, bump_ref);
  leaf->add_option("file", options->file, "Policy file; default: as a run finds it")->type_name("FILE");
}

}  // namespace cleanroom::cli
