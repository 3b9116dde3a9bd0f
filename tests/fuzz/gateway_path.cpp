// F4. A request target that is accepted has one spelling: written down again and parsed it is the same, and no segment
// of it is empty, `.`, `..` or has a slash in it. What git's router accepts leads back to the same request when the
// path that goes upstream is parsed, and names a repository whose every part is a name.
#include "src/gateway/request_path.h"
#include "src/git_gateway/git_request.h"
#include "tests/fuzz/support.h"

#include <algorithm>

using namespace cleanroom;
using git_gateway::GitRequest;
using git_gateway::GitRoute;

namespace {

bool is_relative(std::string_view segment) {
  return segment.empty() || segment == "." || segment == "..";
}

void check_path(const gateway::RequestPath& path) {
  std::string encoded;
  for (const auto& segment : path.segments) {
    FUZZ_CHECK(!is_relative(segment));
    FUZZ_CHECK(std::none_of(segment.begin(), segment.end(), [](char c) {
      return c <= 0x20 || c == 0x7f || std::string_view("/\\%;?#").find(c) != std::string_view::npos;
    }));
    encoded += "/" + gateway::encode_segment(segment);
  }
  const auto again = gateway::parse_request_path(encoded);
  FUZZ_CHECK(again && again->segments == path.segments && again->query.empty());
  const auto plain = gateway::parse_request_path(path.text());
  FUZZ_CHECK(!plain || plain->segments == path.segments);
}

std::string route_of(const GitRequest& request) {
  switch (request.route) {
    case GitRoute::advertisement:
      return request.push ? "/info/refs?service=git-receive-pack" : "/info/refs?service=git-upload-pack";
    case GitRoute::pack:
      return request.push ? "/git-receive-pack" : "/git-upload-pack";
    case GitRoute::lfs_batch:
      return "/info/lfs/objects/batch";
    case GitRoute::lfs_object:
      return "/info/lfs/objects/" + request.oid;
  }
  return "";
}

void check_git(std::string_view method, const gateway::RequestPath& path) {
  const auto request = git_gateway::parse_git_request(method, path);
  if (!request) return;
  std::string_view rest = request->repository;
  for (;;) {
    const auto segment = rest.substr(0, rest.find('/'));
    FUZZ_CHECK(!is_relative(segment) && !segment.starts_with('-'));
    if (segment.size() == rest.size()) break;
    rest.remove_prefix(segment.size() + 1);
  }
  const auto rebuilt = "/git/" + request->host.text() + request->repository_path() + route_of(*request);
  const auto again_path = gateway::parse_request_path(rebuilt);
  FUZZ_CHECK(again_path);
  const auto again = git_gateway::parse_git_request(method, *again_path);
  FUZZ_CHECK(again && again->route == request->route && again->push == request->push && again->host == request->host);
  FUZZ_CHECK(again->repository == request->repository && again->dot_git == request->dot_git &&
             again->oid == request->oid);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = gateway::parse_request_path(fuzz::as_text(data, size));
  if (!path) return 0;
  check_path(*path);
  for (const auto* method : {"GET", "POST"})
    check_git(method, *path);
  return 0;
}
