#include "src/policy/operator_schema.h"

#include "src/base/net/public_key.h"
#include "src/model/wall.h"
#include "src/policy/image_signatures.h"
#include "src/policy/policy_schema.h"

#include <algorithm>
#include <iterator>

namespace cleanroom::policy {
namespace {

using base::Presence;
using base::SchemaType;

std::vector<std::string> wall_names() {
  std::vector<std::string> names;
  for (const auto wall : model::all_walls())
    names.emplace_back(model::to_string(wall));
  return names;
}

base::Schema make_main_rows() {
  return {
      {.path = "default_backend",
       .default_json = "\"auto\"",
       .doc = "The backend when the caller names none; auto: firecracker where KVM works and a good one is there, else "
              "qemu",
       .choices = {"auto", "firecracker", "qemu"}},
      {.path = "allow_emulation",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Whether jobs under Buildkite may run without hardware virtualisation"},
      {.path = "allow_record",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Whether jobs under Buildkite may run with --record; never those of a pull request from another "
              "repository"},
      {.path = "require_isolation",
       .type = SchemaType::sequence,
       .default_json = "[]",
       .doc = "Walls around the VMM without which no job starts (docs/run-record.md); others that this host lacks cost "
              "a warning",
       .max_size = model::all_walls().size()},
      {.path = "require_isolation[]", .doc = "Wall", .choices = wall_names()},
      {.path = "audit", .type = SchemaType::mapping, .doc = "A second place for every audit line (docs/audit.md)"},
      {.path = "audit.file", .doc = "Absolute path of a file to append to", .min_size = 1, .max_size = 4096},
      {.path = "audit.socket",
       .doc = "Absolute path of a Unix stream socket to connect to; either this or `file`",
       .min_size = 1,
       .max_size = 107},
      {.path = "audit.required",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Whether a job is refused when the place cannot be opened"},
      {.path = "policy_from",
       .default_json = "\"checkout\"",
       .doc = "Whose cleanroom.yaml counts; `base` and `operator` are not in this build",
       .choices = {"checkout"}},
      {.path = "backends", .type = SchemaType::mapping, .default_json = "{}", .doc = "Settings of each backend"},
  };
}

struct BackendTexts {
  const char* path;
  const char* doc;
  const char* binary_doc;
  const char* kernel_doc;
  std::int64_t max_vcpus;
};
constexpr BackendTexts kFirecrackerTexts = {
    .path = "backends.firecracker",
    .doc = "Firecracker, 1.14.4, 1.15.1 or newer; needs KVM",
    .binary_doc = "Absolute path; without it firecracker in PATH",
    .kernel_doc = "Absolute path of a vmlinux, or of a bzImage to take it from; without it the prepared kernel",
    .max_vcpus = 32};
constexpr BackendTexts kQemuTexts = {.path = "backends.qemu",
                                     .doc = "QEMU microvm",
                                     .binary_doc = "Absolute path; without it qemu-system-x86_64 in PATH",
                                     .kernel_doc = "Absolute path; without it the prepared kernel",
                                     .max_vcpus = 256};

base::Schema backend_rows(const BackendTexts& texts) {
  const std::string path = texts.path;
  return {
      {.path = path, .type = SchemaType::mapping, .default_json = "{}", .doc = texts.doc},
      {.path = path + ".binary_path", .doc = texts.binary_doc, .min_size = 1, .max_size = 4096},
      {.path = path + ".kernel_image", .doc = texts.kernel_doc, .min_size = 1, .max_size = 4096},
      {.path = path + ".vcpus",
       .type = SchemaType::integer,
       .doc = "Virtual CPUs when the policy says nothing",
       .minimum = 1,
       .maximum = texts.max_vcpus},
      {.path = path + ".memory_mib",
       .type = SchemaType::integer,
       .doc = "Memory when the policy says nothing",
       .minimum = 64,
       .maximum = 4 * 1024 * 1024},
      {.path = path + ".launch_seconds",
       .type = SchemaType::integer,
       .doc = "How long a VM may take to be ready",
       .minimum = 1,
       .maximum = 3600},
  };
}
base::Schema make_firecracker_rows() {
  return backend_rows(kFirecrackerTexts);
}
base::Schema make_qemu_rows() {
  auto rows = backend_rows(kQemuTexts);
  rows.push_back({.path = "backends.qemu.emulated_aslr",
                  .type = SchemaType::boolean,
                  .default_json = "false",
                  .doc =
                      "Under emulation, whether each process of the guest gets addresses of its own (ASLR). QEMU 7.2 "
                      "then translates all of its code again: starting one takes several times as long"});
  return rows;
}

base::Schema make_gateway_rows() {
  return {
      {.path = "gateway", .type = SchemaType::mapping, .default_json = "{}", .doc = "The git gateway"},
      {.path = "gateway.ca_file",
       .doc = "Absolute path of a PEM file: authorities to trust for upstreams, besides this host's",
       .min_size = 1,
       .max_size = 4096},
      {.path = "git_mirror",
       .type = SchemaType::mapping,
       .default_json = "{}",
       .doc = "Copies of git repositories on this host, which the git gateway answers from"},
      {.path = "git_mirror.enable",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Whether fetches may be answered from such a copy, once upstream has listed the refs to the same job"},
      {.path = "git_mirror.max_gib",
       .type = SchemaType::integer,
       .default_json = "20",
       .doc = "Size of all copies; those not used for longest go first",
       .minimum = 1,
       .maximum = 16 * 1024},
      {.path = "git_mirror.directory",
       .doc = "Absolute path of a directory for them alone; without it git-mirrors in Cleanroom's cache directory",
       .min_size = 1,
       .max_size = 4096},
      {.path = "paths",
       .type = SchemaType::mapping,
       .not_accepted = "this build does not honour it; set XDG_* instead"},
      {.path = "limits", .type = SchemaType::mapping, .not_accepted = "this build does not honour it"},
  };
}

base::Schema make_registry_rows() {
  return {
      {.path = "registries",
       .type = SchemaType::sequence,
       .default_json = "[]",
       .doc = "Container registries that need more than their name (docs/images.md)",
       .max_size = 200},
      {.path = "registries[]", .type = SchemaType::mapping, .doc = "One registry, or one mirror"},
      {.path = "registries[].host",
       .presence = Presence::required,
       .doc = "host or host:port, as image references name it; Docker Hub is `docker.io`",
       .min_size = 1},
      {.path = "registries[].mirrors",
       .type = SchemaType::sequence,
       .doc = "host or host:port of registries that have the same repositories; asked first, in this order",
       .min_size = 1,
       .max_size = 8},
      {.path = "registries[].mirrors[]", .doc = "What else it needs is in an entry of its own", .min_size = 1},
      {.path = "registries[].insecure",
       .type = SchemaType::boolean,
       .default_json = "false",
       .doc = "Plain HTTP: whoever is in between reads logins and, of images without a digest, chooses the image"},
      {.path = "registries[].ca_file",
       .doc = "Absolute path of a PEM file: authorities to trust for this registry and its token service, besides this "
              "host's",
       .min_size = 1,
       .max_size = 4096},
      {.path = "registries[].token_realm",
       .doc = "host or host:port of a token service that may get this registry's login. Those of the same host or "
              "registrable domain may anyway",
       .min_size = 1},
  };
}

base::Schema make_image_rows() {
  return {
      {.path = "images", .type = SchemaType::mapping, .default_json = "{}", .doc = "Pulling and keeping images"},
      {.path = "images.parallel_downloads",
       .type = SchemaType::integer,
       .default_json = "4",
       .doc = "Connections of one pull",
       .minimum = 1,
       .maximum = 16},
      {.path = "images.max_gib",
       .type = SchemaType::integer,
       .doc = "Size of the store; images not used for longest go first. Absent: no limit",
       .minimum = 1,
       .maximum = 1024 * 1024},
      {.path = "images.unused_days",
       .type = SchemaType::integer,
       .doc = "Images not used for longer go. Absent: they stay",
       .minimum = 1,
       .maximum = 3650},
      {.path = "images.docker_config",
       .type = SchemaType::boolean,
       .doc = "Whether logins of Docker's and Podman's files are used. Absent: outside Buildkite only"},
  };
}

base::Schema make_template_rows() {
  return {
      {.path = "templates",
       .type = SchemaType::mapping,
       .default_json = "{}",
       .doc = "Saved VMs that later runs are restored from"},
      {.path = "templates.enable",
       .type = SchemaType::boolean,
       .default_json = "true",
       .doc = "Whether VMs are saved, and restored"},
      {.path = "templates.max_gib",
       .type = SchemaType::integer,
       .default_json = "8",
       .doc = "Size of all on the disk; those not used for longest go first",
       .minimum = 1,
       .maximum = 16 * 1024},
      {.path = "templates.unused_days",
       .type = SchemaType::integer,
       .default_json = "14",
       .doc = "Those not used for longer go",
       .minimum = 1,
       .maximum = 3650},
  };
}

base::Schema make_config_rows() {
  auto rows = make_main_rows();
  for (auto* make : {make_firecracker_rows, make_qemu_rows, make_gateway_rows, make_registry_rows, make_image_rows,
                     make_template_rows}) {
    auto more = make();
    std::move(more.begin(), more.end(), std::back_inserter(rows));
  }
  return rows;
}

std::vector<std::string> choices_of(std::string_view path) {
  for (const auto& row : policy_schema()) {
    if (row.path == path) return row.choices;
  }
  return {};
}

void add_verify_rows(base::Schema& rows, const std::string& path) {
  const auto text = [&](const char* key, Presence presence, const char* doc, std::size_t max_size) {
    rows.push_back({.path = path + key, .presence = presence, .doc = doc, .min_size = 1, .max_size = max_size});
  };
  rows.push_back({.path = path,
                  .type = SchemaType::sequence,
                  .doc = "Signatures (cosign's, by key) that images must carry, whatever the policy says; an image "
                         "meets every entry that it is within. Built in: none",
                  .max_size = 100});
  rows.push_back({.path = path + "[]", .type = SchemaType::mapping, .doc = "One entry: `public_keys` or `key_file`"});
  text("[].registry", Presence::required, "Images within this `registry` or `registry/path`", 1024);
  rows.push_back({.path = path + "[].public_keys",
                  .type = SchemaType::sequence,
                  .doc = "Any one of these keys suffices",
                  .min_size = 1,
                  .max_size = kMaxImageKeys});
  text("[].public_keys[]", Presence::optional, "PEM block, as in cleanroom.yaml", base::PublicKey::kMaxPemBytes);
  text("[].key_file", Presence::optional,
       "Absolute path of a file with such PEM blocks, which only root and the running user may write", 4096);
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
  add_verify_rows(rows, prefix + "images.verify");
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

void add_scope_rows(base::Schema& rows) {
  const auto list = [&](const char* key, Presence presence, const char* doc, const char* element,
                        std::vector<std::string> choices = {}, const char* otherwise = "") {
    const std::string path = std::string("bindings[].") + key;
    rows.push_back({.path = path,
                    .type = SchemaType::sequence,
                    .presence = presence,
                    .default_json = otherwise,
                    .doc = doc,
                    .min_size = 1,
                    .max_size = 500});
    rows.push_back(
        {.path = path + "[]", .doc = element, .min_size = 1, .max_size = 512, .choices = std::move(choices)});
  };
  list("paths", Presence::required, "Repositories: `*` is any text within a part, `**` any number of parts",
       "`owner/name`, `owner/*`, `**`");
  list("methods", Presence::optional, "What it may be used for; registry-pull stands alone", "Method",
       {"git-read", "git-push", "http-get", "registry-pull"}, "[\"git-read\"]");
  list("pipelines", Presence::optional,
       "Whose jobs: `organisation/pipeline`, `*` within a part, `local` for runs outside Buildkite. Absent: all",
       "Pipeline");
  list("branches", Presence::optional, "Of which branches, patterns as in `paths`. Absent: all", "Branch");
  rows.push_back({.path = "bindings[].forks",
                  .type = SchemaType::boolean,
                  .default_json = "false",
                  .doc = "Whether builds of pull requests from other repositories get it"});
}

void add_source_rows(base::Schema& rows) {
  rows.push_back({.path = "bindings[].source",
                  .type = SchemaType::mapping,
                  .presence = Presence::required,
                  .doc = "Where it comes from; exactly one of the following"});
  const auto source = [&](const char* key, const char* doc, std::size_t max_size) {
    rows.push_back({.path = std::string("bindings[].source.") + key, .doc = doc, .min_size = 1, .max_size = max_size});
  };
  source("env", "A variable of cleanroom-run's environment", 256);
  source("file", "Absolute path of a file that only its owner (root or the running user) and group may read", 4096);
  rows.push_back({.path = "bindings[].source.command",
                  .type = SchemaType::sequence,
                  .doc = "A program that prints it, run without a shell",
                  .min_size = 1,
                  .max_size = 64});
  rows.push_back({.path = "bindings[].source.command[]",
                  .doc = "The first is an absolute path, the others its arguments",
                  .max_size = 4096});
  rows.push_back({.path = "bindings[].source.git-credential",
                  .type = SchemaType::boolean,
                  .doc = "true: what `git credential fill` says for the host"});
  source("agent-secret", "Key of a Buildkite secret", 255);
}

void add_scheme_rows(base::Schema& rows) {
  rows.push_back(
      {.path = "bindings[].scheme",
       .default_json = "\"basic\"",
       .doc = "basic: user name and token; bearer: `Authorization: Bearer`; header: the bare token in `header_name`",
       .choices = {"basic", "bearer", "header"}});
  rows.push_back(
      {.path = "bindings[].username",
       .doc =
           "For basic. Without it the name that git-credential gives, else `x-access-token`; registry-pull needs one",
       .min_size = 1,
       .max_size = 256});
  rows.push_back(
      {.path = "bindings[].header_name", .doc = "For header, and required there", .min_size = 1, .max_size = 64});
}

// Keys are snake_case; what one chooses between (methods, sources, schemes) is in lower-case words joined by hyphens.
base::Schema make_credentials_rows() {
  base::Schema rows = {
      {.path = "bindings",
       .type = SchemaType::sequence,
       .presence = Presence::required,
       .doc = "Which credential goes where, and for whose jobs",
       .max_size = 500},
      {.path = "bindings[]", .type = SchemaType::mapping, .doc = "One binding"},
      {.path = "bindings[].id",
       .presence = Presence::required,
       .doc = "Its name in audit lines and in a policy's `secrets`; letters, digits, `.`, `_`, `-`",
       .min_size = 1,
       .max_size = 64},
      {.path = "bindings[].host",
       .presence = Presence::required,
       .doc = "Exact name; the credential goes to no other. For registry-pull as image references name it: `docker.io`",
       .min_size = 1,
       .max_size = 1024},
      {.path = "bindings[].port",
       .type = SchemaType::integer,
       .default_json = "443",
       .doc = "Port; always with TLS, but for registries that config.yaml calls insecure",
       .minimum = 1,
       .maximum = 65535},
  };
  add_scope_rows(rows);
  add_source_rows(rows);
  add_scheme_rows(rows);
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

const base::Schema& credentials_schema() {
  static const base::Schema rows = make_credentials_rows();
  return rows;
}

}  // namespace cleanroom::policy
