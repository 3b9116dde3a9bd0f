#include "src/registry/local_engine.h"

#include "src/base/net/http_client.h"
#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/image/image_error.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cstdlib>

namespace cleanroom::registry {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::chrono::minutes kEngineTimeLimit{10};
constexpr const char* kDockerSocket = "/var/run/docker.sock";

Result<void> check_name(const std::string& name) {
  const bool plain =
      !name.empty() && name.size() <= 512 && name.front() != '-' &&
      std::all_of(name.begin(), name.end(),
                  [](char c) {
                    return base::is_ascii_alnum(c) || std::string_view("._:/@-").find(c) != std::string_view::npos;
                  }) &&
      name.find("..") == std::string::npos;
  if (plain) return {};
  return fail(Code::invalid_input, "image_ref_invalid",
              fmt::format("'{}' is not the name of an image", image::shown(name)));
}

base::Failure no_image(std::string_view engine, const std::string& name, std::string_view why) {
  return fail(
      base::Error(Code::not_found, "image_not_found", fmt::format("{} has no image '{}': {}", engine, name, why))
          .with_hint(fmt::format("{} images shows what it has", engine)));
}

class FileSink final : public base::HttpSink {
 public:
  FileSink(const base::Fd& file, std::uint64_t limit) : file_(file), left_(limit) {}
  Result<void> head(const base::HttpResponse& response) override {
    answered_ = true;
    wanted_ = response.status == 200;
    return {};
  }
  bool answered() const { return answered_; }
  Result<void> body(std::span<const std::byte> bytes) override {
    if (!wanted_) return {};
    if (bytes.size() > left_) return image::image_limit("the engine's image is larger than the limit");
    left_ -= bytes.size();
    return base::write_all(file_, bytes);
  }

 private:
  const base::Fd& file_;
  std::uint64_t left_;
  bool answered_ = false;
  bool wanted_ = false;
};

Result<std::filesystem::path> docker_socket() {
  const char* host = std::getenv("DOCKER_HOST");
  if (!host || !*host) return std::filesystem::path(kDockerSocket);
  constexpr std::string_view kUnix = "unix://";
  const std::string_view text = host;
  if (text.starts_with(kUnix) && text.substr(kUnix.size()).starts_with('/'))
    return std::filesystem::path(text.substr(kUnix.size()));
  return fail(Code::unsupported, "image_not_found",
              "cannot ask Docker: DOCKER_HOST is not a Unix socket, and an image of another host is that host's");
}

}  // namespace

Result<image::ImageSource> open_docker_image(const std::string& name, const std::filesystem::path& spool,
                                             const image::Limits& limits, const std::stop_token& stop) {
  CR_TRY(check_name(name));
  CR_ASSIGN(base::Fd archive, base::open_file(spool, O_TMPFILE | O_RDWR, 0600));
  base::HttpRequest request{.url = fmt::format("http://localhost/images/{}/get", name),
                            .deadline = base::deadline_in(kEngineTimeLimit),
                            .stop = stop};
  CR_ASSIGN(request.unix_socket, docker_socket());
  request.stall_timeout = kEngineTimeLimit;  // the engine packs before it sends
  FileSink sink(archive, limits.expanded_bytes);
  base::HttpClient client;
  auto response = client.perform(request, &sink);
  if (!response && response.error().code == Code::unavailable && !sink.answered())
    return no_image("docker", name, fmt::format("there is no engine at {}", request.unix_socket.native()));
  if (!response) {
    if (response.error().reason.empty()) response.error().reason = "image_pull_failed";
    return fail(std::move(response.error()).with_context(fmt::format("cannot have '{}' of docker", name)));
  }
  if (response->status == 404) return no_image("docker", name, "it does not know it");
  if (response->status != 200)
    return fail(Code::unavailable, "image_pull_failed",
                fmt::format("docker answers {} for '{}'", response->status, name));
  return image::ImageSource::from_docker_archive(std::move(archive), {}, limits);
}

Result<image::ImageSource> open_podman_image(const std::string& name, const std::filesystem::path& spool,
                                             const image::Limits& limits, const std::stop_token& stop) {
  CR_TRY(check_name(name));
  CR_ASSIGN(base::Fd archive, base::open_file(spool, O_TMPFILE | O_RDWR, 0600));
  auto program = base::find_program("podman");
  if (!program) return no_image("podman", name, "there is no podman in PATH");
  CR_ASSIGN(base::PipeEnds errors, base::make_pipe());
  base::SpawnOptions options{.argv = {program->native(), "save", "--quiet", "--format", "docker-archive", name}};
  for (const char* variable : {"HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "TMPDIR",
                               "CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"}) {
    if (const char* value = std::getenv(variable)) options.environment.push_back(fmt::format("{}={}", variable, value));
  }
  options.fds = {{1, &archive}, {2, &errors.write}};
  CR_ASSIGN(auto process, base::Process::spawn(options));
  errors.write = {};
  std::string said;
  const base::Deadline deadline = base::deadline_in(kEngineTimeLimit);
  for (std::array<std::byte, 4096> part{};;) {
    pollfd ready{errors.read.get(), POLLIN, 0};
    if (stop.stop_requested()) return fail(Code::cancelled, "cancelled", "the pull was cancelled");
    if (base::time_left(deadline).count() == 0)
      return fail(Code::timeout, "image_pull_failed", "podman save took longer than ten minutes");
    if (::poll(&ready, 1, 200) <= 0) continue;
    CR_ASSIGN(const std::size_t n, base::read_some(errors.read, part));
    if (n == 0) break;
    if (said.size() < 4096) said += base::as_text(std::span(part).first(n));
  }
  CR_ASSIGN(const base::ExitStatus status, process.wait(deadline));
  if (!status.success()) {
    while (said.ends_with('\n'))
      said.pop_back();
    return no_image("podman", name, fmt::format("podman save: {} ({})", image::shown(said), base::to_string(status)));
  }
  return image::ImageSource::from_docker_archive(std::move(archive), {}, limits);
}

}  // namespace cleanroom::registry
