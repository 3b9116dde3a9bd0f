// The order of a build, what it leaves and when it is not done again. The compiler is a fake here: a real kernel takes
// minutes, and tests/e2e/kernel_build_test.sh looks at a real one.
#include "src/backends/kernel/kernel_builder.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace cleanroom;
using namespace cleanroom::backends;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMake = R"(#!/bin/sh
# A fake: notes that it ran, and leaves what a real make would.
for argument in "$@"; do
  case $argument in
    O=*) out=${argument#O=} ;;
    KCONFIG_ALLCONFIG=*) fragment=${argument#KCONFIG_ALLCONFIG=} ;;
    allnoconfig | bzImage) target=$argument ;;
    /*) source=$argument ;;
  esac
done
out=${out:-$source}
echo "$target" >>"$(dirname "$0")/ran"
nice >"$(dirname "$0")/niceness"
[ ! -e "$(dirname "$0")/break-$target" ] || { echo "compiler says: no"; exit 2; }
case $target in
  allnoconfig) grep -v -e DROPPED -e '=n$' "$fragment" >"$out/.config" ;;
  bzImage)
    [ ! -e "$(dirname "$0")/hang" ] || exec sleep 600
    mkdir -p "$out/arch/x86/boot" "$out/include/config"
    echo "6.1.1-cleanroom" >"$out/include/config/kernel.release"
    { cat "$source/main.c"; env | grep '^KBUILD_' | sort; } >"$out/vmlinux"
    cp "$out/vmlinux" "$out/arch/x86/boot/bzImage" ;;
esac
)";
constexpr std::string_view kVersion = "#!/bin/sh\necho \"$(basename \"$0\") 12.2\"\n";
constexpr std::string_view kStrip = "#!/bin/sh\n[ \"$1\" = --strip-all ] && cp \"$4\" \"$3\"\n";

void write(const fs::path& path, std::string_view text, unsigned mode = 0644) {
  REQUIRE(base::make_private_directories(path.parent_path()).has_value());
  REQUIRE(base::write_file_atomically(path, text, mode).has_value());
}

struct Workshop {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  KernelStore store{root.path() / "data"};
  fs::path tools = root.path() / "tools";
  fs::path cache = root.path() / "cache";
  fs::path tree = root.path() / "tree";
  std::string fragment = "CONFIG_PVH=y\nCONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\nCONFIG_MODULES=n\nCONFIG_HZ=250\n";
  int niceness = 0;
  std::vector<std::string> said;

  Workshop() {
    write(tools / "make", kMake, 0755);
    write(tools / "strip", kStrip, 0755);
    for (const char* tool : {"gcc", "ld", "flex", "bison", "bc", "perl", "xz"})
      write(tools / tool, kVersion, 0755);
    write(tree / "Makefile", "all:\n");
    write(tree / "Kconfig", "\n");
    write(tree / "main.c", "int main;\n");
  }
  base::Result<KernelBuild> build(const base::Fd* interrupt = nullptr) {
    CR_ASSIGN(auto source, open_kernel_source(tree));
    const KernelBuildOptions options{.cache_directory = cache,
                                     .source = std::move(source),
                                     .fragment = fragment,
                                     .jobs = 3,
                                     .niceness = niceness,
                                     .path = tools.native() + ":/usr/bin:/bin",
                                     .interrupt = interrupt,
                                     .say = [this](std::string line) { said.push_back(std::move(line)); }};
    return build_kernel(store, options);
  }
  std::string ran() const { return base::read_file(tools / "ran", 4096).value_or(""); }
  // Folders of work, of either place.
  bool clean() const {
    for (const auto& folder : {cache / "kernel-build", store.root()}) {
      std::error_code ec;
      for (const auto& entry : fs::directory_iterator(folder, ec)) {
        const auto name = entry.path().filename().native();
        if (name.starts_with(".new.") || name.starts_with(".old.")) return false;
      }
    }
    return true;
  }
};

}  // namespace

TEST_SUITE("backends/kernel/kernel_builder") {
  TEST_CASE("a build leaves images, configuration and manifest, and the same inputs are not built again") {
    Workshop w;
    const auto built = w.build();
    REQUIRE_MESSAGE(built.has_value(), (built ? "" : built.error().describe()));
    CHECK(built->made);
    const auto& manifest = built->manifest;
    CHECK(manifest.name.starts_with("6.1.1-cleanroom-"));
    CHECK(manifest.name.size() == std::string("6.1.1-cleanroom-").size() + 12);
    CHECK(manifest.compiler == "gcc 12.2");
    CHECK(manifest.mmio_cmdline);
    CHECK(manifest.pvh);
    CHECK(manifest.tick_hz == 250);
    CHECK_FALSE(manifest.modules);
    const auto directory = w.store.directory(manifest.name);
    CHECK(manifest.vmlinux_digest == digest_of_file(directory / "vmlinux").value());
    CHECK(base::read_file(directory / "config", 4096).value().find("CONFIG_PVH=y") != std::string::npos);
    CHECK(base::read_file(directory / "vmlinux", 4096).value().find("KBUILD_BUILD_USER=cleanroom") !=
          std::string::npos);
    CHECK(w.ran() == "allnoconfig\nbzImage\n");
    CHECK(w.said.size() == 1);
    CHECK(w.clean());

    const auto again = w.build();
    REQUIRE(again.has_value());
    CHECK_FALSE(again->made);
    CHECK(again->manifest.name == manifest.name);
    CHECK(w.ran() == "allnoconfig\nbzImage\n");
  }

  TEST_CASE("source, fragment and compiler are inputs: a change of any is another kernel") {
    Workshop w;
    std::vector<std::string> names{w.build().value().manifest.name};
    write(w.tree / "main.c", "int other;\n");
    names.push_back(w.build().value().manifest.name);
    w.fragment += "CONFIG_EXTRA=y\n";
    names.push_back(w.build().value().manifest.name);
    write(w.tools / "gcc", "#!/bin/sh\necho gcc 13\n", 0755);
    names.push_back(w.build().value().manifest.name);
    std::sort(names.begin(), names.end());
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
    CHECK(w.store.list().value().size() == 4);
  }

  TEST_CASE("compilers make way for others as far as they are told") {
    const auto niceness_of = [](int added) {
      Workshop w;
      w.niceness = added;
      REQUIRE(w.build().has_value());
      return std::stoi(base::read_file(w.tools / "niceness", 16).value());
    };
    const int own = niceness_of(0);
    CHECK(niceness_of(3) == std::min(own + 3, 19));
  }

  TEST_CASE("a damaged kernel is built again") {
    Workshop w;
    const auto name = w.build().value().manifest.name;
    write(w.store.directory(name) / "vmlinux", "damage");
    CHECK(w.build().value().made);
    CHECK(w.store.find_built(w.build().value().manifest.inputs_digest).value().has_value());
  }

  TEST_CASE("a fragment's line that the source drops fails the build and is named; nothing is compiled") {
    Workshop w;
    w.fragment += "CONFIG_DROPPED_ONE=y\n";
    const auto built = w.build();
    REQUIRE_FALSE(built.has_value());
    CHECK(built.error().reason == "kernel_build_failed");
    CHECK(built.error().message.find("CONFIG_DROPPED_ONE=y") != std::string::npos);
    CHECK(w.ran() == "allnoconfig\n");
    CHECK(w.store.list().value().empty());
    CHECK(w.clean());
  }

  TEST_CASE("a compiler's error is shown, and nothing is published") {
    Workshop w;
    write(w.tools / "break-bzImage", "");
    const auto built = w.build();
    REQUIRE_FALSE(built.has_value());
    CHECK(built.error().reason == "kernel_build_failed");
    CHECK(built.error().message.find("compiler says: no") != std::string::npos);
    CHECK(w.store.list().value().empty());
    CHECK(w.clean());
  }

  TEST_CASE("missing tools are one error that names the packages") {
    Workshop w;
    const KernelBuildOptions options{.cache_directory = w.cache,
                                     .source = {},
                                     .fragment = {},
                                     .path = w.root.path().native(),
                                     .say = [](const std::string&) {}};
    const auto built = build_kernel(w.store, options);
    REQUIRE_FALSE(built.has_value());
    CHECK(built.error().reason == "kernel_build_failed");
    for (const char* package : {"make", "gcc", "binutils", "flex", "bison", "bc", "xz-utils"}) {
      CAPTURE(package);
      CHECK(built.error().hint.find(package) != std::string::npos);
    }
  }

  TEST_CASE("FLT-01 a build that is told to stop ends its compiler and leaves nothing; what a killed one left goes") {
    Workshop w;
    write(w.tools / "hang", "");
    write(w.cache / "kernel-build/.new.killed/build/main.c", "left behind");
    auto pipe = base::make_pipe().value();
    REQUIRE(base::write_all(pipe.write, "x").has_value());
    const auto built = w.build(&pipe.read);
    REQUIRE_FALSE(built.has_value());
    CHECK(built.error().code == base::Code::cancelled);
    CHECK(w.clean());
  }

  TEST_CASE("a folder without a kernel, and a source that is not there, are refused") {
    const Workshop w;
    CHECK(open_kernel_source(w.tools).error().code == base::Code::invalid_input);
    CHECK(open_kernel_source(w.root.path() / "none").error().code == base::Code::not_found);
  }
}
