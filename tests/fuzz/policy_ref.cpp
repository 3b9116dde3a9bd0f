// A cleanroom.yaml whose image is changed in place. What holds: what comes back compiles and names the new image, says
// the same in all else, differs in one place, and is left alone the second time.
#include "src/policy/load.h"
#include "src/policy/ref_edit.h"
#include "tests/fuzz/support.h"

using namespace cleanroom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const auto reference =
      model::ImageReference::parse("registry.test:5000/acme/x:1@sha256:" + std::string(64, 'b')).value();
  const auto text = fuzz::as_text(bytes, size);
  const auto before = policy::image_ref_of(text);
  const auto edited = policy::replace_image_ref(text, reference);
  const auto old = policy::load_policy_text(text, "f");
  if (!edited) return 0;
  const auto loaded = policy::load_policy_text(*edited, "f");
  FUZZ_CHECK(loaded && loaded->policy.image() == reference);
  FUZZ_CHECK(policy::replace_image_ref(*edited, reference) == *edited);
  if (!old) return 0;
  FUZZ_CHECK(before && *before == old->policy.image());
  auto values = old->policy.values();
  values.image = reference;
  FUZZ_CHECK(policy::CompiledPolicy(values, old->policy.network()).hash() == loaded->policy.hash());
  if (!old->policy.image()) return 0;
  const auto back = policy::replace_image_ref(*edited, *old->policy.image());
  FUZZ_CHECK(back);
  FUZZ_CHECK(policy::load_policy_text(*back, "f")->policy.hash() == old->policy.hash());
  return 0;
}
