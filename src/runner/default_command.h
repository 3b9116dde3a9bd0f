#pragma once
// What runs for a step's `command`: the default of Buildkite's agent (executor.go, defaultCommandPhase), in the guest.
//  - the command, without its newlines, names a file of the checkout: it is made executable, and `./FILE` is given to
//  the
//    shell;
//  - else the whole string, newlines and all, is one argument of the shell: `/bin/bash -e -c STRING`.
// No byte of the command is interpreted on the host.
#include "src/base/os/result.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

struct CommandInput {
  std::string command;             // $BUILDKITE_COMMAND, or a step's `commands` joined with newlines
  std::vector<std::string> argv;   // the plugin's `command`, or COMMAND... of the command line: run as it is
  std::vector<std::string> shell;  // the plugin's `shell`; empty = none
  std::string buildkite_shell;     // $BUILDKITE_SHELL, split like a shell splits words; empty = none
};

// A file that is put into the guest before the job starts.
struct GuestFile {
  std::string path;  // absolute
  std::string content;
  unsigned mode = 0600;
};

struct CommandPlan {
  enum class Kind {
    argv,      // candidates[0] is all there is
    script,    // a file of the checkout
    commands,  // a string for the shell
  };
  Kind kind = Kind::argv;
  // In order; the first whose [0] exists in the image runs. One unless the default shell is used: bash, then sh.
  std::vector<std::vector<std::string>> candidates;
  std::string display;                     // after "$ " in the log; may hold newlines, and any byte
  std::optional<std::string> script_path;  // relative to the checkout: chmod +x in the guest before it runs
  // The image's own program runs, with these arguments in place of its default ones where there are any. `candidates`
  // and `display` follow when the image is known: use_entrypoint().
  std::optional<std::vector<std::string>> entrypoint_arguments;
  // execve takes no longer argument than 128 KiB. A longer command is a file in the guest, and the candidates name it.
  std::optional<GuestFile> command_file;
};

inline constexpr std::size_t kMaxArgumentBytes = 128 * 1024 - 1;  // MAX_ARG_STRLEN without its NUL
inline constexpr std::size_t kMaxCommandBytes = 4 * 1024 * 1024;
inline constexpr std::string_view kGuestCommandFile = "/run/cleanroom/command";

// Pure. `is_in_checkout` gets a path relative to the checkout, normalised and never leaving it. invalid_input
// (command_invalid): no command, both command and argv, NUL, over the limits, unbalanced quotes in the shell.
base::Result<CommandPlan> plan_command(const CommandInput& input,
                                       const std::function<bool(const std::string&)>& is_in_checkout);

// For a plan with entrypoint_arguments (OCI image-spec config.md: Entrypoint, then Cmd or what replaces it).
// command_invalid when the image has neither.
base::Result<void> use_entrypoint(CommandPlan& plan, const std::vector<std::string>& entrypoint,
                                  const std::vector<std::string>& cmd);

// Words as POSIX shells split them: blanks, '...', "...", backslash. No expansion of any kind.
base::Result<std::vector<std::string>> split_shell_words(std::string_view text);

}  // namespace cleanroom::runner
