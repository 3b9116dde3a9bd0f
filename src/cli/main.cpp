// cleanroom: the tool beside cleanroom-run. Everything it can do is in the table below.
#include "src/cli/command.h"
#include "src/cli/image_command.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <exception>
#include <string>

namespace cleanroom::cli {
namespace {

constexpr std::array<AddCommand, 4> kCommands = {
    add_doctor_command,
    add_image_command,
    add_kernel_command,
    add_policy_command,
};

int usage_error(const CLI::App& app, const CLI::ParseError& error) {
  // CLI11's sentences start with a capital letter; the names of options do not.
  std::string text = error.what();
  if (text.starts_with("A ") || text.starts_with("The ")) text.front() = static_cast<char>(text.front() | 0x20);
  std::string command = "cleanroom";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  fmt::print(stderr, "error: {}\nhint: run '{} --help'\n", text, command);
  return static_cast<int>(model::ExitCode::usage);
}

int run(int argc, char** argv) {
  CLI::App app(
      "Runs CI jobs in microVMs of their own; this tool checks policies and hosts, and prepares images and kernels.",
      "cleanroom");
  app.set_version_flag("--version", "cleanroom " CLEANROOM_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 success, 1 no (denied), 64 usage, 78 policy or configuration refused, 125 infrastructure.");
  int exit_code = static_cast<int>(model::ExitCode::success);
  for (const AddCommand add : kCommands)
    add(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version come as errors with exit code 0, and print themselves.
    if (error.get_exit_code() == 0) return app.exit(error);
    return usage_error(app, error);
  }
  // A full disk or a closed pipe must not look like success.
  if (std::fflush(stdout) != 0) {
    fmt::print(stderr, "error: cannot write the output\n");
    return static_cast<int>(model::ExitCode::infrastructure);
  }
  return exit_code;
}

}  // namespace
}  // namespace cleanroom::cli

int main(int argc, char** argv) {
  try {
    return cleanroom::cli::run(argc, argv);
  } catch (const std::exception& error) {  // CLI11 and the standard library; ours throws nothing
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(cleanroom::model::ExitCode::infrastructure);
  }
}
