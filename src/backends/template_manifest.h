#pragma once
// manifest.json of a template: its key, and digests of its files.
#include "src/base/net/gmac.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace cleanroom::backends {

// Of the directory's layout and of what the key is made of: another number is another key.
inline constexpr int kTemplateFormat = 2;

struct TemplateManifest {
  std::string key;  // 64 hex digits
  std::uint64_t memory_bytes = 0;
  base::GmacKey memory_key{};  // of memory_tag, random
  std::string memory_tag;      // sparse_digest.h
  base::GmacKey scratch_key{};
  std::string scratch_tag;
  std::string state_sha256;
};

std::string to_json(const TemplateManifest& manifest);
// failed_precondition: not a manifest, or one of another format.
base::Result<TemplateManifest> parse_template_manifest(std::string_view text);

}  // namespace cleanroom::backends
