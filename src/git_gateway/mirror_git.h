#pragma once
// MirrorGit: one run of this host's git in a mirror, with pipes. Its environment and configuration are fixed here: no
// system or user configuration, no hooks, no credential helper, no network transport, no terminal. Arguments are ours;
// what a guest or an upstream said goes to its standard input only. The child dies with its owner.
#include "src/base/async/asio.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::git_gateway {

struct MirrorGitCommand {
  std::filesystem::path repository;
  std::vector<std::string> arguments;  // after the options of ours
  bool protocol_v2 = false;
};

// For base::run_process and MirrorGit alike. not_found: this host has no git.
base::Result<base::SpawnOptions> mirror_git_options(const MirrorGitCommand& command);

class MirrorGit {
 public:
  // `input` is what it reads; an invalid one: a pipe, for write().
  static base::Result<std::unique_ptr<MirrorGit>> start(const base::asio::any_io_executor& executor,
                                                        const MirrorGitCommand& command, base::Fd input);
  // 0 at the end of its output. timeout: nothing for kMirrorSilence.
  base::Awaitable<base::Result<std::size_t>> read(std::span<std::byte> into);
  base::Awaitable<base::Result<void>> write(std::span<const std::byte> bytes);
  void end_input() { input_.reset(); }
  // After the end of its input. Drops what is left of its output.
  base::Awaitable<base::Result<base::ExitStatus>> wait(base::Deadline deadline);

 private:
  using Pipe = base::asio::posix::stream_descriptor;
  MirrorGit(base::Process process, std::unique_ptr<Pipe> input, std::unique_ptr<Pipe> output)
      : process_(std::move(process)), input_(std::move(input)), output_(std::move(output)) {}
  base::Process process_;
  std::unique_ptr<Pipe> input_;
  std::unique_ptr<Pipe> output_;
};

// A file without a name that holds `text`, positioned at its start.
base::Result<base::Fd> memory_file(std::string_view text);

}  // namespace cleanroom::git_gateway
