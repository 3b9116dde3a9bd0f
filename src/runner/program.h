#pragma once
// The program cleanroom-run without its main(): command line, composition, exit code.

namespace cleanroom::runner {

// Exit codes: docs/exit-codes.md. Usage errors and --help end before anything is started.
int run_program(int argc, char** argv);

}  // namespace cleanroom::runner
