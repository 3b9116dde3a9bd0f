#include "src/policy/operator_schema.h"

#include "src/policy/policy_schema.h"

namespace cleanroom::policy {
namespace {

using base::Presence;
using base::SchemaType;

base::Schema make_config_rows() {
  return {
      {.path = "default_backend",
       .default_json = "\"auto\"",
       .doc = "The backend when the caller names none; auto takes the first that works",
       .choices = {"auto", "qemu"}},
      {.path = "allow_emulation",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Whether jobs under Buildkite may run without hardware virtualisation"},
      {.path = "policy_from",
       .default_json = "\"checkout\"",
       .doc = "Whose cleanroom.yaml counts; `base` and `operator` are not in this build",
       .choices = {"checkout"}},
      {.path = "backends", .type = SchemaType::mapping, .default_json = "{}", .doc = "Settings of each backend"},
      {.path = "backends.qemu", .type = SchemaType::mapping, .default_json = "{}", .doc = "QEMU microvm"},
      {.path = "backends.qemu.binary_path",
       .doc = "Absolute path; without it qemu-system-x86_64 in PATH",
       .min_size = 1,
       .max_size = 4096},
      {.path = "backends.qemu.kernel_image",
       .doc = "Absolute path; without it the prepared kernel",
       .min_size = 1,
       .max_size = 4096},
      {.path = "backends.qemu.vcpus",
       .type = SchemaType::integer,
       .doc = "Virtual CPUs when the policy says nothing",
       .minimum = 1,
       .maximum = 256},
      {.path = "backends.qemu.memory_mib",
       .type = SchemaType::integer,
       .doc = "Memory when the policy says nothing",
       .minimum = 64,
       .maximum = 4 * 1024 * 1024},
      {.path = "backends.qemu.launch_seconds",
       .type = SchemaType::integer,
       .doc = "How long a VM may take to be ready",
       .minimum = 1,
       .maximum = 3600},
      {.path = "backends.firecracker",
       .type = SchemaType::mapping,
       .not_accepted = "the firecracker backend is not in this build"},
      {.path = "paths",
       .type = SchemaType::mapping,
       .not_accepted = "this build does not honour it; set XDG_* instead"},
      {.path = "limits", .type = SchemaType::mapping, .not_accepted = "this build does not honour it"},
  };
}

std::vector<std::string> choices_of(std::string_view path) {
  for (const auto& row : policy_schema()) {
    if (row.path == path) return row.choices;
  }
  return {};
}

// The limits stand at the top and again under each pipeline. They have no defaults here: what a pipeline leaves out
// comes from the top, and what the top leaves out from CeilingLimits.
void add_limits(base::Schema& rows, const std::string& prefix) {
  const auto mapping = [&](const char* path, const char* doc) {
    rows.push_back({.path = prefix + path, .type = SchemaType::mapping, .doc = doc});
  };
  const auto list = [&](const char* path, const char* doc, std::vector<std::string> choices = {}) {
    rows.push_back({.path = prefix + path, .type = SchemaType::sequence, .doc = doc, .max_size = 1000});
    rows.push_back({.path = prefix + path + "[]",
                    .doc = "Element",
                    .min_size = 1,
                    .max_size = 1024,
                    .choices = std::move(choices)});
  };
  const auto integer = [&](const char* path, const char* doc, std::int64_t maximum) {
    rows.push_back({.path = prefix + path, .type = SchemaType::integer, .doc = doc, .minimum = 1, .maximum = maximum});
  };
  const auto boolean = [&](const char* path, const char* doc) {
    rows.push_back({.path = prefix + path, .type = SchemaType::boolean, .doc = doc});
  };
  mapping("network", "Egress");
  list("network.hosts",
       "Names, *.suffix, addresses or CIDRs that allow rules must fall within. Built in: anything public");
  list("network.private_cidrs", "Ranges that are not public and may be opened all the same. Built in: none");
  mapping("images", "Images");
  list("images.registries", "`registry` or `registry/path`. Built in: any");
  boolean("images.unpinned", "Whether a caller's --image may lack a digest; a policy's never may. Built in: false");
  mapping("resources", "Sizes");
  integer("resources.vcpus", "Virtual CPUs. Built in: 8", 256);
  integer("resources.memory_mib", "Memory. Built in: 16384", 4 * 1024 * 1024);
  integer("resources.disk_mib", "Scratch disk. Built in: 102400", 16 * 1024 * 1024);
  integer("resources.ttl_minutes", "Time limit. Built in: 1440", 7 * 24 * 60);
  mapping("services", "Services inside the VM");
  boolean("services.docker", "Whether a policy may ask for Docker. Built in: false");
  mapping("git", "Git gateway");
  boolean("git.push", "Whether a policy may ask for push. Built in: false");
  list("registries", "Ecosystems a policy may enable. Built in: all", choices_of("registries"));
  mapping("buildkite", "The Buildkite agent");
  list("buildkite.commands", "Subcommands a policy may ask for. Built in: annotate, meta-data",
       choices_of("buildkite.commands[]"));
  list("secrets", "Ids a policy may ask for. Built in: none");
}

base::Schema make_ceiling_rows() {
  base::Schema rows;
  add_limits(rows, "");
  rows.push_back({.path = "pipelines",
                  .type = SchemaType::sequence,
                  .doc = "Other limits for some pipelines; the first entry that matches counts",
                  .max_size = 500});
  rows.push_back(
      {.path = "pipelines[]", .type = SchemaType::mapping, .doc = "One entry; what it leaves out is as above"});
  rows.push_back({.path = "pipelines[].match",
                  .presence = Presence::required,
                  .doc = "`organisation/pipeline`; `*` is any text within a part",
                  .min_size = 1,
                  .max_size = 256});
  add_limits(rows, "pipelines[].");
  return rows;
}

}  // namespace

const base::Schema& config_schema() {
  static const base::Schema rows = make_config_rows();
  return rows;
}

const base::Schema& ceiling_schema() {
  static const base::Schema rows = make_ceiling_rows();
  return rows;
}

}  // namespace cleanroom::policy
