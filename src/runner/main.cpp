// cleanroom-run: composition root of a single run.
#include "src/runner/program.h"

int main(int argc, char** argv) {
  return cleanroom::runner::run_program(argc, argv);
}
