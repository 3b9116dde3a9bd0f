#include "src/policy/operator_config.h"

#include "src/policy/json_view.h"
#include "src/policy/operator_file.h"
#include "src/policy/operator_schema.h"

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

QemuConfig decode_qemu(const JsonView& view, const base::CheckedDocument& document, base::Diagnostics& diagnostics) {
  const auto path = [&](const JsonView& value) { return absolute_path(value, document, diagnostics); };
  QemuConfig qemu;
  qemu.binary_path = path(view["binary_path"]);
  qemu.kernel_image = path(view["kernel_image"]);
  qemu.vcpus = view["vcpus"].integer<std::uint32_t>();
  qemu.memory_mib = view["memory_mib"].integer<std::uint64_t>();
  if (const auto seconds = view["launch_seconds"].integer<std::int64_t>()) {
    qemu.launch_timeout = std::chrono::seconds(*seconds);
  }
  return qemu;
}

}  // namespace

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
  config.audit = decode_audit(root["audit"], file->document, report);
  config.qemu = decode_qemu(root["backends"]["qemu"], file->document, report);
  config.gateway_ca_file = absolute_path(root["gateway"]["ca_file"], file->document, report);
  const auto mirror = root["git_mirror"];
  config.git_mirror = {.enable = mirror["enable"].boolean(false),
                       .max_gib = mirror["max_gib"].integer<std::uint64_t>().value_or(config.git_mirror.max_gib),
                       .directory = absolute_path(mirror["directory"], file->document, report)};
  if (report.has_errors()) return base::fail(operator_file_error(file->path, report));
  return config;
}

}  // namespace cleanroom::policy
