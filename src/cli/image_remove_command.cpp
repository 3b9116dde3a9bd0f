// cleanroom image rm|gc: what leaves the store.
#include "src/cli/command.h"
#include "src/cli/image_options.h"
#include "src/image/image_names.h"
#include "src/registry/pull_lines.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <fmt/format.h>

#include <charconv>

namespace cleanroom::cli {
namespace {

using base::Code;
using base::fail;
using base::Result;

struct RemoveOptions {
  std::vector<std::string> images;
  std::optional<std::string> max_gib;
  std::optional<std::string> unused_for;
  bool dry_run = false;
  bool json = false;
};

// Without the lease of find(), which would be in the way.
Result<model::Digest> digest_of(const image::ImageStore& store, const model::ImageReference& reference) {
  CR_ASSIGN(const auto stored, store.find(reference));
  return stored.digest;
}

// Of several names only this one goes; with the last name, or by digest, the image does.
Result<void> remove_one(const image::ImageStore& store, const std::string& text) {
  CR_ASSIGN(const auto name, image::parse_source(text));
  if (name.kind == image::SourceKind::stored) return store.remove(*name.digest);
  if (name.kind != image::SourceKind::registry)
    return fail(Code::invalid_input, "image_ref_invalid", fmt::format("cannot remove '{}': name it by digest", text));
  CR_ASSIGN(const model::Digest digest, digest_of(store, *name.reference));
  const image::ImageNames names(store.root());
  if (!name.reference->pinned()) {
    const auto all = names.all();
    const auto found = all.find(digest);
    if (found != all.end() && found->second.size() > 1) return names.remove_name(*name.reference);
  }
  return store.remove(digest);
}

Result<void> remove(const RemoveOptions& options) {
  CR_ASSIGN(const image::ImageStore store, open_image_store());
  for (const std::string& text : options.images) {
    CR_TRY(remove_one(store, text));
    fmt::print("removed {}\n", text);
  }
  return {};
}

constexpr std::uint32_t kMaxNumber = 100'000;  // of days, hours, minutes, GiB

// 30d, 12h, 45m.
Result<std::chrono::seconds> parse_age(const std::string& text) {
  std::uint32_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(parsed.ptr, static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
  if (parsed.ec == std::errc() && number <= kMaxNumber) {
    if (unit == "d") return std::chrono::hours(24) * number;
    if (unit == "h") return std::chrono::hours(number);
    if (unit == "m") return std::chrono::minutes(number);
  }
  return fail(base::Error(Code::invalid_input, kUsage, fmt::format("cannot use '{}' as an age", text))
                  .with_hint("write 30d, 12h or 45m"));
}

// Not an option of type integer: CLI11 takes -1 for 2^64-1.
Result<std::uint64_t> parse_gib(const std::string& text) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && number <= kMaxNumber) return number << 30;
  return fail(base::Error(Code::invalid_input, kUsage, fmt::format("cannot use '{}' as a number of GiB", text))
                  .with_hint(fmt::format("write a whole number, at most {}", kMaxNumber)));
}

Result<void> collect(const RemoveOptions& options) {
  image::CollectOptions limits{.dry_run = options.dry_run};
  if (options.max_gib) {
    CR_ASSIGN(limits.max_bytes, parse_gib(*options.max_gib));
  }
  if (options.unused_for) {
    CR_ASSIGN(limits.unused_for, parse_age(*options.unused_for));
  }
  if (!limits.max_bytes && !limits.unused_for) {
    // By the operator's configuration.
    CR_ASSIGN(const auto config, policy::load_operator_config(policy::OperatorPaths::from_environment()));
    if (config.images.max_gib) limits.max_bytes = *config.images.max_gib << 30;
    if (config.images.unused_days) limits.unused_for = std::chrono::hours(24) * *config.images.unused_days;
  }
  CR_ASSIGN(const image::ImageStore store, open_image_store());
  CR_ASSIGN(const auto report, store.collect(limits));
  if (options.json) {
    nlohmann::json removed = nlohmann::json::array();
    for (const auto& stored : report.removed)
      removed.push_back({{"digest", stored.digest.to_string()}, {"disk_bytes", stored.disk_bytes}});
    print_json({{"removed", removed},
                {"kept_bytes", report.kept_bytes},
                {"leftovers", report.leftovers},
                {"dry_run", options.dry_run}});
    return {};
  }
  const char* verb = options.dry_run ? "would remove" : "removed";
  for (const auto& stored : report.removed)
    fmt::print("{} {}  {}  {}\n", verb, stored.digest.to_string(), registry::show_bytes(stored.disk_bytes),
               stored.source);
  if (report.leftovers > 0) fmt::print("{} what {} unfinished builds left\n", verb, report.leftovers);
  fmt::print("{} left\n", registry::show_bytes(report.kept_bytes));
  return {};
}

}  // namespace

void add_image_remove_commands(CLI::App& image, int& exit_code) {
  auto options = std::make_shared<RemoveOptions>();
  CLI::App* leaf = image.add_subcommand("rm", "Remove images that no job runs in");
  leaf->add_option("images", options->images, "sha256:..., or a name that ls shows")->required()->type_name("IMAGE");
  leaf->callback([options, &exit_code] {
    const auto done = remove(*options);
    exit_code = done ? 0 : report_failure(done.error());
  });

  options = std::make_shared<RemoveOptions>();
  leaf =
      image.add_subcommand("gc", "Remove images by size and age, the least recently used first, and unfinished builds");
  leaf->add_option("--max-gib", options->max_gib, "What the store may take; default: images.max_gib of config.yaml")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 20))
      ->type_name("N");
  leaf->add_option("--unused-for", options->unused_for,
                   "What was not used for so long goes: 30d, 12h; default: images.unused_days")
      ->type_name("AGE");
  leaf->add_flag("--dry-run", options->dry_run, "Only say what would go");
  leaf->add_flag("--json", options->json, "Print JSON");
  leaf->callback([options, &exit_code] {
    const auto done = collect(*options);
    exit_code = done ? 0 : report_failure(done.error());
  });
}

}  // namespace cleanroom::cli
