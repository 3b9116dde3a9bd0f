// What of this process's environment counts, and for whose jobs.
#include "src/registry/operator_logins.h"

#include "src/registry/docker_config.h"
#include "tests/unit/registry/support.h"

#include <cstdlib>
#include <optional>

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::registry::testing;

namespace {

const credentials::JobIdentity kLocal{};
const credentials::JobIdentity kWeb{"acme/web", "main", false};
const credentials::JobIdentity kFork{"acme/web", "main", true};

// Sets a variable for as long as it lives; null unsets it.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name); before != nullptr) before_ = before;
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::vector<std::string> files_of(const credentials::JobIdentity& job) {
  std::vector<std::string> out;
  for (const auto& file : DockerConfigOptions::from_process(job).files)
    out.push_back(file.string());
  return out;
}

}  // namespace

TEST_CASE("files outside Buildkite: what Docker's and Podman's variables say") {
  const Variable buildkite("BUILDKITE", nullptr);
  const Variable home("HOME", "/h");
  const Variable docker("DOCKER_CONFIG", nullptr);
  const Variable auth_file("REGISTRY_AUTH_FILE", nullptr);
  const Variable runtime("XDG_RUNTIME_DIR", nullptr);
  const Variable path("PATH", "/opt/x:/usr/bin:/bin");
  using Files = std::vector<std::string>;
  CHECK(files_of(kLocal) == Files{"/h/.docker/config.json"});
  {
    const Variable more("DOCKER_CONFIG", "/d");
    const Variable and_more("REGISTRY_AUTH_FILE", "/r/auth.json");
    const Variable also("XDG_RUNTIME_DIR", "/run/user/1");
    CHECK(files_of(kLocal) == Files{"/r/auth.json", "/d/config.json", "/run/user/1/containers/auth.json"});
  }
  {
    const Variable relative("DOCKER_CONFIG", "d");
    const Variable too("REGISTRY_AUTH_FILE", "auth.json");
    CHECK(files_of(kLocal).empty());
  }
  CHECK(DockerConfigOptions::from_process(kLocal).program_path == "/opt/x:/usr/bin:/bin");
}

TEST_CASE("SUP-01 under Buildkite a pipeline's variables choose neither file nor helper") {
  const Variable buildkite("BUILDKITE", "true");
  const Variable bin("BUILDKITE_BIN_PATH", nullptr);
  const Variable home("HOME", "/evil");
  const Variable docker("DOCKER_CONFIG", "/evil");
  const Variable auth_file("REGISTRY_AUTH_FILE", "/evil/auth.json");
  const Variable runtime("XDG_RUNTIME_DIR", "/evil");
  const Variable path("PATH", "/evil:/usr/bin");
  const Variable preload("LD_PRELOAD_OF_THE_PIPELINE", "/evil");
  const auto options = DockerConfigOptions::from_process(kWeb);
  REQUIRE(options.files.size() == 1);
  CHECK(options.files[0] == policy::operator_home() / ".docker/config.json");
  CHECK(options.files[0].string().find("evil") == std::string::npos);
  CHECK(options.program_path == credentials::operator_program_path());
  CHECK(options.program_path.find("evil") == std::string::npos);
  for (const auto& entry : options.environment)
    CHECK(entry.find("evil") == std::string::npos);
  CHECK_FALSE(options.fork);
  CHECK(DockerConfigOptions::from_process(kFork).fork);
}

TEST_CASE("images.docker_config: on outside Buildkite, off under it, as the operator says where he says it") {
  Fixture f;
  f.write("docker/config.json", R"({"auths":{"r.test":{"auth":"Ym9iOnB3"}}})");
  const Variable docker("DOCKER_CONFIG", (f.dir.path() / "docker").c_str());
  const Variable auth_file("REGISTRY_AUTH_FILE", nullptr);
  const Variable buildkite("BUILDKITE", nullptr);
  const auto logins = [&](const credentials::JobIdentity& job, std::optional<bool> docker_config) {
    return show(*operator_logins({}, job, {.docker_config = docker_config}), "r.test");
  };
  CHECK(has(logins(kLocal, std::nullopt), "basic bob:pw"));
  CHECK(has(logins(kLocal, true), "basic bob:pw"));
  CHECK(logins(kLocal, false) == "none");
  CHECK(logins(kWeb, std::nullopt) == "none");
  CHECK(logins(kWeb, false) == "none");
  CHECK(logins(kFork, std::nullopt) == "none");
  CHECK(logins(kFork, true) == "withheld: builds of forks get no login of Docker's files");
}

TEST_CASE("I6 bindings come first, and Docker's files do not widen what they narrow") {
  Fixture f;
  f.write("docker/config.json", R"({"auths":{"r.test":{"auth":"Ym9iOnB3"},"other.test":{"auth":"Ym9iOnB3"}}})");
  const Variable docker("DOCKER_CONFIG", (f.dir.path() / "docker").c_str());
  const Variable auth_file("REGISTRY_AUTH_FILE", nullptr);
  const Variable token("CLEANROOM_T", nullptr);
  const Variable value("T_OF_TEST", "t0ken");
  const auto bindings =
      f.bindings({"id: a, host: r.test, paths: [acme/web], methods: [registry-pull], username: amy, "
                  "source: {env: T_OF_TEST}",
                  "id: b, host: broken.test, paths: ['**'], methods: [registry-pull], username: amy, "
                  "source: {env: UNSET_OF_TEST}"});
  const auto logins = operator_logins(bindings, kLocal, {});
  CHECK(show(*logins, "r.test") == "binding 'a': basic amy:t0ken");
  CHECK(show(*logins, "r.test", "acme/secret") == "withheld: binding 'a' does not name this repository");
  CHECK(has(show(*logins, "other.test"), "basic bob:pw"));
  CHECK(has(show(*logins, "broken.test"), "!cannot use credential 'b' (env)"));
}

TEST_CASE("the examples of docs/images.md are valid") {
  std::ifstream docs(fs::path(CLEANROOM_SOURCE_DIR) / "docs/images.md");
  const std::string text(std::istreambuf_iterator<char>(docs), {});
  std::size_t bindings = 0;
  std::size_t registries = 0;
  for (auto at = text.find("```yaml\n"); at != std::string::npos; at = text.find("```yaml\n", at + 1)) {
    const auto from = at + 8;
    const auto example = text.substr(from, text.find("```", from) - from);
    CAPTURE(example);
    Fixture f;
    if (example.starts_with("bindings:")) bindings += f.load(example)->entries.size();
    if (!example.starts_with("registries:")) continue;
    f.write("etc/config.yaml", example);
    const auto config = policy::load_operator_config(f.paths);
    if (!config) FAIL(config.error().message);
    registries += config->registries.size();
  }
  CHECK(bindings == 1);
  CHECK(registries == 3);
}
