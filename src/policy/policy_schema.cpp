#include "src/policy/policy_schema.h"

#include "src/base/net/public_key.h"
#include "src/policy/image_signatures.h"

namespace cleanroom::policy {
namespace {

using base::Presence;
using base::SchemaType;

constexpr auto kRequired = Presence::required;
constexpr std::size_t kMaxRules = 2000;
constexpr std::size_t kMaxHostText = 1024;

void add_sandbox_rows(base::Schema& rows) {
  rows.insert(
      rows.end(),
      {
          {.path = "sandbox", .type = SchemaType::mapping, .default_json = "{}", .doc = "The VM and what it may reach"},
          {.path = "sandbox.image", .type = SchemaType::mapping, .doc = "The OCI image the job runs in"},
          {.path = "sandbox.image.ref",
           .presence = kRequired,
           .doc = "Reference with a digest, e.g. docker.io/library/debian@sha256:...; without `image` the caller gives "
                  "--image",
           .min_size = 1,
           .max_size = 1024},
          {.path = "sandbox.image.verify",
           .type = SchemaType::mapping,
           .doc = "The image must be signed (cosign's signature by key); image_not_trusted where it is not"},
          {.path = "sandbox.image.verify.public_keys",
           .type = SchemaType::sequence,
           .presence = kRequired,
           .doc = "Any one of these keys suffices",
           .min_size = 1,
           .max_size = kMaxImageKeys},
          {.path = "sandbox.image.verify.public_keys[]",
           .doc = "PEM block PUBLIC KEY: ECDSA P-256 or P-384, RSA of 2048 bits or more, Ed25519",
           .min_size = 1,
           .max_size = base::PublicKey::kMaxPemBytes},
          {.path = "sandbox.resources",
           .type = SchemaType::mapping,
           .doc = "Sizes; what is left out comes from the operator"},
          {.path = "sandbox.resources.vcpus",
           .type = SchemaType::integer,
           .doc = "Virtual CPUs",
           .minimum = 1,
           .maximum = 256},
          {.path = "sandbox.resources.memory_mib",
           .type = SchemaType::integer,
           .doc = "Memory in MiB",
           .minimum = 64,
           .maximum = 4 * 1024 * 1024},
          {.path = "sandbox.resources.disk_mib",
           .type = SchemaType::integer,
           .doc = "Scratch disk in MiB (sparse)",
           .minimum = 64,
           .maximum = 16 * 1024 * 1024},
          {.path = "sandbox.ttl_minutes",
           .type = SchemaType::integer,
           .doc = "The job's time limit",
           .minimum = 1,
           .maximum = 7 * 24 * 60},
          {.path = "sandbox.services",
           .type = SchemaType::mapping,
           .default_json = "{}",
           .doc = "Services inside the VM"},
          {.path = "sandbox.services.docker",
           .type = SchemaType::mapping,
           .default_json = "{}",
           .doc = "A Docker daemon"},
          {.path = "sandbox.services.docker.required",
           .type = SchemaType::boolean,
           .default_json = "false",
           .doc = "The job needs a Docker daemon inside the VM"},
      });
}

void add_network_rows(base::Schema& rows) {
  rows.insert(rows.end(),
              {
                  {.path = "sandbox.network",
                   .type = SchemaType::mapping,
                   .doc = "Egress; without this key nothing is reachable"},
                  {.path = "sandbox.network.default",
                   .presence = kRequired,
                   .doc = "What happens to a host that no rule names",
                   .choices = {"deny"}},
                  {.path = "sandbox.network.ech",
                   .default_json = "\"allow\"",
                   .doc = "Whether a TLS hello may carry Encrypted Client Hello",
                   .choices = {"allow", "deny"}},
                  {.path = "sandbox.network.allow",
                   .type = SchemaType::sequence,
                   .default_json = "[]",
                   .doc = "Hosts the job may reach",
                   .max_size = kMaxRules},
                  {.path = "sandbox.network.allow[]", .type = SchemaType::mapping, .doc = "One rule"},
                  {.path = "sandbox.network.allow[].host",
                   .presence = kRequired,
                   .doc = "Exact name, *.suffix (one or more labels below, never the apex), IPv4, IPv6 or CIDR",
                   .min_size = 1,
                   .max_size = kMaxHostText},
                  {.path = "sandbox.network.allow[].ports",
                   .type = SchemaType::sequence,
                   .default_json = "[80,443]",
                   .doc = "TCP ports",
                   .min_size = 1,
                   .max_size = 64},
                  {.path = "sandbox.network.allow[].ports[]",
                   .type = SchemaType::integer,
                   .doc = "Port",
                   .minimum = 1,
                   .maximum = 65535},
                  {.path = "sandbox.network.allow[].tls",
                   .default_json = "\"sni\"",
                   .doc = "Port 443: the ClientHello's SNI must be the name (sni), or any bytes pass (opaque)",
                   .choices = {"sni", "opaque"}},
                  {.path = "sandbox.network.allow[].http",
                   .default_json = "\"host\"",
                   .doc = "Port 80: every request's Host must be the name (host), or any bytes pass (opaque)",
                   .choices = {"host", "opaque"}},
                  {.path = "sandbox.network.allow[].reason", .doc = "Shown in reports", .min_size = 1, .max_size = 256},
                  {.path = "sandbox.network.deny",
                   .type = SchemaType::sequence,
                   .default_json = "[]",
                   .doc = "Exceptions from `allow`; they judge the name and every address it resolves to",
                   .max_size = kMaxRules},
                  {.path = "sandbox.network.deny[]", .type = SchemaType::mapping, .doc = "One rule"},
                  {.path = "sandbox.network.deny[].host",
                   .presence = kRequired,
                   .doc = "As in `allow`",
                   .min_size = 1,
                   .max_size = kMaxHostText},
                  {.path = "sandbox.network.deny[].ports",
                   .type = SchemaType::sequence,
                   .doc = "TCP ports; without this key every port",
                   .min_size = 1,
                   .max_size = 64},
                  {.path = "sandbox.network.deny[].ports[]",
                   .type = SchemaType::integer,
                   .doc = "Port",
                   .minimum = 1,
                   .maximum = 65535},
                  {.path = "sandbox.network.deny[].reason", .doc = "Shown in reports", .min_size = 1, .max_size = 256},
              });
}

void add_git_rows(base::Schema& rows) {
  rows.insert(rows.end(),
              {
                  {.path = "git", .type = SchemaType::mapping, .doc = "Git over the gateway"},
                  {.path = "git.allow",
                   .type = SchemaType::sequence,
                   .default_json = "[]",
                   .doc = "Git hosts",
                   .max_size = 100},
                  {.path = "git.allow[]", .type = SchemaType::mapping, .doc = "One host"},
                  {.path = "git.allow[].host",
                   .presence = kRequired,
                   .doc = "Exact name",
                   .min_size = 1,
                   .max_size = kMaxHostText},
                  {.path = "git.allow[].repositories",
                   .type = SchemaType::sequence,
                   .doc = "`owner/name` or `owner/*`; without this key only the pipeline's own repository",
                   .min_size = 1,
                   .max_size = 500},
                  {.path = "git.allow[].repositories[]", .doc = "Repository", .min_size = 1, .max_size = 256},
                  {.path = "git.allow[].push",
                   .type = SchemaType::boolean,
                   .default_json = "false",
                   .doc = "Whether it may push"},
                  {.path = "git.allow[].lfs",
                   .type = SchemaType::boolean,
                   .default_json = "true",
                   .doc = "Whether Git LFS is served"},
              });
}

void add_registry_rows(base::Schema& rows) {
  rows.insert(
      rows.end(),
      {
          {.path = "registries",
           .type = SchemaType::mapping,
           .doc = "Package registries over the gateway",
           .choices = {"npm", "pypi", "cargo", "go", "maven", "rubygems", "oci", "apt"}},
          {.path = "registries.*", .type = SchemaType::mapping, .doc = "One ecosystem"},
          {.path = "registries.*.enable",
           .type = SchemaType::boolean,
           .presence = kRequired,
           .doc = "Whether it is served"},
          {.path = "registries.*.allowed_hosts",
           .type = SchemaType::sequence,
           .doc = "Exact names; without this key the ecosystem's public hosts",
           .min_size = 1,
           .max_size = 100},
          {.path = "registries.*.allowed_hosts[]", .doc = "Host", .min_size = 1, .max_size = kMaxHostText},
          {.path = "registries.*.fallback",
           .default_json = "\"deny\"",
           .doc = "What happens to a package that these hosts lack",
           .choices = {"deny", "allow"}},
          {.path = "registries.*.min_release_age_hours",
           .type = SchemaType::integer,
           .default_json = "0",
           .doc = "Versions newer than this are refused",
           .maximum = 24 * 365},
          {.path = "registries.*.lockfile_enforcement",
           .type = SchemaType::mapping,
           .doc = "Packages held to lockfiles"},
          {.path = "registries.*.lockfile_enforcement.enabled",
           .type = SchemaType::boolean,
           .presence = kRequired,
           .doc = "Whether it is on"},
          {.path = "registries.*.lockfile_enforcement.mode",
           .default_json = "\"deny_unknown\"",
           .doc = "What happens to a package that no lockfile names",
           .choices = {"deny_unknown", "warn", "off"}},
          {.path = "registries.*.lockfile_enforcement.lockfiles",
           .type = SchemaType::sequence,
           .default_json = "[]",
           .doc = "Paths below the checkout",
           .max_size = 100},
          {.path = "registries.*.lockfile_enforcement.lockfiles[]", .doc = "Path", .min_size = 1, .max_size = 512},
          {.path = "registries.cache", .type = SchemaType::mapping, .doc = "The shared package cache"},
          {.path = "registries.cache.mode",
           .default_json = "\"online\"",
           .doc = "offline serves only what is cached",
           .choices = {"online", "offline"}},
      });
}

void add_other_rows(base::Schema& rows) {
  rows.insert(
      rows.end(),
      {
          {.path = "secrets",
           .type = SchemaType::sequence,
           .default_json = "[]",
           .doc = "Credentials the gateway uses for the job; their values are the operator's and never enter the VM",
           .max_size = 50},
          {.path = "secrets[]", .type = SchemaType::mapping, .doc = "One credential"},
          {.path = "secrets[].id",
           .presence = kRequired,
           .doc = "The operator's name for it",
           .min_size = 1,
           .max_size = 64},
          {.path = "secrets[].target",
           .presence = kRequired,
           .doc = "Who uses it",
           .choices = {"git", "registry", "http"}},
          {.path = "secrets[].allowed_hosts",
           .type = SchemaType::sequence,
           .presence = kRequired,
           .doc = "Exact names it may be sent to",
           .min_size = 1,
           .max_size = 50},
          {.path = "secrets[].allowed_hosts[]", .doc = "Host", .min_size = 1, .max_size = kMaxHostText},
          {.path = "secrets[].ttl_seconds",
           .type = SchemaType::integer,
           .default_json = "3600",
           .doc = "How long it is held",
           .minimum = 60,
           .maximum = 86400},
          {.path = "buildkite", .type = SchemaType::mapping, .doc = "The Buildkite agent"},
          {.path = "buildkite.commands",
           .type = SchemaType::sequence,
           .default_json = "[]",
           .doc = "Agent subcommands the job may use",
           .max_size = 32},
          {.path = "buildkite.commands[]",
           .doc = "Subcommand",
           .choices = {"annotate", "annotation", "artifact", "build", "env", "job", "lock", "meta-data", "oidc",
                       "pipeline", "redactor", "secret", "step"}},
      });
}

base::Schema make_rows() {
  base::Schema rows = {
      {.path = "version",
       .type = SchemaType::integer,
       .presence = kRequired,
       .doc = "Version of this language",
       .minimum = 1,
       .maximum = 1},
      {.path = "project", .type = SchemaType::mapping, .doc = "The project"},
      {.path = "project.name", .doc = "Its name in reports", .min_size = 1, .max_size = 128},
      {.path = "metadata", .type = SchemaType::mapping, .doc = "Copied to the run record", .max_size = 32},
      {.path = "metadata.*", .doc = "Any text", .max_size = 1024},
  };
  add_sandbox_rows(rows);
  add_network_rows(rows);
  add_git_rows(rows);
  add_registry_rows(rows);
  add_other_rows(rows);
  return rows;
}

}  // namespace

const base::Schema& policy_schema() {
  static const base::Schema rows = make_rows();
  return rows;
}

}  // namespace cleanroom::policy
