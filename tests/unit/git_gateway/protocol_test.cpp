// The pure parts of the git gateway: routes, repositories, pkt-lines, and what an advertisement may say.
#include "src/git_gateway/advertisement_filter.h"
#include "src/git_gateway/git_request.h"
#include "src/git_gateway/pkt_line.h"

#include <doctest/doctest.h>

using namespace cleanroom::git_gateway;  // NOLINT(google-build-using-namespace): a test
namespace gateway = cleanroom::gateway;

namespace {

struct Parsed {
  std::string reason;
  std::optional<GitRequest> request;
};

Parsed parse(std::string_view method, std::string_view target) {
  const auto path = gateway::parse_request_path(target);
  if (!path) return {path.error().reason, std::nullopt};
  auto request = parse_git_request(method, *path);
  if (!request) return {request.error().reason, std::nullopt};
  return {"", std::move(*request)};
}

constexpr std::string_view kRefs = "/info/refs?service=git-upload-pack";

std::string filtered(std::string_view input, std::size_t step) {
  AdvertisementFilter filter;
  std::string out;
  for (std::size_t at = 0; at < input.size(); at += step)
    REQUIRE(filter.feed(input.substr(at, step), out));
  REQUIRE(filter.finish());
  return out;
}

}  // namespace

TEST_CASE("GIT-01: the routes of smart HTTP and LFS downloads, and no others") {
  const auto refs = parse("GET", "/git/github.com/acme/web/info/refs?service=git-upload-pack");
  REQUIRE(refs.request);
  CHECK(refs.request->route == GitRoute::advertisement);
  CHECK_FALSE(refs.request->push);
  CHECK(refs.request->host.text() == "github.com");
  CHECK(refs.request->repository == "acme/web");
  CHECK(refs.request->repository_path() == "/acme/web");
  // content-cache b7e5fee: with and without .git are one repository, and upstream sees what was asked.
  const auto dotted = parse("POST", "/git/github.com/acme/web.git/git-upload-pack");
  REQUIRE(dotted.request);
  CHECK(dotted.request->route == GitRoute::pack);
  CHECK(dotted.request->repository == "acme/web");
  CHECK(dotted.request->repository_path() == "/acme/web.git");
  const auto push = parse("GET", "/git/github.com/acme/web/info/refs?service=git-receive-pack");
  REQUIRE(push.request);
  CHECK(push.request->push);
  CHECK(parse("POST", "/git/github.com/acme/web/git-receive-pack").request->push);
  CHECK(parse("POST", "/git/github.com/acme/web.git/info/lfs/objects/batch").request->route == GitRoute::lfs_batch);
  const std::string oid(64, 'a');
  CHECK(parse("GET", "/git/github.com/acme/web/info/lfs/objects/" + oid).request->oid == oid);

  for (const auto* target :
       {"/git/github.com/acme/web/info/refs", "/git/github.com/acme/web/info/refs?service=git-upload-archive",
        "/git/github.com/acme/web/info/refs?service=git-upload-pack&service=git-receive-pack",
        "/git/github.com/acme/web/info/refs?service=git-upload-pack&x=1",
        "/git/github.com/acme/web/info/refs?Service=git-upload-pack",
        "/git/github.com/acme/web/info/refs?service=GIT-RECEIVE-PACK", "/git/github.com/acme/web/HEAD",
        "/git/github.com/acme/web/objects/info/packs", "/git/github.com/acme/web/objects/ab/cdef",
        "/git/github.com/acme/web/info/alternates", "/git/github.com/acme/web/info/http-alternates",
        "/git/github.com/acme/web/info/lfs/locks/verify", "/git/github.com/acme/web/git-upload-pack", "/git/github.com",
        "/git/github.com/acme"}) {
    CAPTURE(target);
    CHECK(parse("GET", target).reason == "gateway_route_unknown");
  }
  for (const auto* target :
       {"/git/github.com/acme/web/info/refs?service=git-upload-pack", "/git/github.com/acme/web/git-upload-pack?x=1",
        "/git/github.com/acme/web/GIT-RECEIVE-PACK", "/git/github.com/acme/web/info/lfs/objects"}) {
    CAPTURE(target);
    CHECK(parse("POST", target).reason == "gateway_route_unknown");
  }
  CHECK(parse("PUT", "/git/github.com/acme/web/git-receive-pack").reason == "gateway_route_unknown");
}

TEST_CASE("GTW-01: a path that two readers could see differently is refused before routing") {
  for (const auto* path : {"/git/github.com/acme/../web",
                           "/git/github.com/acme/%2e%2e/web",
                           "/git/github.com/acme/%252e%252e/web",
                           "/git/github.com/acme/..;/web",
                           "/git/github.com/acme//web",
                           "/git/github.com//acme/web",
                           "/git/github.com/acme\\web",
                           "/git/github.com/acme%5cweb",
                           "/git/github.com/acme%2fweb",
                           "/git/github.com/acme/web%00",
                           "/git/github.com/acme/%c0%ae%c0%ae/web",
                           "/git/../registry/acme/web",
                           "/git/github.com/acme/./web",
                           "/git/github.com/acme/web%0d%0aX: y",
                           "/git/github.com/acme/we%zzb",
                           "/git/github.com/acme/web%2",
                           "git/github.com/acme/web",
                           "/git/github.com/acme/-web",
                           "/git/github.com/acme/..git",
                           "/git/github.com/acme/...git",
                           "/git/github.com/acme/we b",
                           "/git/github.com/acme/web\xc3\xa9",
                           "/git/github.com/acme/web#frag"}) {
    CAPTURE(path);
    const auto parsed = parse("GET", std::string(path) + std::string(kRefs));
    CHECK(parsed.reason == "gateway_request_invalid");
  }
}

TEST_CASE("GTW-02: the host of a path is canonical, or refused") {
  for (const auto* host :
       {"u@evil.test", "h.test:8443", "h%2f..%2fevil", "evil%23.h", "h..test", "a b", "%5b::1%5d:80"}) {
    CAPTURE(host);
    const auto parsed = parse("GET", "/git/" + std::string(host) + "/acme/web" + std::string(kRefs));
    CHECK((parsed.reason == "invalid_host" || parsed.reason == "gateway_request_invalid"));
  }
  CHECK(parse("GET", "/git/GitHub.COM./acme/web" + std::string(kRefs)).request->host.text() == "github.com");
  CHECK(parse("GET", "/git/127.1/acme/web" + std::string(kRefs)).request->host.text() == "127.0.0.1");
}

TEST_CASE("GIT-03 one end .git is a spelling, two are another repository, which is refused") {
  CHECK(parse("GET", "/git/github.com/acme/web.git" + std::string(kRefs)).request->repository == "acme/web");
  CHECK(parse("GET", "/git/github.com/acme/web.git.git" + std::string(kRefs)).reason == "gateway_request_invalid");
}

TEST_CASE("the case of a repository's name counts") {
  CHECK(parse("GET", "/git/github.com/ORG/A" + std::string(kRefs)).request->repository == "ORG/A");
}

TEST_CASE("an accepted path has one spelling (F4's property)") {
  const auto path = gateway::parse_request_path("/git/github.com/%61cme/we%62");
  REQUIRE(path);
  CHECK(path->text() == "/git/github.com/acme/web");
  const auto again = gateway::parse_request_path(path->text());
  REQUIRE(again);
  CHECK(again->text() == path->text());
}

TEST_CASE("pkt-lines: lengths, special packets, partial input") {
  CHECK_FALSE(first_packet("")->has_value());
  CHECK_FALSE(first_packet("000")->has_value());
  CHECK_FALSE(first_packet("0009hel")->has_value());
  CHECK((*first_packet("0009helloREST"))->payload == "hello");
  CHECK((*first_packet("0000"))->kind == Packet::Kind::flush);
  CHECK((*first_packet("0001"))->kind == Packet::Kind::delimiter);
  CHECK((*first_packet("0002"))->kind == Packet::Kind::response_end);
  for (const auto* bad : {"0003", "zzzz", "+004", "fff1", " 004", "-001", "<htm"}) {
    CAPTURE(bad);
    CHECK_FALSE(first_packet(bad));
  }
  CHECK(data_packet("version 2\n") == "000eversion 2\n");
}

TEST_CASE("an advertisement of v2 loses what would lead to other hosts, at every segmentation") {
  const std::string input = data_packet("# service=git-upload-pack\n") + "0000" + data_packet("version 2\n") +
                            data_packet("agent=git/2.44\n") + data_packet("ls-refs=unborn\n") +
                            data_packet("fetch=shallow wait-for-done filter packfile-uris\n") +
                            data_packet("bundle-uri\n") + data_packet("object-format=sha1\n") + "0000";
  const std::string expected = data_packet("# service=git-upload-pack\n") + "0000" + data_packet("version 2\n") +
                               data_packet("agent=git/2.44\n") + data_packet("ls-refs=unborn\n") +
                               data_packet("fetch=shallow wait-for-done filter\n") +
                               data_packet("object-format=sha1\n") + "0000";
  for (std::size_t step = 1; step <= input.size(); ++step)
    CHECK(filtered(input, step) == expected);
}

TEST_CASE("an advertisement that git could read in another way than we do is refused") {
  using std::string_literals::operator""s;
  const std::string service = data_packet("# service=git-upload-pack\n");
  const std::string v2 = data_packet("version 2\n");
  for (const auto& bad :
       {service + data_packet("skipped by git\n") + "0000" + v2 + data_packet("bundle-uri\n"), service + "0004" + v2,
        "0000" + v2, service + "0000" + data_packet("version 2\0x"s), v2 + data_packet("bundle-uri\0x"s),
        v2 + data_packet("fetch=shallow\tpackfile-uris"), v2 + data_packet("fetch=a\npackfile-uris")}) {
    CAPTURE(bad);
    AdvertisementFilter filter;
    std::string out;
    const auto fed = filter.feed(bad, out);
    REQUIRE_FALSE(fed);
    CHECK(fed.error().reason == "upstream_invalid");
  }
  CHECK(filtered(v2 + data_packet("fetch=packfile-uris=x filter") + "0000", 1) ==
        v2 + data_packet("fetch=filter") + "0000");
}

TEST_CASE("an advertisement of v0 passes as it is, whatever it is made of") {
  std::string input = data_packet("# service=git-upload-pack\n") + "0000" +
                      data_packet(std::string(40, 'a') + " HEAD" + std::string(1, '\0') + "multi_ack thin-pack\n");
  for (int i = 0; i < 2000; ++i)
    input += data_packet(std::string(40, 'b') + " refs/heads/branch-" + std::to_string(i) + "\n");
  input += "0000";
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, input.size()})
    CHECK(filtered(input, step) == input);
}

TEST_CASE("an advertisement that is cut short, or none, is an error") {
  const std::string start = data_packet("# service=git-upload-pack\n") + "0000" + data_packet("version 2\n");
  std::string out;
  AdvertisementFilter cut;
  REQUIRE(cut.feed(start + "000eagent", out));
  CHECK_FALSE(cut.finish());
  AdvertisementFilter html;
  CHECK_FALSE(html.feed("<html>login</html>", out));
  AdvertisementFilter nothing;
  CHECK_FALSE(nothing.finish());
}
