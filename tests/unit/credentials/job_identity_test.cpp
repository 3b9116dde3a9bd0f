#include "src/credentials/job_identity.h"

#include <doctest/doctest.h>

using namespace cleanroom::credentials;

namespace {

Environment job(std::string_view pull_request, std::string_view their_repository,
                std::string_view repository = "git@github.com:acme/web.git") {
  return {{"BUILDKITE", "true"},
          {"BUILDKITE_ORGANIZATION_SLUG", "acme"},
          {"BUILDKITE_PIPELINE_SLUG", "web"},
          {"BUILDKITE_BRANCH", "main"},
          {"BUILDKITE_REPO", std::string(repository)},
          {"BUILDKITE_PULL_REQUEST", std::string(pull_request)},
          {"BUILDKITE_PULL_REQUEST_REPO", std::string(their_repository)}};
}

}  // namespace

TEST_CASE("the spellings of one repository are one") {
  for (const char* url :
       {"https://github.com/acme/web.git", "https://github.com/acme/web", "https://GitHub.com/acme/web/",
        "https://token@github.com:443/acme/web.git", "http://github.com/acme/web", "git://github.com/acme/web.git",
        "ssh://git@github.com/acme/web.git", "ssh://git@github.com:22/acme/web", "git@github.com:acme/web.git",
        "github.com:acme/web", "git@GITHUB.com:/acme/web.git"}) {
    CAPTURE(std::string(url));
    CHECK(canonical_repository(url) == "github.com/acme/web");
  }
  CHECK(canonical_repository("https://github.com/ACME/web") == "github.com/ACME/web");
  CHECK(canonical_repository("ssh://git@git.test:2222/acme/web") == "git.test:2222/acme/web");
  for (const char* url : {"", "acme/web", "/srv/git/web", "./web:x", "file:///srv/web", "https://github.com",
                          "https://github.com/", "https://github.com/acme/../evil/web", "https://github.com/acme%2fweb",
                          "https://github.com//acme//web", "https:///acme/web", "git@github.com:acme/web?x"}) {
    CAPTURE(std::string(url));
    CHECK_FALSE(canonical_repository(url));
  }
}

TEST_CASE("GIT-03 a build is a fork's unless the agent's variables rule it out") {
  struct Case {
    Environment environment;
    bool fork;
  };
  auto unset = job("false", "");
  unset.erase("BUILDKITE_PULL_REQUEST");
  auto prefixed = job("false", "");
  prefixed["BUILDKITE_BRANCH"] = "mallory:main";
  const Case cases[] = {
      {job("false", ""), false},
      {job("7", "git://github.com/acme/web.git"), false},
      {job("7", "https://GITHUB.com/acme/web"), false},
      {job("7", "git://github.com/mallory/web.git"), true},
      {job("7", "git://github.com/ACME/web.git"), true},
      {job("7", "git://github.com.evil.test/acme/web.git"), true},
      {job("7", ""), true},
      {job("7", "nonsense"), true},
      {job("7", "nonsense", "nonsense"), true},
      {job("", ""), true},
      {job("true", ""), true},
      {job("false", "git://github.com/mallory/web.git"), true},
      {unset, true},
      {prefixed, true},
  };
  for (const auto& item : cases) {
    CAPTURE(item.environment.at("BUILDKITE_PULL_REQUEST_REPO"));
    CHECK(job_identity(item.environment).fork == item.fork);
  }
}

TEST_CASE("a job's pipeline and branch; a tag is no branch; a job does not pass for a local run") {
  auto environment = job("false", "");
  CHECK(job_identity(environment).pipeline == "acme/web");
  CHECK(job_identity(environment).branch == "main");
  environment["BUILDKITE_TAG"] = "main";
  CHECK(job_identity(environment).branch.empty());
  environment["BUILDKITE_PIPELINE_SLUG"] = "a/b";
  CHECK(job_identity(environment).pipeline == "unknown");
  CHECK(job_identity({{"BUILDKITE_JOB_ID", "x"}}).pipeline == "unknown");
  CHECK(job_identity({{"BUILDKITE_JOB_ID", "x"}}).fork);
  const auto local = job_identity({{"PATH", "/bin"}});
  CHECK(local.pipeline.empty());
  CHECK_FALSE(local.fork);
}
