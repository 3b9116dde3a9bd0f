#include "src/policy/operator_config.h"

#include "src/model/image_reference.h"
#include "src/policy/json_view.h"
#include "src/policy/operator_file.h"
#include "src/policy/operator_schema.h"

#include <algorithm>

namespace cleanroom::policy {
namespace {

std::optional<std::filesystem::path> absolute_path(const JsonView& value, const base::CheckedDocument& document,
                                                   base::Diagnostics& diagnostics) {
  if (!value.present()) return std::nullopt;
  std::filesystem::path out = value.text();
  if (!out.is_absolute())
    diagnostics.error(document.position_of(value.path()), value.path(), "expected an absolute path");
  return out;
}

std::optional<AuditConfig> decode_audit(const JsonView& view, const base::CheckedDocument& document,
                                        base::Diagnostics& diagnostics) {
  if (!view.present()) return std::nullopt;
  const auto file = absolute_path(view["file"], document, diagnostics);
  const auto socket = absolute_path(view["socket"], document, diagnostics);
  if (file.has_value() == socket.has_value()) {
    diagnostics.error(document.position_of(view.path()), view.path(), "expected either `file` or `socket`");
    return std::nullopt;
  }
  return AuditConfig{.kind = file ? AuditConfig::Kind::file : AuditConfig::Kind::socket,
                     .path = file ? *file : *socket,
                     .required = view["required"].boolean(false)};
}

BackendConfig decode_backend(const JsonView& view, const base::CheckedDocument& document,
                             base::Diagnostics& diagnostics) {
  const auto path = [&](const JsonView& value) { return absolute_path(value, document, diagnostics); };
  BackendConfig backend;
  backend.binary_path = path(view["binary_path"]);
  backend.kernel_image = path(view["kernel_image"]);
  backend.vcpus = view["vcpus"].integer<std::uint32_t>();
  backend.memory_mib = view["memory_mib"].integer<std::uint64_t>();
  if (const auto seconds = view["launch_seconds"].integer<std::int64_t>()) {
    backend.launch_timeout = std::chrono::seconds(*seconds);
  }
  return backend;
}

// As references name registries: one parser for both, or an entry would stand for another registry than it says.
std::optional<std::string> registry_name(const std::string& text) {
  if (text.find('/') != std::string::npos) return std::nullopt;
  const auto reference = model::ImageReference::parse(text + "/x");
  if (!reference) return std::nullopt;
  // A word that names no host is read as a repository of Docker Hub.
  const bool named = reference->registry() != "docker.io" || text.find('.') != std::string::npos;
  return named ? std::optional(reference->registry()) : std::nullopt;
}

class RegistriesDecoder {
 public:
  RegistriesDecoder(const base::CheckedDocument& document, base::Diagnostics& diagnostics)
      : document_(document), diagnostics_(diagnostics) {}

  std::vector<RegistryConfig> decode(const JsonView& view) {
    std::vector<RegistryConfig> out;
    for (const auto& item : view.items()) {
      auto registry = decode_one(item);
      const auto same = [&](const RegistryConfig& other) { return other.host == registry.host; };
      if (!registry.host.empty() && std::any_of(out.begin(), out.end(), same)) {
        error(item["host"], "another entry is for this registry");
      }
      out.push_back(std::move(registry));
    }
    return out;
  }

 private:
  void error(const JsonView& where, std::string message) {
    diagnostics_.error(document_.position_of(where.path()), where.path(), std::move(message));
  }

  std::string name(const JsonView& view) {
    if (!view.present()) return {};
    if (auto name = registry_name(view.text())) return *name;
    error(view, "expected host or host:port, as image references name a registry");
    return {};
  }

  RegistryConfig decode_one(const JsonView& view) {
    RegistryConfig registry{.host = name(view["host"]), .insecure = view["insecure"].boolean(false)};
    for (const auto& item : view["mirrors"].items()) {
      auto mirror = name(item);
      const auto& known = registry.mirrors;
      if (!mirror.empty() && mirror == registry.host) error(item, "the registry is not its own mirror");
      if (!mirror.empty() && std::find(known.begin(), known.end(), mirror) != known.end()) {
        error(item, "this mirror is listed already");
      }
      registry.mirrors.push_back(std::move(mirror));
    }
    registry.ca_file = absolute_path(view["ca_file"], document_, diagnostics_);
    if (view["token_realm"].present()) registry.token_realm = name(view["token_realm"]);
    if (registry.insecure && registry.ca_file) error(view["ca_file"], "plain HTTP has no certificates");
    if (registry.insecure && registry.host == "docker.io") error(view["insecure"], "Docker Hub has HTTPS only");
    return registry;
  }

  const base::CheckedDocument& document_;
  base::Diagnostics& diagnostics_;
};

ImagesConfig decode_images(const JsonView& view) {
  ImagesConfig images;
  images.parallel_downloads = view["parallel_downloads"].integer<unsigned>().value_or(images.parallel_downloads);
  images.max_gib = view["max_gib"].integer<std::uint64_t>();
  images.unused_days = view["unused_days"].integer<std::uint32_t>();
  if (view["docker_config"].present()) images.docker_config = view["docker_config"].boolean(false);
  return images;
}

TemplatesConfig decode_templates(const JsonView& view) {
  TemplatesConfig templates;
  templates.enable = view["enable"].boolean(templates.enable);
  templates.max_gib = view["max_gib"].integer<std::uint64_t>().value_or(templates.max_gib);
  templates.unused_days = view["unused_days"].integer<std::uint32_t>().value_or(templates.unused_days);
  return templates;
}

}  // namespace

const RegistryConfig* OperatorConfig::registry(std::string_view host) const {
  const auto found = std::find_if(registries.begin(), registries.end(),
                                  [&](const RegistryConfig& entry) { return entry.host == host; });
  return found == registries.end() ? nullptr : &*found;
}

base::Result<OperatorConfig> load_operator_config(const OperatorPaths& paths, base::Diagnostics* diagnostics) {
  base::Diagnostics local("config.yaml", "config_invalid");
  base::Diagnostics& report = diagnostics != nullptr ? *diagnostics : local;
  OperatorConfig config;
  CR_ASSIGN(const auto file, check_operator_file(paths, "config.yaml", config_schema(), report));
  if (!file) return config;

  const JsonView root(&file->document.value, "");
  config.file = file->path;
  config.default_backend = root["default_backend"].text("auto");
  config.allow_emulation = root["allow_emulation"].boolean(false);
  config.allow_record = root["allow_record"].boolean(false);
  for (const auto& name : root["require_isolation"].texts()) {
    if (const auto wall = model::parse_wall(name)) config.require_isolation.push_back(*wall);
  }
  config.audit = decode_audit(root["audit"], file->document, report);
  const JsonView qemu = root["backends"]["qemu"];
  config.qemu = {decode_backend(qemu, file->document, report), qemu["emulated_aslr"].boolean(false)};
  config.firecracker = decode_backend(root["backends"]["firecracker"], file->document, report);
  config.gateway_ca_file = absolute_path(root["gateway"]["ca_file"], file->document, report);
  const auto mirror = root["git_mirror"];
  config.git_mirror = {.enable = mirror["enable"].boolean(false),
                       .max_gib = mirror["max_gib"].integer<std::uint64_t>().value_or(config.git_mirror.max_gib),
                       .directory = absolute_path(mirror["directory"], file->document, report)};
  config.registries = RegistriesDecoder(file->document, report).decode(root["registries"]);
  config.images = decode_images(root["images"]);
  config.templates = decode_templates(root["templates"]);
  if (report.has_errors()) return base::fail(operator_file_error(file->path, report));
  return config;
}

}  // namespace cleanroom::policy
