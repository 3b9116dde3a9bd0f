#include "src/backends/kernel/kernel_manifest.h"

#include "src/base/os/io.h"
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr int kSchema = 1;
constexpr std::size_t kMaxKernelManifest = 64 * 1024;
constexpr unsigned kMaxTickHz = 1000;  // the most that Kconfig offers

struct TextField {
  const char* key;
  std::string KernelManifest::*member;
};
constexpr TextField kTexts[] = {
    {"name", &KernelManifest::name},
    {"version", &KernelManifest::version},
    {"inputs_digest", &KernelManifest::inputs_digest},
    {"source_digest", &KernelManifest::source_digest},
    {"fragment_digest", &KernelManifest::fragment_digest},
    {"compiler", &KernelManifest::compiler},
    {"linker", &KernelManifest::linker},
    {"vmlinuz_digest", &KernelManifest::vmlinuz_digest},
    {"vmlinux_digest", &KernelManifest::vmlinux_digest},
};
struct Feature {
  const char* key;
  bool KernelManifest::*member;
};
constexpr Feature kFeatures[] = {
    {"mmio_cmdline", &KernelManifest::mmio_cmdline},
    {"pvh", &KernelManifest::pvh},
    {"modules", &KernelManifest::modules},
};

base::Failure refuse(std::string_view name, const std::string& cause) {
  return base::fail(base::Error(Code::failed_precondition, "kernel_unavailable",
                                fmt::format("cannot use the kernel manifest '{}': {}", name, cause))
                        .with_hint("cleanroom kernel build makes the kernel again"));
}

}  // namespace

std::string to_json_text(const KernelManifest& manifest) {
  base::Json out = {{"schema", kSchema}, {"features", base::Json::object()}, {"tick_hz", manifest.tick_hz}};
  for (const auto& field : kTexts)
    out[field.key] = manifest.*field.member;
  for (const auto& feature : kFeatures)
    out["features"][feature.key] = manifest.*feature.member;
  return out.dump(2) + "\n";
}

Result<KernelManifest> parse_kernel_manifest(std::string_view text, std::string_view name) {
  const auto json = base::parse_json(text, name);
  if (!json) return refuse(name, json.error().message);
  if (!json->is_object() || json->value("schema", base::Json()) != kSchema)
    return refuse(name, fmt::format("it is not of schema {}", kSchema));
  KernelManifest manifest;
  for (const auto& field : kTexts) {
    const auto found = json->find(field.key);
    if (found == json->end() || !found->is_string()) return refuse(name, fmt::format("no text '{}'", field.key));
    manifest.*field.member = found->get<std::string>();
  }
  const auto features = json->find("features");
  if (features == json->end() || !features->is_object()) return refuse(name, "no 'features'");
  for (const auto& feature : kFeatures) {
    const auto found = features->find(feature.key);
    if (found == features->end() || !found->is_boolean())
      return refuse(name, fmt::format("no truth value 'features.{}'", feature.key));
    manifest.*feature.member = found->get<bool>();
  }
  const auto tick = json->find("tick_hz");
  if (tick == json->end() || !tick->is_number_unsigned() || tick->get<std::uint64_t>() > kMaxTickHz)
    return refuse(name, fmt::format("no number 'tick_hz' of at most {}", kMaxTickHz));
  manifest.tick_hz = tick->get<unsigned>();
  return manifest;
}

Result<KernelManifest> read_kernel_manifest(const std::filesystem::path& directory) {
  const auto path = directory / kManifestName;
  CR_ASSIGN(const auto text, base::read_file(path, kMaxKernelManifest));
  return parse_kernel_manifest(text, path.native());
}

}  // namespace cleanroom::backends
