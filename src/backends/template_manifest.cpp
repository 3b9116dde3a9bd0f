#include "src/backends/template_manifest.h"

#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

#include <charconv>

namespace cleanroom::backends {

using base::Code;
using base::Json;
using base::Result;

namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes)
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

bool parse_hex(std::string_view text, std::span<std::byte> into) {
  if (text.size() != into.size() * 2) return false;
  for (std::size_t i = 0; i < into.size(); ++i) {
    unsigned value = 0;
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, value, 16);
    if (error != std::errc{} || end != begin + 2) return false;
    into[i] = static_cast<std::byte>(value);
  }
  return true;
}

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::uint64_t number_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

std::string to_json(const TemplateManifest& manifest) {
  return base::canonical_json({{"format", kTemplateFormat},
                               {"key", manifest.key},
                               {"memory_bytes", manifest.memory_bytes},
                               {"memory_key", hex(manifest.memory_key)},
                               {"memory_tag", manifest.memory_tag},
                               {"scratch_key", hex(manifest.scratch_key)},
                               {"scratch_tag", manifest.scratch_tag},
                               {"state_sha256", manifest.state_sha256}}) +
         "\n";
}

Result<TemplateManifest> parse_template_manifest(std::string_view text) {
  const auto json = base::parse_json(text, "manifest.json");
  if (!json) return base::fail(Code::failed_precondition, json.error().message);
  if (!json->is_object() || number_of(*json, "format") != kTemplateFormat)
    return base::fail(Code::failed_precondition, "its manifest is of another format");
  TemplateManifest manifest{.key = text_of(*json, "key"),
                            .memory_bytes = number_of(*json, "memory_bytes"),
                            .memory_tag = text_of(*json, "memory_tag"),
                            .scratch_tag = text_of(*json, "scratch_tag"),
                            .state_sha256 = text_of(*json, "state_sha256")};
  if (!parse_hex(text_of(*json, "memory_key"), manifest.memory_key) ||
      !parse_hex(text_of(*json, "scratch_key"), manifest.scratch_key))
    return base::fail(Code::failed_precondition, "its manifest has no keys for its digests");
  return manifest;
}

}  // namespace cleanroom::backends
