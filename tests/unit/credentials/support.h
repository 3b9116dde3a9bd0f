#pragma once
// A directory of operator files, bindings read from it by the real loader, and a Broker on a loop of its own.
#include "src/base/os/temp_dir.h"
#include "src/credentials/broker.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

namespace cleanroom::credentials::testing {

namespace fs = std::filesystem;

struct Fixture {
  base::TempDir dir = *base::TempDir::create(fs::temp_directory_path(), "credentials");
  policy::OperatorPaths paths{.directories = {dir.path() / "etc"},
                              .from_variable = false,
                              .untrusted_roots = {dir.path() / "build"},
                              .user = ::geteuid()};

  fs::path write(const fs::path& name, std::string_view text, mode_t mode = 0600) {
    const auto path = dir.path() / name;
    fs::create_directories(path.parent_path());
    fs::permissions(path.parent_path(), fs::perms::owner_all);
    std::ofstream(path, std::ios::binary) << text;
    fs::permissions(path, static_cast<fs::perms>(mode));
    return path;
  }
  base::Result<Bindings> load(std::string_view text) {
    write("etc/credentials.yaml", text);
    return load_bindings(paths);
  }
  // Entries in flow style, a line each.
  Bindings bindings(const std::vector<std::string>& entries) {
    std::string text = "bindings:\n";
    for (const auto& entry : entries)
      text += "  - {" + entry + "}\n";
    auto loaded = load(text);
    if (!loaded) FAIL(loaded.error().message);
    return std::move(*loaded);
  }
  // One that names git.test and everything there, with this source.
  Bindings binding_with(std::string_view source, std::string_view more = "") {
    return bindings({fmt::format("id: tok, host: git.test, paths: ['**'], source: {{{}}}{}", source, more)});
  }
  HostEnvironment host() {
    return {.variables = {},
            .home = dir.path(),
            .program_path = (dir.path() / "bin").string() + ":/usr/bin:/bin",
            .user = ::geteuid()};
  }
};

inline Request ask(std::string path = "acme/web", std::string_view host = "git.test", std::uint16_t port = 443,
                   Method method = Method::git_read) {
  return {*model::HostName::parse(host), port, std::move(path), method};
}

using Answers = std::vector<base::Result<Lookup>>;

// `broker` and `answers` live until the loop has run it.
inline base::Awaitable<void> find_into(Answers* answers, Broker* broker, Request request, base::Deadline deadline) {
  auto answer = co_await broker->find(std::move(request), deadline);
  answers->push_back(std::move(answer));
}

// Runs the loop until all of `count` lookups have an answer.
inline Answers find_all(base::asio::io_context& context, Broker& broker, std::size_t count,
                        const Request& request = ask(), std::chrono::milliseconds limit = std::chrono::seconds(30)) {
  Answers answers;
  for (std::size_t i = 0; i < count; ++i) {
    base::asio::co_spawn(context, find_into(&answers, &broker, request, base::deadline_in(limit)),
                         base::asio::detached);
  }
  context.restart();
  while (answers.size() < count)
    context.run_one();
  return answers;
}

inline base::Result<Lookup> find(base::asio::io_context& context, Broker& broker, Request request = ask()) {
  return std::move(find_all(context, broker, 1, std::move(request)).front());
}

}  // namespace cleanroom::credentials::testing
