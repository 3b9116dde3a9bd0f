#include "src/git_gateway/git_request.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <array>

namespace cleanroom::git_gateway {

using base::Result;

namespace {

constexpr std::string_view kReceivePack = "git-receive-pack";
constexpr std::size_t kMaxRepositorySegments = 8;

base::Failure unknown_route() {
  return base::fail(base::Code::policy_denied, "gateway_route_unknown",
                    "the gateway serves git's smart HTTP and LFS downloads only");
}

base::Failure invalid(std::string message) {
  return base::fail(base::Code::invalid_input, "gateway_request_invalid", std::move(message));
}

// Removes `tail` from the end of `segments` when it stands there.
template <std::size_t N>
bool take_tail(std::vector<std::string>& segments, const std::array<std::string_view, N>& tail) {
  if (segments.size() < N) return false;
  if (!std::equal(tail.begin(), tail.end(), segments.end() - static_cast<std::ptrdiff_t>(N))) return false;
  segments.resize(segments.size() - N);
  return true;
}

Result<void> read_service(const gateway::RequestPath& path, GitRequest& request) {
  // One parameter, as git sends it: a second one is another server's business.
  if (path.query.size() != 1 || path.query[0].first != "service") return unknown_route();
  if (path.query[0].second != kUploadPack && path.query[0].second != kReceivePack) return unknown_route();
  request.push = path.query[0].second == kReceivePack;
  return {};
}

// Finds the route from the end of the path; what is left of `rest` is the repository.
Result<void> read_route(std::string_view method, const gateway::RequestPath& path, std::vector<std::string>& rest,
                        GitRequest& request) {
  using std::string_view_literals::operator""sv;
  const bool get = method == "GET";
  const bool post = method == "POST";
  if (get && take_tail(rest, std::array{"info"sv, "refs"sv})) return read_service(path, request);
  if (!path.query.empty()) return unknown_route();
  if (post && (take_tail(rest, std::array{kUploadPack}))) {
    request.route = GitRoute::pack;
    return {};
  }
  if (post && (take_tail(rest, std::array{kReceivePack}))) {
    request.route = GitRoute::pack;
    request.push = true;
    return {};
  }
  if (post && take_tail(rest, std::array{"info"sv, "lfs"sv, "objects"sv, "batch"sv})) {
    request.route = GitRoute::lfs_batch;
    return {};
  }
  if (get && !rest.empty() && is_lfs_oid(rest.back())) {
    request.route = GitRoute::lfs_object;
    request.oid = rest.back();
    rest.pop_back();
    if (take_tail(rest, std::array{"info"sv, "lfs"sv, "objects"sv})) return {};
  }
  return unknown_route();
}

bool is_name(std::string_view segment) {
  // `...git` was a name in the path, and is none without its end.
  if (segment.empty() || segment == "." || segment == ".." || segment.front() == '-') return false;
  return std::all_of(segment.begin(), segment.end(), [](char c) {
    return base::is_ascii_alnum(c) || std::string_view("._-+~").find(c) != std::string_view::npos;
  });
}

Result<void> read_repository(std::vector<std::string> segments, GitRequest& request) {
  if (segments.empty() || segments.size() > kMaxRepositorySegments)
    return invalid("the request names no repository that could be one");
  if (segments.back().size() > kDotGit.size() && segments.back().ends_with(kDotGit)) {
    request.dot_git = true;
    segments.back().resize(segments.back().size() - kDotGit.size());
  }
  // Two readers would each take one off: one of them decides about a credential.
  if (segments.back().ends_with(kDotGit)) return invalid("the request names no repository that could be one");
  for (const auto& segment : segments) {
    if (!is_name(segment)) return invalid("the request names no repository that could be one");
    request.repository += (request.repository.empty() ? "" : "/") + segment;
  }
  return {};
}

}  // namespace

bool is_lfs_oid(std::string_view text) {
  constexpr std::size_t kSha256Digits = 64;
  return text.size() == kSha256Digits && std::all_of(text.begin(), text.end(), base::is_ascii_lower_hex);
}

std::string GitRequest::repository_path() const {
  return "/" + repository + (dot_git ? std::string(kDotGit) : "");
}

Result<GitRequest> parse_git_request(std::string_view method, const gateway::RequestPath& path) {
  if (path.segments.size() < 3) return unknown_route();
  CR_ASSIGN(auto host, model::HostName::parse_wire(path.segments[1]));
  GitRequest request{.host = std::move(host)};
  std::vector<std::string> rest(path.segments.begin() + 2, path.segments.end());
  CR_TRY(read_route(method, path, rest, request));
  CR_TRY(read_repository(std::move(rest), request));
  return request;
}

}  // namespace cleanroom::git_gateway
