#include "src/cli/command.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace cleanroom::cli {

void print_error(const base::Error& error) {
  fmt::print(stderr, "error: {}\n", error.describe());
  if (!error.reason.empty() && error.reason != kUsage) fmt::print(stderr, "reason: {}\n", error.reason);
  if (!error.hint.empty()) fmt::print(stderr, "hint: {}\n", error.hint);
}

int report_failure(const base::Error& error) {
  print_error(error);
  return static_cast<int>(error.reason == kUsage ? model::ExitCode::usage : model::exit_code_of(error));
}

void print_json(const nlohmann::json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace cleanroom::cli
