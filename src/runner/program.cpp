#include "src/runner/program.h"

#include "src/backends/jail/high_number.h"
#include "src/base/os/library_variables.h"
#include "src/model/exit_code.h"
#include "src/runner/buildkite_check.h"
#include "src/runner/job_run.h"
#include "src/runner/request_builder.h"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cstdio>

extern char** environ;

namespace cleanroom::runner {

using model::ExitCode;

namespace {

// Image, workspace and outputs: one at a time, beside one that a cancelled run left behind.
constexpr std::size_t kBlockingThreads = 2;

constexpr const char* kDescription =
    "Runs a command in a microVM of its own: a copy of the checkout, no network but what cleanroom.yaml allows, no\n"
    "credential of this host. Prints the job's output as it comes, brings the outputs back, leaves nothing running.";
constexpr const char* kFooter =
    "Examples:\n"
    "  cleanroom-run --image oci:./image -- make test\n"
    "  cleanroom-run --step test                        the step of .buildkite/pipeline.yml, as CI runs it\n"
    "  cleanroom-run --output 'build/**/*.xml' --env CI -- ./ci.sh\n"
    "\n"
    "Exit codes: the job's own (a signal n is 128+n); 64 usage; 78 policy or configuration refused, nothing was "
    "started;\n"
    "124 time limit; 125 no image, kernel or VM could be had. Each run leaves a record in "
    "~/.local/state/cleanroom/runs.";

struct Modes {
  bool buildkite_check = false;
  bool buildkite_sweep = false;
};

void declare_options(CLI::App& app, CommandLine& line, Modes& modes) {
  app.add_option("--policy", line.policy, "Policy file (default: cleanroom.yaml, then .buildkite/cleanroom.yaml)")
      ->type_name("FILE");
  app.add_option(
         "--image", line.image,
         "Image in place of the policy's: NAME@sha256:..., oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, "
         "docker-daemon:NAME or podman:NAME")
      ->type_name("REF");
  app.add_option("--checkout", line.checkout, "Directory that is copied into the VM (default: the current one)")
      ->type_name("DIR");
  app.add_option("--workdir", line.workdir, "Its place in the VM, where the command starts (default: /workspace)")
      ->type_name("PATH");
  app.add_option("--env", line.environment, "Variable for the job: K takes this shell's value; may be repeated")
      ->type_name("K[=V]")
      ->allow_extra_args(false);
  app.add_option("--output", line.outputs,
                 "Files to bring back, relative to the checkout: *, **, ?, [..], {a,b}; may be repeated")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  app.add_option("--backend", line.backend, "auto, firecracker or qemu")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "firecracker", "qemu"}));
  app.add_flag("--allow-emulation", line.allow_emulation,
               "Accept a VM without hardware virtualisation (slow, no security boundary)");
  app.add_option("--vcpus", line.vcpus, "Virtual processors")->type_name("N")->check(CLI::Range(1, 256));
  app.add_option("--memory", line.memory, "Memory in MiB, or as 2g")->type_name("MIB");
  app.add_option("--timeout", line.timeout, "The job's time limit: 90s, 15m, 1h30m")->type_name("DUR");
  app.add_option("--result", line.result_file, "Also write the run's record here")->type_name("FILE.json");
  app.add_option("--record", line.record_file,
                 "Run under the operator's ceiling in place of the policy's network rules, and write the policy that "
                 "would have been enough here")
      ->type_name("FILE.yaml");
  app.add_flag("--keep-on-failure", line.keep_on_failure, "Keep the disks and the console log of a run that failed");
  app.add_option("--step", line.step, "Run this step of a pipeline file")->type_name("KEY");
  app.add_option("--pipeline", line.pipeline, "The pipeline file (default: .buildkite/pipeline.yml)")
      ->type_name("FILE");
  app.add_flag("--entrypoint", line.entrypoint,
               "Run the entrypoint of the image; COMMAND is its arguments, default: the image's");
  app.add_option("COMMAND", line.command, "The command and its arguments, run as they are");
  // For the plugin's hooks.
  app.add_flag("--buildkite", line.buildkite)->group("");
  app.add_flag("--buildkite-check", modes.buildkite_check)->group("");
  app.add_flag("--buildkite-sweep", modes.buildkite_sweep)->group("");
}

int print_and_judge(const base::Error& error) {
  std::fputs(("cleanroom: error: " + error.describe() + "\n").c_str(), stderr);
  if (!error.hint.empty()) std::fputs(("cleanroom: hint: " + error.hint + "\n").c_str(), stderr);
  return static_cast<int>(error.reason == "usage" ? ExitCode::usage : model::exit_code_of(error));
}

int run_check(const Environment& host) {
  const auto step = check_buildkite_step(host, {});
  if (!step) return print_and_judge(step.error());
  return 0;
}

int run_sweep() {
  const auto paths = HostPaths::find();
  if (!paths) return print_and_judge(paths.error());
  const auto swept = RunDirectory::sweep(paths->state);
  return swept ? 0 : print_and_judge(swept.error());
}

int run_job(RunRequest request) {
  backends::jail::reserve_high_numbers();
  // All four are left to the process's end: a thread may be held by a reader of our output, a disk or a name server,
  // and the verdict does not wait for it. What must be undone, run() has undone.
  auto* context = new base::asio::io_context(1);
  auto* writer = new base::BlockingPool(1);
  auto* pool = new base::BlockingPool(kBlockingThreads);
  auto* log = new JobLog(*writer, request.under_buildkite ? JobLog::Style::buildkite : JobLog::Style::plain);
  auto* run = new JobRun(*context, *pool, *log, std::move(request));
  int exit_code = static_cast<int>(ExitCode::infrastructure);
  base::asio::co_spawn(*context, run->run(), [&exit_code, context](const std::exception_ptr& error, int code) {
    if (!error) exit_code = code;  // a coroutine that threw gives 0
    context->stop();
  });
  context->run();
  std::fflush(nullptr);
  std::_Exit(exit_code);
}

}  // namespace

int run_program(int argc, char** argv) {
  CommandLine line;
  Modes modes;
  CLI::App app(kDescription, "cleanroom-run");
  app.footer(kFooter);
  app.set_version_flag("--version", "cleanroom-run " CLEANROOM_VERSION);
  app.positionals_at_end();
  declare_options(app, line, modes);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fputs(fmt::format("cleanroom: error: {}\ncleanroom: hint: cleanroom-run --help\n", error.what()).c_str(),
               stderr);
    return static_cast<int>(ExitCode::usage);
  }
  const Environment host = environment_from(environ);
  base::forget_library_variables();
  if (modes.buildkite_check) return run_check(host);
  if (modes.buildkite_sweep) return run_sweep();
  auto request = build_request(line, host);
  if (!request) return print_and_judge(request.error());
  return run_job(std::move(*request));
}

}  // namespace cleanroom::runner
