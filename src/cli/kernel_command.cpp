// cleanroom kernel build|ls|use|fetch: the guest's kernels on this host.
#include "src/backends/kernel/bundled_files.h"
#include "src/backends/kernel/kernel_builder.h"
#include "src/backends/kernel/kernel_fetch.h"
#include "src/base/text/json.h"
#include "src/cli/command.h"
#include "src/registry/pull_lines.h"
#include "src/runner/host_paths.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/signalfd.h>

#include <cstdlib>
#include <memory>
#include <thread>

namespace cleanroom::cli {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr unsigned kMaxJobs = 1024;

struct KernelOptions {
  std::string name;
  std::string source;
  unsigned jobs = 0;  // 0: a job a processor
  int niceness = 10;
  bool keep_current = false;
  bool refresh = false;
  bool json = false;
};

// Readable once somebody wants this process to end. Until then these signals do nothing: what works here cleans up
// first.
Result<base::Fd> catch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    ::sigaddset(&set, number);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail(base::errno_error("block", "signals"));
  base::Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals) return fail(base::errno_error("catch", "signals"));
  return signals;
}

void say(const std::string& line) {
  fmt::print(stderr, "cleanroom: {}\n", line);
}

Result<backends::KernelSource> choose_source(const KernelOptions& options, const std::filesystem::path& cache,
                                             const base::Fd& signals) {
  if (!options.source.empty()) return backends::open_kernel_source(options.source);
  auto found = backends::find_distribution_source(cache);
  if (!found || options.refresh) {
    const auto refresh = options.refresh ? backends::Refresh::look_for_newer : backends::Refresh::only_if_missing;
    CR_TRY(backends::fetch_distribution_source(refresh, &signals));
    found = backends::find_distribution_source(cache);
  }
  if (!found) return fail(Code::not_found, "kernel_unavailable", "cannot find the kernel source that was fetched");
  return backends::open_kernel_source(*found);
}

Result<void> build(const KernelOptions& options) {
  CR_ASSIGN(const auto paths, runner::HostPaths::find());
  CR_ASSIGN(const auto signals, catch_signals());
  const char* path = std::getenv("PATH");
  backends::KernelBuildOptions build{.cache_directory = paths.cache,
                                     .source = {},
                                     .fragment = std::string(backends::kernel_fragment()),
                                     .jobs = options.jobs,
                                     .niceness = options.niceness,
                                     .path = path != nullptr ? path : "/usr/bin:/bin",
                                     .interrupt = &signals,
                                     .say = say};
  if (build.jobs == 0) build.jobs = std::max(std::thread::hardware_concurrency(), 1U);
  CR_ASSIGN(build.source, choose_source(options, paths.cache, signals));
  const backends::KernelStore store(paths.data);
  CR_ASSIGN(const auto built, backends::build_kernel(store, build));
  if (!options.keep_current) CR_TRY(store.use(built.manifest.name));
  say(fmt::format("kernel '{}' {}{}", built.manifest.name, built.made ? "is built" : "is there already",
                  options.keep_current ? "" : ", and current"));
  fmt::print("{}\n", built.manifest.name);
  return {};
}

nlohmann::json kernel_json(const backends::StoredKernel& kernel, const backends::KernelStore& store) {
  nlohmann::json row = {
      {"name", kernel.name},       {"version", kernel.version}, {"origin", backends::to_string(kernel.origin)},
      {"current", kernel.current}, {"bytes", kernel.bytes},     {"path", store.directory(kernel.name).native()}};
  if (kernel.manifest) row["manifest"] = nlohmann::json::parse(backends::to_json_text(*kernel.manifest));
  return row;
}

Result<void> list_kernels(const KernelOptions& options) {
  CR_ASSIGN(const auto paths, runner::HostPaths::find());
  const backends::KernelStore store(paths.data);
  CR_ASSIGN(const auto kernels, store.list());
  if (options.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& kernel : kernels)
      rows.push_back(kernel_json(kernel, store));
    print_json(rows);
    return {};
  }
  for (const auto& kernel : kernels) {
    fmt::print("{} {:<44}  {:<12}  {:>9}  {}\n", kernel.current ? '*' : ' ', kernel.name,
               backends::to_string(kernel.origin), registry::show_bytes(kernel.bytes), kernel.version);
  }
  return {};
}

Result<void> use(const KernelOptions& options) {
  CR_ASSIGN(const auto paths, runner::HostPaths::find());
  return backends::KernelStore(paths.data).use(options.name);
}

Result<void> fetch(const KernelOptions& options) {
  CR_ASSIGN(const auto signals, catch_signals());
  return backends::fetch_distribution_kernel(
      options.refresh ? backends::Refresh::look_for_newer : backends::Refresh::only_if_missing, &signals);
}

}  // namespace

void add_kernel_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("kernel", "Build, fetch, list and choose the kernels that VMs boot");
  command->require_subcommand(1);
  std::shared_ptr<KernelOptions> options;
  CLI::App* leaf = add_leaf(*command, "build",
                            "Build the trimmed kernel and make it current; at once when these inputs were built before",
                            exit_code, build, options);
  leaf->add_option("--source", options->source,
                   "Kernel source, a tarball or a folder; default: Debian's linux-source-6.1, fetched if need be")
      ->type_name("PATH");
  leaf->add_option("--jobs", options->jobs, "Compilers at a time; default: one a processor")
      ->check(CLI::Range(1U, kMaxJobs))
      ->type_name("N");
  leaf->add_option("--nice", options->niceness, "Niceness that the compilers get on top, 0 to 19; default: 10")
      ->check(CLI::Range(0, 19))
      ->type_name("N");
  leaf->add_flag("--refresh", options->refresh, "Look for a newer source package although one is there");
  leaf->add_flag("--keep-current", options->keep_current, "Leave the current kernel as it is");
  leaf = add_leaf(*command, "ls", "List the kernels; * marks the current one", exit_code, list_kernels, options);
  leaf->add_flag("--json", options->json, "Print JSON");
  leaf = add_leaf(*command, "use", "Make a kernel the current one, which VMs boot", exit_code, use, options);
  leaf->add_option("name", options->name, "As ls shows it")->required()->type_name("NAME");
  leaf = add_leaf(*command, "fetch", "Get the distribution's kernel, without root; quick when it is there", exit_code,
                  fetch, options);
  leaf->add_flag("--refresh", options->refresh, "Look for a newer one although one is there");
}

}  // namespace cleanroom::cli
