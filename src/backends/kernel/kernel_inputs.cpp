#include "src/backends/kernel/kernel_inputs.h"

#include "src/base/net/sha256.h"
#include "src/base/os/process.h"

#include <unistd.h>

#include <algorithm>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

// Goes up when kernel_builder.cpp makes other bytes of the same inputs.
constexpr int kRecipe = 1;

struct Tool {
  const char* program;
  const char* package;
};
constexpr Tool kTools[] = {
    {"make", "make"},   {"gcc", "gcc"}, {"ld", "binutils"}, {"strip", "binutils"}, {"flex", "flex"},
    {"bison", "bison"}, {"bc", "bc"},   {"perl", "perl"},   {"tar", "tar"},        {"xz", "xz-utils"},
};
// objtool, which the kernel builds for itself, needs it.
constexpr const char* kElfHeaders[] = {"/usr/include/gelf.h", "/usr/include/libelf/gelf.h",
                                       "/usr/local/include/gelf.h"};

std::string sha256_of(std::string_view text) {
  return "sha256:" + base::sha256_hex(text);
}

}  // namespace

std::string KernelInputs::digest() const {
  return sha256_of(fmt::format("recipe {}\nsource {}\nfragment {}\ncompiler {}\nlinker {}\n", kRecipe, source_digest,
                               fragment_digest, compiler, linker));
}

Result<void> check_build_tools(const std::string& path) {
  std::vector<std::string> missing;
  std::vector<std::string> packages;
  const auto miss = [&](const char* what, const char* package) {
    missing.emplace_back(what);
    if (std::find(packages.begin(), packages.end(), package) == packages.end()) packages.emplace_back(package);
  };
  for (const auto& tool : kTools) {
    if (!base::find_program(tool.program, path)) miss(tool.program, tool.package);
  }
  const auto readable = [](const char* file) { return ::access(file, R_OK) == 0; };
  if (std::none_of(std::begin(kElfHeaders), std::end(kElfHeaders), readable)) miss("gelf.h", "libelf-dev");
  if (missing.empty()) return {};
  return base::fail(base::Error(Code::failed_precondition, "kernel_build_failed",
                                fmt::format("cannot build a kernel: there is no {}", fmt::join(missing, ", ")))
                        .with_hint(fmt::format("apt-get install {}", fmt::join(packages, " "))));
}

Result<KernelInputs> kernel_inputs(const KernelSource& source, std::string_view fragment, const BuildContext& context) {
  KernelInputs inputs{
      .source_digest = source.digest, .fragment_digest = sha256_of(fragment), .compiler = {}, .linker = {}};
  CR_ASSIGN(inputs.compiler, program_version("gcc", context));
  CR_ASSIGN(inputs.linker, program_version("ld", context));
  return inputs;
}

}  // namespace cleanroom::backends
