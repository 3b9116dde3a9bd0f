// WWW-Authenticate: the grammar of RFC 9110 section 11, what registries send, and what a hostile one could.
#include "src/registry/challenges.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::registry;

namespace {

// "basic", "bearer realm|service|scope|error", both joined by " + ", "nothing", or "malformed".
std::string read(const std::vector<std::string_view>& values) {
  const auto parsed = parse_challenges(values);
  if (!parsed) {
    CHECK(parsed.error().code == base::Code::invalid_input);
    CHECK(parsed.error().message.find("canary") == std::string::npos);
    return "malformed";
  }
  std::string out;
  if (parsed->basic) out = "basic";
  if (const auto& b = parsed->bearer) {
    out += out.empty() ? "" : " + ";
    out += fmt::format("bearer {}|{}|{}|{}", b->realm, b->service, b->scope, b->error);
  }
  return out.empty() ? "nothing" : out;
}

std::string repeated(std::string_view text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i)
    out += text;
  return out;
}

}  // namespace

TEST_CASE("challenges as registries send them") {
  CHECK(read({R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io")"}) ==
        "bearer https://auth.docker.io/token|registry.docker.io||");
  CHECK(read({R"(Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:acme/web:pull")"}) ==
        "bearer https://ghcr.io/token|ghcr.io|repository:acme/web:pull|");
  CHECK(read({R"(Bearer realm="https://r.test/t",service="r",scope="repository:a:pull",error="invalid_token")"}) ==
        "bearer https://r.test/t|r|repository:a:pull|invalid_token");
  CHECK(read({R"(Basic realm="Registry Realm")"}) == "basic");
  CHECK(read({R"(BASIC realm="Sonatype Nexus Repository Manager")"}) == "basic");
  CHECK(read({R"(Basic realm="https://1.dkr.ecr.test/",service="ecr.test")"}) == "basic");
  CHECK(read({R"(Basic realm="a", charset="UTF-8")"}) == "basic");
  CHECK(read({"Basic"}) == "basic");
  CHECK(read({}) == "nothing");
  CHECK(read({""}) == "nothing");
}

TEST_CASE("several challenges, in one line and in many, in any case and order") {
  const char* const want = "basic + bearer https://a.test/t|s||";
  CHECK(read({R"(Basic realm="x", Bearer realm="https://a.test/t", service=s)"}) == want);
  CHECK(read({R"(Bearer realm="https://a.test/t", service=s, Basic realm="x")"}) == want);
  CHECK(read({R"(Bearer realm="https://a.test/t", service=s)", "Basic"}) == want);
  CHECK(read({"Basic, bEaReR SERVICE=s, REALM=\"https://a.test/t\""}) == want);
  CHECK(read({" ,, Negotiate ,\tNegotiate YIIB+/.~_-== , NTLM, Digest realm=\"a, Basic b\", qop=\"auth\", basic ,,",
              "Bearer , realm = \"https://a.test/t\" ,, service\t=\ts ,"}) == want);
  CHECK(read({"Negotiate abc=, Basic a=b"}) == "basic");
  CHECK(read({"Digest realm=\"a, Basic realm=b\""}) == "nothing");
  // A token68, whatever it looks like: no realm.
  for (const char* text : {"Bearer realm", "Bearer realm=", "Bearer realm=,", "Bearer realm== ,"}) {
    CAPTURE(std::string(text));
    CHECK(read({text}) == "nothing");
  }
  // The first that has a realm counts, and a realm does not wander from one challenge to the next.
  CHECK(read({"Bearer service=\"x\", Bearer realm=\"https://a.test/t\", Bearer realm=\"https://b.test/t\""}) ==
        "bearer https://a.test/t|||");
  CHECK(read({"Bearer error=\"invalid_token\"", "Basic realm=\"https://b.test/t\""}) == "basic");
}

TEST_CASE("quoted texts: escapes are undone, commas and equals signs stay") {
  CHECK(read({R"(Bearer realm="https://a.test/\"t\\\x",service="a,b=c \"d\"")"}) ==
        R"(bearer https://a.test/"t\x|a,b=c "d"||)");
  CHECK(read({R"(Bearer realm="x", title="\,Basic", service="")"}) == "bearer x|||");
  CHECK(read({"Digest realm=\"caf\xc3\xa9\", Basic"}) == "basic");
}

TEST_CASE("what is outside the grammar is refused whole, and quoted nowhere") {
  for (const char* text : {"=",
                           "\"",
                           "realm=\"canary\"",
                           ", realm=canary",
                           "Bearer realm canary=x",
                           "Bearer realm=\"canary",
                           "Bearer realm=\"canary\\",
                           "Bearer realm=\"canary\\\"",
                           "Bearer realm=\"a\"service=\"canary\"",
                           "Bearer realm=\"a\" service=\"canary\"",
                           "Bearer realm=\"a\" Basic",
                           "Bearer realm=https://canary.test/token",
                           "Bearer realm=\"a\", realm=\"canary\"",
                           "Bearer realm=\"a\", REALM=\"canary\"",
                           "Bearer=",
                           "Bearer/x canary",
                           "Bearer\"canary\"",
                           "Basic abc, realm=\"canary\"",
                           "Basic abc canary",
                           "Basic ab=c=d",
                           "Bearer realm=\"can\r\nary\"",
                           "Bearer realm=\"can\x01"
                           "ary\"",
                           "Bearer realm=\"can\x7f"
                           "ary\"",
                           "Bearer realm=\"caf\xc3\xa9\"",
                           "Bearer realm=\"a\tb\"",
                           "Bearer realm=\"a\", scope=\"\xff\"",
                           "Bearer\x0brealm=a",
                           "Basic realm=a;b",
                           "{canary}",
                           "\xef\xbb\xbf"
                           "Basic",
                           "Basic\n",
                           "Basic realm='a b'"}) {
    CAPTURE(std::string(text));
    CHECK(read({text}) == "malformed");
  }
  using namespace std::string_view_literals;
  CHECK(read({"Bearer realm=\"a\0b\""sv}) == "malformed");
  CHECK(read({"Basic", "Bearer realm=\"canary"}) == "malformed");
}

TEST_CASE("what follows a line belongs to that line alone") {
  CHECK(read({"Bearer", "realm=\"https://a.test/t\""}) == "malformed");
  CHECK(read({"Bearer realm=\"https://a.test", "t\""}) == "malformed");
}

TEST_CASE("GTW-15 lengths and counts have limits, and just within them all is well") {
  const std::string most = "Bearer realm=\"" + std::string(kMaxChallengeBytes - 15, 'r') + "\"";
  REQUIRE(most.size() == kMaxChallengeBytes);
  CHECK(read({most}).size() == kMaxChallengeBytes - 15 + 7 + 3);
  CHECK(read({most + " "}) == "malformed");
  CHECK(read({most, ","}) == "malformed");
  CHECK(read({repeated("Basic,", kMaxChallenges)}) == "basic");
  CHECK(read({repeated("Basic,", kMaxChallenges + 1)}) == "malformed");
  CHECK(read(std::vector<std::string_view>(kMaxChallenges + 1, "Basic")) == "malformed");
  std::string parameters;
  for (std::size_t i = 0; i < kMaxChallengeParameters; ++i)
    parameters += fmt::format("p{}=x,", i);
  CHECK(read({"Basic " + parameters}) == "basic");
  CHECK(read({"Basic " + parameters + "q=x"}) == "malformed");
  CHECK(read({std::string(kMaxChallengeBytes, ',')}) == "nothing");
}
