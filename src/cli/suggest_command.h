#pragma once
// `cleanroom policy suggest`.
#include <CLI/App.hpp>

namespace cleanroom::cli {

// Adds it below `policy`; the contract is AddCommand's (command.h).
void add_suggest_command(CLI::App& policy, int& exit_code);

}  // namespace cleanroom::cli
