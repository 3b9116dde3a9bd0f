#include "tests/unit/image/image_support.h"

namespace cleanroom::image::testing {

void check_clean(const std::filesystem::path& image) {
  const auto e2fsck = [] {
    auto found = base::find_program("e2fsck");
    return found ? found->native() : std::string("/usr/sbin/e2fsck");
  }();
  const auto run = base::run_process({.argv = {e2fsck, "-fn", image.native()}, .environment = {"LC_ALL=C"}},
                                     base::deadline_in(std::chrono::seconds(120)));
  REQUIRE_MESSAGE(run.has_value(), failure_of(run));
  CHECK_MESSAGE(run->status.success(), run->output, run->errors);
  CHECK_MESSAGE(run->output.find("ix? no") == std::string::npos, run->output);
}

}  // namespace cleanroom::image::testing
