#include "src/backends/backend.h"

namespace cleanroom::backends {

std::string_view to_string(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg";
}

}  // namespace cleanroom::backends
