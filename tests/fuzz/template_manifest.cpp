// F21. Whatever stands in a template's manifest, it is refused or says the same when it is written again: same key,
// sizes and digests.
#include "src/backends/template_manifest.h"

#include "tests/fuzz/support.h"

using namespace cleanroom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto manifest = backends::parse_template_manifest(fuzz::as_text(data, size));
  if (!manifest) {
    FUZZ_CHECK(manifest.error().code == base::Code::failed_precondition);
    return 0;
  }
  const auto again = backends::parse_template_manifest(backends::to_json(*manifest));
  FUZZ_CHECK(again.has_value());
  FUZZ_CHECK(again->key == manifest->key && again->memory_bytes == manifest->memory_bytes);
  FUZZ_CHECK(again->memory_key == manifest->memory_key && again->memory_tag == manifest->memory_tag);
  FUZZ_CHECK(again->scratch_key == manifest->scratch_key && again->scratch_tag == manifest->scratch_tag);
  FUZZ_CHECK(again->state_sha256 == manifest->state_sha256);
  return 0;
}
