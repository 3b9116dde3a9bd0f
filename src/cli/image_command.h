#pragma once
#include "src/cli/command.h"

namespace cleanroom::cli {

// image import|ls|inspect
void add_image_command(CLI::App& app, int& exit_code);

}  // namespace cleanroom::cli
