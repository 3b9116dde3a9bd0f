#pragma once
// What the bytes of a built kernel depend on, and one digest over it: the same digest is the same kernel, which is then
// not built again.
#include "src/backends/kernel/build_step.h"
#include "src/backends/kernel/kernel_source.h"

namespace cleanroom::backends {

struct KernelInputs {
  std::string source_digest;
  std::string fragment_digest;
  std::string compiler;  // first line of its --version
  std::string linker;

  // "sha256:...", over these and the number of the recipe in kernel_builder.cpp.
  std::string digest() const;
};

// kernel_build_failed, naming the packages, when a program or header that the build needs is not there.
base::Result<void> check_build_tools(const std::string& path);

base::Result<KernelInputs> kernel_inputs(const KernelSource& source, std::string_view fragment,
                                         const BuildContext& context);

}  // namespace cleanroom::backends
