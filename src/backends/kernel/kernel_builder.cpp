#include "src/backends/kernel/kernel_builder.h"

#include "src/backends/kernel/kernel_config.h"
#include "src/backends/kernel/kernel_inputs.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

namespace cleanroom::backends {

using base::Code;
using base::Result;
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::hours kBuildLimit{3};  // one slow processor takes one
constexpr std::size_t kMaxConfig = 1 << 20;
constexpr std::size_t kMaxImage = 256 << 20;
constexpr std::size_t kDigestShown = 12;  // hex digits, in a kernel's name
constexpr std::size_t kDigestPrefix = 7;  // "sha256:"
constexpr std::string_view kWorkPrefix = ".new.";

// What a kernel says of its build, made the same everywhere: see Documentation/kbuild/reproducible-builds.rst.
constexpr const char* kFixedEnvironment[] = {
    "LC_ALL=C",
    "TZ=UTC",
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER=cleanroom",
    "KBUILD_BUILD_HOST=cleanroom",
    "KBUILD_BUILD_VERSION=1",
    "LOCALVERSION=",  // set and empty: the state of a git tree adds no "+"
};

// The folders of builds that were killed. Only for the holder of the lock.
void sweep(const fs::path& root) {
  std::error_code ec;
  std::vector<fs::path> old;
  for (fs::directory_iterator entry(root, ec); !ec && entry != fs::end(entry); entry.increment(ec)) {
    if (entry->path().filename().native().starts_with(kWorkPrefix)) old.push_back(entry->path());
  }
  for (const auto& path : old)
    fs::remove_all(path, ec);
}

class Build {
 public:
  Build(const KernelBuildOptions& options, const BuildContext& context, fs::path work)
      : options_(options), context_(context), work_(std::move(work)) {
    for (const char* setting : kFixedEnvironment)
      environment_.emplace_back(setting);
    environment_.push_back("PATH=" + context.path);
    environment_.push_back("TMPDIR=" + work_.native());
  }

  // A tarball is built in its own folder, where all paths are relative; a tree, which is not ours, beside.
  Result<void> unpack() {
    build_ = work_ / "build";
    CR_TRY(base::make_private_directories(build_));
    source_ = options_.source.path;
    if (options_.source.kind == SourceKind::tree) return {};
    source_ = build_;
    return run_step({.what = "unpack the kernel's source",
                     .argv = {"tar", "-x", "-f", options_.source.path.native(), "-C", build_.native(),
                              "--strip-components=1", "--no-same-owner"},
                     .environment = environment_,
                     .working_directory = work_},
                    context_);
  }

  Result<void> configure() {
    const fs::path fragment = work_ / "fragment.config";
    CR_TRY(base::write_file_atomically(fragment, options_.fragment));
    CR_TRY(make("configure the kernel", {"allnoconfig", "KCONFIG_ALLCONFIG=" + fragment.native()}));
    CR_ASSIGN(config_, base::read_file(build_ / ".config", kMaxConfig));
    const auto dropped = dropped_options(options_.fragment, config_);
    if (dropped.empty()) return {};
    return base::fail(
        base::Error(Code::failed_precondition, "kernel_build_failed",
                    fmt::format("cannot configure the kernel: this source drops {} of the fragment's lines: {}",
                                dropped.size(), fmt::join(dropped, ", ")))
            .with_hint("something that they depend on is missing in guest/kernel/fragment.config, or the source is of "
                       "another version than " +
                       std::string(kSourcePackage)));
  }

  Result<void> compile() { return make("build the kernel", {fmt::format("-j{}", options_.jobs), "bzImage"}); }

  // Fills `result` and completes the manifest.
  Result<void> collect(const fs::path& result, KernelManifest& manifest) {
    CR_ASSIGN(manifest.version, base::read_file(build_ / "include/config/kernel.release", 256));
    while (!manifest.version.empty() && manifest.version.back() == '\n')
      manifest.version.pop_back();
    if (manifest.version.empty() || manifest.version.find('/') != std::string::npos)
      return base::fail(Code::failed_precondition, "kernel_build_failed", "cannot tell the version of the kernel");
    manifest.name = manifest.version + "-" + manifest.inputs_digest.substr(kDigestPrefix, kDigestShown);
    manifest.mmio_cmdline = has_option(config_, "VIRTIO_MMIO_CMDLINE_DEVICES");
    manifest.pvh = has_option(config_, "PVH");
    manifest.modules = has_option(config_, "MODULES");
    const auto hz = option_value(config_, "HZ");
    std::from_chars(hz.data(), hz.data() + hz.size(), manifest.tick_hz);
    const fs::path stripped = work_ / "vmlinux.stripped";
    CR_TRY(run_step({.what = "strip the kernel",
                     .argv = {"strip", "--strip-all", "-o", stripped.native(), (build_ / "vmlinux").native()},
                     .environment = environment_,
                     .working_directory = work_},
                    context_));
    CR_ASSIGN(manifest.vmlinuz_digest, copy(build_ / "arch/x86/boot/bzImage", result / "vmlinuz"));
    CR_ASSIGN(manifest.vmlinux_digest, copy(stripped, result / "vmlinux"));
    CR_TRY(base::write_file_atomically(result / "config", config_, 0644));
    return base::write_file_atomically(result / kManifestName, to_json_text(manifest), 0644);
  }

 private:
  Result<void> make(const char* what, std::vector<std::string> arguments) {
    std::vector<std::string> argv{"make", "-s", "-C", source_.native(), "ARCH=x86_64"};
    if (source_ != build_) argv.push_back("O=" + build_.native());
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run_step({.what = what, .argv = std::move(argv), .environment = environment_, .working_directory = work_},
                    context_);
  }
  // Synced: what was published must be whole after a power cut too. Returns the digest.
  static Result<std::string> copy(const fs::path& from, const fs::path& to) {
    CR_ASSIGN(const auto image, base::read_file(from, kMaxImage));
    CR_TRY(base::write_file_atomically(to, image, 0644));
    return digest_of_file(to);
  }

  const KernelBuildOptions& options_;
  const BuildContext& context_;
  fs::path work_;
  fs::path source_;
  fs::path build_;
  std::string config_;
  std::vector<std::string> environment_;
};

}  // namespace

Result<KernelBuild> build_kernel(const KernelStore& store, const KernelBuildOptions& options) {
  CR_TRY(check_build_tools(options.path));
  const fs::path root = options.cache_directory / "kernel-build";
  CR_TRY(base::make_private_directories(root));
  const BuildContext context{.path = options.path,
                             .log = root / "build.log",
                             .interrupt = options.interrupt,
                             .deadline = base::deadline_in(kBuildLimit),
                             .niceness = options.niceness};
  CR_ASSIGN(const auto inputs, kernel_inputs(options.source, options.fragment, context));
  CR_ASSIGN(auto found, store.find_built(inputs.digest()));
  if (found) return KernelBuild{std::move(*found), false};

  CR_ASSIGN(const auto lock, KernelLock::take(root / ".lock", context.deadline, options.interrupt));
  CR_ASSIGN(found, store.find_built(inputs.digest()));
  if (found) return KernelBuild{std::move(*found), false};
  sweep(root);
  std::error_code ignored;
  fs::remove(context.log, ignored);
  CR_ASSIGN(const auto work, base::TempDir::create(root, kWorkPrefix));
  Build build(options, context, work.path());
  options.say(fmt::format("building a kernel from '{}': about ten minutes on two processors; log: '{}'",
                          options.source.path.native(), context.log.native()));
  CR_TRY(build.unpack());
  CR_TRY(build.configure());
  CR_TRY(build.compile());

  CR_TRY(base::make_private_directories(store.root()));
  CR_ASSIGN(auto result, base::TempDir::create(store.root(), kWorkPrefix));
  KernelManifest manifest{.inputs_digest = inputs.digest(),
                          .source_digest = inputs.source_digest,
                          .fragment_digest = inputs.fragment_digest,
                          .compiler = inputs.compiler,
                          .linker = inputs.linker};
  const fs::path finished = result.path() / "kernel";
  CR_TRY(base::make_private_directories(finished));
  CR_TRY(build.collect(finished, manifest));
  CR_TRY(store.publish(finished, manifest.name));
  return KernelBuild{std::move(manifest), true};
}

}  // namespace cleanroom::backends
