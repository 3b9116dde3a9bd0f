#pragma once
// Fetching a credential from where its binding says it is, and making a header of it. All text of it stays in memory
// that is wiped. No source ever sees a byte that came from a guest.
#include "src/base/os/clock.h"
#include "src/base/os/secret.h"
#include "src/credentials/bindings.h"
#include "src/credentials/job_identity.h"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::credentials {

// What sources use of this host.
struct HostEnvironment {
  Environment variables;       // where `env` looks, and the agent's settings
  std::filesystem::path home;  // HOME of programs
  std::string program_path;    // PATH of programs, and where git and buildkite-agent are looked for
  uid_t user = 0;              // files belong to it, or to root

  // Of this process. HOME as policy::operator_home() has it; PATH is a fixed list, because a pipeline's `env:` may set
  // the variable, with the agent's own directory (BUILDKITE_BIN_PATH, which it may not set) behind it.
  static HostEnvironment from_process();
};

// HostEnvironment::program_path of this process.
std::string operator_program_path();

inline constexpr std::chrono::seconds kSourceTimeLimit{15};
inline constexpr std::size_t kMaxSourceBytes = 64 * 1024;
inline constexpr std::size_t kMaxTokenBytes = 8 * 1024;  // longer header lines are refused by servers

struct FetchedLogin {
  base::Secret value;                         // basic: "user:token"; else the bare token
  std::optional<std::chrono::seconds> valid;  // as below
};
struct FetchedHeader {
  base::Secret value;                         // "Basic ...", "Bearer ...", or the bare token
  std::optional<std::chrono::seconds> valid;  // what the source says of its life from now on
};

// Immutable, usable from any thread.
class Sources {
 public:
  // Keeps of `host` what `bindings` need.
  Sources(const Bindings& bindings, HostEnvironment host, std::chrono::milliseconds time_limit = kSourceTimeLimit);

  // Blocks for at most the time limit, a file system that hangs aside. Fails with credential_unavailable, naming the
  // binding and the kind of its source, never the value, a program's output or its arguments.
  base::Result<FetchedHeader> fetch(const Binding& binding) const;
  // The same before it becomes a header's value, for a protocol that has other places for it.
  base::Result<FetchedLogin> fetch_login(const Binding& binding) const;

 private:
  struct Token {
    base::Secret username;  // git-credential only
    base::Secret value;
    std::optional<std::chrono::seconds> valid;
  };
  base::Result<Token> read(const Binding& binding) const;
  base::Result<Token> read_variable(const Source& source) const;
  base::Result<Token> read_file(const Source& source) const;
  base::Result<Token> run_command(const Source& source) const;
  base::Result<Token> ask_git(const Binding& binding) const;
  base::Result<Token> ask_agent(const Source& source) const;
  base::Result<base::Secret> run(std::vector<std::string> argv, std::vector<std::string> extra_environment,
                                 std::string_view input) const;

  std::map<std::string, base::Secret, std::less<>> variables_;
  std::filesystem::path home_;
  std::string program_path_;
  uid_t user_;
  std::chrono::milliseconds time_limit_;
};

}  // namespace cleanroom::credentials
