#pragma once
// A subcommand of `cleanroom`: one source file each, and one row in the table in main.cpp.
#include "src/base/os/result.h"
#include "src/model/exit_code.h"

#include <CLI/App.hpp>
#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>

namespace cleanroom::cli {

// Adds one subcommand to `app`: options, help, and a callback that runs it. The callback stores what the process exits
// with; it prints results to stdout and errors with print_error(), and throws nothing.
using AddCommand = void (*)(CLI::App& app, int& exit_code);

// src/cli/doctor_command.cpp
void add_doctor_command(CLI::App& app, int& exit_code);

// src/cli/kernel_command.cpp
void add_kernel_command(CLI::App& app, int& exit_code);

// src/cli/policy_command.cpp
void add_policy_command(CLI::App& app, int& exit_code);

// The `reason` of an error in the command line. Not a code for scripts, so it is not printed: the exit code 64 says it.
inline constexpr const char* kUsage = "usage";

// `error: ...`, `reason: ...` and `hint: ...` on stderr.
void print_error(const base::Error& error);

// print_error(), and the exit code for it.
int report_failure(const base::Error& error);

// On stdout, indented; bytes that are not UTF-8 become U+FFFD.
void print_json(const nlohmann::json& value);

// A subcommand of a subcommand, with options of its own, which `options` then points to.
template <typename Options>
CLI::App* add_leaf(CLI::App& parent, const char* name, const char* help, int& exit_code,
                   base::Result<void> (*run)(const Options&), std::shared_ptr<Options>& options) {
  options = std::make_shared<Options>();
  CLI::App* leaf = parent.add_subcommand(name, help);
  leaf->callback([options, &exit_code, run] {
    const auto done = run(*options);
    exit_code = done ? 0 : report_failure(done.error());
  });
  return leaf;
}

}  // namespace cleanroom::cli
