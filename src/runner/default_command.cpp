#include "src/runner/default_command.h"

#include <fmt/format.h>

#include <algorithm>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Result;
using Words = std::vector<std::string>;

constexpr std::string_view kCommandInvalid = "command_invalid";
constexpr std::size_t kMaxScriptPath = 4096;
constexpr std::size_t kMaxShellWords = 64;

base::Failure refuse_command(std::string message) {
  return fail(Code::invalid_input, std::string(kCommandInvalid), std::move(message));
}

// The path below the checkout that `text` names, normalised without looking at any file; empty when it leaves it.
std::string path_in_checkout(std::string_view text) {
  if (text.size() > kMaxScriptPath) return {};
  Words parts;
  while (!text.empty()) {
    const std::size_t slash = text.find('/');
    const std::string_view part = text.substr(0, slash);
    if (part == "..") {
      if (parts.empty()) return {};
      parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.emplace_back(part);
    }
    text = slash == std::string_view::npos ? std::string_view{} : text.substr(slash + 1);
  }
  std::string path;
  for (const std::string& part : parts)
    path += (path.empty() ? "" : "/") + part;
  return path;
}

// The shells to try, each without the command string.
Result<std::vector<Words>> shells_of(const CommandInput& input) {
  const Words bash{"/bin/bash", "-e", "-c"};
  if (!input.shell.empty()) return std::vector<Words>{input.shell};
  CR_ASSIGN(Words words, split_shell_words(input.buildkite_shell));
  // The agent's default names a shell of the host; an image without bash has sh. Any other choice is taken at its word.
  if (words.empty() || words == bash) return std::vector<Words>{bash, {"/bin/sh", "-e", "-c"}};
  return std::vector<Words>{std::move(words)};
}

// `bash -e -c STRING` becomes `bash -e FILE`.
Result<Words> shell_for_file(Words shell) {
  const bool flag = shell.size() > 1 && shell.back().size() > 1 && shell.back()[0] == '-' && shell.back()[1] != '-' &&
                    shell.back().back() == 'c';
  if (!flag)
    return refuse_command(
        fmt::format("cannot run the command: it is longer than {} bytes, and the shell takes it as an argument",
                    kMaxArgumentBytes));
  shell.back().pop_back();
  if (shell.back() == "-") shell.pop_back();
  shell.emplace_back(kGuestCommandFile);
  return shell;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

Result<void> take_argv(CommandPlan& plan, const Words& argv) {
  if (argv.front().empty()) return refuse_command("cannot run the command: its first word is empty");
  for (const std::string& word : argv) {
    if (word.size() > kMaxArgumentBytes)
      return refuse_command(
          fmt::format("cannot run the command: an argument is longer than {} bytes", kMaxArgumentBytes));
    if (word.find('\0') != std::string::npos) return refuse_command("cannot run the command: an argument holds a NUL");
    plan.display += (plan.display.empty() ? "" : " ") + word;
  }
  plan.kind = CommandPlan::Kind::argv;
  plan.candidates = {argv};
  return {};
}

Result<CommandPlan> plan_argv(const CommandInput& input) {
  if (!is_blank(input.command))
    return refuse_command("cannot run both the step's command and the plugin's: remove one of them");
  CommandPlan plan;
  CR_TRY(take_argv(plan, input.argv));
  return plan;
}

}  // namespace

Result<CommandPlan> plan_command(const CommandInput& input,
                                 const std::function<bool(const std::string&)>& is_in_checkout) {
  if (!input.argv.empty()) return plan_argv(input);
  if (is_blank(input.command)) {
    return fail(base::Error(Code::invalid_input, std::string(kCommandInvalid), "cannot run the step: it has no command")
                    .with_hint("give the step a `command`"));
  }
  if (input.command.size() > kMaxCommandBytes)
    return refuse_command(fmt::format("cannot run the command: it is longer than {} bytes", kMaxCommandBytes));
  if (input.command.find('\0') != std::string::npos) return refuse_command("cannot run the command: it holds a NUL");

  CR_ASSIGN(std::vector<Words> shells, shells_of(input));
  CommandPlan plan;
  std::string file_name = input.command;
  std::erase(file_name, '\n');
  const std::string path = path_in_checkout(file_name);
  std::string argument = input.command;
  plan.kind = CommandPlan::Kind::commands;
  if (!path.empty() && is_in_checkout(path)) {
    plan.kind = CommandPlan::Kind::script;
    plan.script_path = path;
    argument = "./" + path;
  }
  plan.display = argument;
  const bool too_long = argument.size() > kMaxArgumentBytes;
  for (Words& shell : shells) {
    if (too_long) {
      CR_ASSIGN(shell, shell_for_file(std::move(shell)));
    } else {
      shell.push_back(argument);
    }
    plan.candidates.push_back(std::move(shell));
  }
  if (too_long) plan.command_file = GuestFile{std::string(kGuestCommandFile), std::move(argument)};
  return plan;
}

Result<void> use_entrypoint(CommandPlan& plan, const Words& entrypoint, const Words& cmd) {
  Words words = entrypoint;
  const Words& arguments = plan.entrypoint_arguments->empty() ? cmd : *plan.entrypoint_arguments;
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (words.empty()) {
    return fail(base::Error(Code::invalid_input, std::string(kCommandInvalid),
                            "cannot run the image's entrypoint: it has neither an entrypoint nor a command")
                    .with_hint("give a command instead of --entrypoint"));
  }
  return take_argv(plan, words);
}

Result<std::vector<std::string>> split_shell_words(std::string_view text) {
  Words words;
  std::string word;
  bool in_word = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\n') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
      if (words.size() > kMaxShellWords) return refuse_command("cannot read the shell: too many words");
      continue;
    }
    in_word = true;
    if (c == '\\') {
      if (++i == text.size()) return refuse_command("cannot read the shell: it ends in a backslash");
      word += text[i];
    } else if (c == '\'' || c == '"') {
      for (++i; i < text.size() && text[i] != c; ++i) {
        const bool escape = c == '"' && text[i] == '\\' && i + 1 < text.size() &&
                            std::string_view("\\\"$`").find(text[i + 1]) != std::string_view::npos;
        if (escape) ++i;
        word += text[i];
      }
      if (i >= text.size()) return refuse_command("cannot read the shell: a quote is not closed");
    } else {
      word += c;
    }
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace cleanroom::runner
