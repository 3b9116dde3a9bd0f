#include "src/registry/registry_session.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/registry/address_judge.h"
#include "src/registry/trust_record.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/http_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::testing;

namespace {

struct OneLogin final : LoginSource {
  base::Result<std::optional<Login>> find(const std::string&, const std::string&) override {
    ++asked;
    Login login;
    login.from = "the test";
    login.basic = base::Secret("bob:canary");
    return std::optional<Login>(std::move(login));
  }
  int asked = 0;
};

Endpoint endpoint_of(const HttpServer& server) {
  return {.registry = server.authority(), .base_url = server.url(), .insecure = true};
}
RegistrySession::Request manifest() {
  return {.path = "manifests/latest", .headers = {"Accept: a/b"}};
}
template <class T>
std::string verdict(const base::Result<T>& result) {
  return result ? "ok" : result.error().reason;
}
constexpr const char* kKey =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3//BxL95xElfFu1+jIu+g00u2mrC\n"
    "8eSYmN0MGQdqVEt6RNNtddnpFyPiy48QvxIKhKpY01oIb9Eha+a4/hLJBA==\n"
    "-----END PUBLIC KEY-----\n";
constexpr const char* kBobsBasic = "Basic Ym9iOmNhbmFyeQ==";

sockaddr_storage address_of(const std::string& text) {
  sockaddr_storage storage{};
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    std::memcpy(&storage, &v4, sizeof v4);
  } else {
    REQUIRE(::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1);
    v6.sin6_family = AF_INET6;
    std::memcpy(&storage, &v6, sizeof v6);
  }
  return storage;
}

}  // namespace

TEST_SUITE("registry/session") {
  TEST_CASE("a login is asked for once the registry wants one, and then goes along") {
    const HttpServer server([](const HttpAsked& asked, const HttpPeer& peer) {
      return peer.send(asked.header("authorization") == kBobsBasic
                           ? http_answer(200, "manifest")
                           : http_answer(401, "who?", "WWW-Authenticate: Basic realm=\"r\"\r\n"));
    });
    OneLogin logins;
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", &logins, {});
    CHECK(session.get(client, manifest(), nullptr)->body == "manifest");
    CHECK(session.get(client, manifest(), nullptr)->body == "manifest");
    CHECK(logins.asked == 1);
    const auto asked = server.asked();
    REQUIRE(asked.size() == 3);
    CHECK(asked[0].target == "/v2/acme/web/manifests/latest");
    CHECK(asked[0].header("authorization").empty());
    CHECK(asked[0].header("accept") == "a/b");
    RegistrySession nobody(endpoint_of(server), "acme/web", nullptr, {});
    const auto refused = nobody.get(client, manifest(), nullptr);
    CHECK(verdict(refused) == "image_access_denied");
    CHECK(refused.error().describe().find("without a login") != std::string::npos);
  }

  TEST_CASE("IMG-19 the login stays with the registry when it redirects elsewhere") {
    const HttpServer other([](const HttpAsked&, const HttpPeer& peer) { return peer.send(http_answer(200, "blob")); });
    const HttpServer server([&](const HttpAsked& asked, const HttpPeer& peer) {
      if (asked.header("authorization").empty())
        return peer.send(http_answer(401, "", "WWW-Authenticate: Basic realm=\"r\"\r\n"));
      if (asked.target == "/here")
        return peer.send(http_answer(302, "", "Location: " + other.url() + "/there?sig=1\r\n"));
      return peer.send(http_answer(307, "moved", "Location: /here\r\n"));
    });
    OneLogin logins;
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", &logins, {});
    const auto answer = session.get(client, manifest(), nullptr);
    REQUIRE_MESSAGE(answer.has_value(), verdict(answer));
    CHECK(answer->body == "blob");
    CHECK(server.asked().back().target == "/here");
    CHECK(server.asked().back().header("authorization") == kBobsBasic);
    REQUIRE(other.asked().size() == 1);
    CHECK(other.asked()[0].target == "/there?sig=1");
    CHECK(other.asked()[0].header("authorization").empty());
  }

  TEST_CASE("redirects that lead nowhere, on and on, or to a URL with two readings are refused") {
    std::string location;
    const HttpServer server([&](const HttpAsked&, const HttpPeer& peer) {
      return peer.send(http_answer(302, "", location.empty() ? "" : "Location: " + location + "\r\n"));
    });
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", nullptr, {});
    for (const std::string& to :
         {std::string(), std::string("//other/x"), std::string("relative"), std::string("ftp://h/x"),
          "http://user@" + server.authority() + "/", "http://h\\@" + server.authority() + "/"}) {
      CAPTURE(to);
      location = to;
      const std::size_t before = server.asked().size();
      CHECK(verdict(session.get(client, manifest(), nullptr)) == "image_pull_failed");
      CHECK(server.asked().size() == before + 1);
    }
    location = "/v2/again";
    const std::size_t before = server.asked().size();
    CHECK(verdict(session.get(client, manifest(), nullptr)) == "image_pull_failed");
    CHECK(server.asked().size() == before + 6);
  }

  TEST_CASE("what statuses mean") {
    int status = 0;
    const HttpServer server(
        [&](const HttpAsked&, const HttpPeer& peer) { return peer.send(http_answer(status, "b")); });
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", nullptr, {});
    for (const auto& [given, meaning] : {std::pair(200, "ok"),
                                         {206, "ok"},
                                         {416, "ok"},
                                         {408, "ok"},
                                         {429, "ok"},
                                         {500, "ok"},
                                         {503, "ok"},
                                         {404, "image_not_found"},
                                         {410, "image_not_found"},
                                         {401, "image_access_denied"},
                                         {403, "image_access_denied"},
                                         {400, "image_pull_failed"},
                                         {501, "image_pull_failed"}}) {
      CAPTURE_BINDING(given);
      status = given;
      CHECK(verdict(session.get(client, manifest(), nullptr)) == meaning);
      CHECK(RegistrySession::is_passing(given) == (given == 408 || given == 429 || given == 500 || given == 503));
    }
  }

  TEST_CASE("what passes is tried again, and an answer that is too large is a limit") {
    std::atomic<int> count{0};
    const HttpServer server([&](const HttpAsked& asked, const HttpPeer& peer) {
      if (asked.target.ends_with("large")) return peer.send(http_answer(200, std::string(101, 'x')));
      return ++count < 3 ? peer.send(http_answer(503)) && false : peer.send(http_answer(200, "at last"));
    });
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", nullptr, {});
    CHECK(session.get_retrying(client, manifest())->body == "at last");
    CHECK(count == 3);
    CHECK(verdict(session.get_retrying(client, {.path = "large", .headers = {}, .max_body = 100})) == "image_limit");
  }

  TEST_CASE("a stop ends a pause, however long the registry wants it") {
    std::stop_source stop;
    const HttpServer server(
        [](const HttpAsked&, const HttpPeer& peer) { return peer.send(http_answer(429, "", "Retry-After: 30\r\n")); });
    base::HttpClient client;
    RegistrySession session(endpoint_of(server), "acme/web", nullptr, stop.get_token());
    const auto begin = base::SteadyClock::now();
    std::thread stopper([&] {
      server.wait_for_asked(1);
      stop.request_stop();
    });
    CHECK(verdict(session.get_retrying(client, manifest())) == "cancelled");
    stopper.join();
    CHECK(base::SteadyClock::now() - begin < std::chrono::seconds(20));
  }

  TEST_CASE("where a Location leads") {
    const std::string base = "https://r.test:5000/v2/a/blobs/x?y";
    for (const auto& [reference, url] : {std::pair("/p?q=1", "https://r.test:5000/p?q=1"),
                                         {"https://o.test/x", "https://o.test/x"},
                                         {"http://o.test", "http://o.test"},
                                         {"//o.test/x", ""},
                                         {"", ""},
                                         {"x/y", ""},
                                         {"?q", ""},
                                         {"HTTPS://o.test/", ""},
                                         {"ftp://o.test/", ""},
                                         {"file:///etc/passwd", ""},
                                         {"/a b", ""},
                                         {"/a\r\nX: y", ""},
                                         {"/\xc3\xa9", ""},
                                         {"/a\x7f", ""},
                                         {"https://o.test/\t", ""}}) {
      CAPTURE_BINDING(reference);
      CHECK(resolve_location(base, reference) == url);
    }
  }
}

TEST_SUITE("registry/endpoint") {
  TEST_CASE("mirrors come first, each with what is configured for it, then the registry") {
    policy::RegistryConfig hub{.host = "docker.io", .mirrors = {"m.test:5000", "n.test"}};
    policy::RegistryConfig mirror{.host = "m.test:5000", .mirrors = {"never.test"}, .insecure = true};
    mirror.token_realm = "auth.test:5001";
    const auto found = endpoints_of("docker.io", {hub, mirror});
    REQUIRE(found.size() == 3);
    CHECK(found[0].registry == "m.test:5000");
    CHECK(found[0].base_url == "http://m.test:5000");
    CHECK(found[0].mirror);
    CHECK(found[0].insecure);
    CHECK(found[0].token_realm == "auth.test:5001");
    CHECK(found[1].base_url == "https://n.test");
    CHECK(found[1].mirror);
    CHECK_FALSE(found[1].insecure);
    CHECK(found[2].registry == "docker.io");
    CHECK(found[2].base_url == "https://registry-1.docker.io");
    CHECK_FALSE(found[2].mirror);
    CHECK(found[2].token_realm.empty());
    const auto alone = endpoints_of("r.test", {hub, mirror});
    REQUIRE(alone.size() == 1);
    CHECK(alone[0].base_url == "https://r.test");
  }
}

TEST_SUITE("registry/address_judge") {
  TEST_CASE("which addresses a registry may send us on to") {
    enum Verdict { nowhere, inside, anywhere };
    for (const auto& [text, verdict] : {std::pair("8.8.8.8", anywhere),
                                        {"2606:4700::1111", anywhere},
                                        {"::ffff:8.8.8.8", anywhere},
                                        {"10.1.2.3", inside},
                                        {"172.16.0.1", inside},
                                        {"172.32.0.1", anywhere},
                                        {"192.168.1.1", inside},
                                        {"100.64.0.1", inside},
                                        {"127.0.0.1", inside},
                                        {"::1", inside},
                                        {"fd12::1", inside},
                                        {"::ffff:10.0.0.1", inside},
                                        {"169.254.169.254", nowhere},
                                        {"169.254.1.1", nowhere},
                                        {"::ffff:169.254.169.254", nowhere},
                                        {"64:ff9b::a9fe:a9fe", nowhere},
                                        {"fd00:ec2::254", nowhere},
                                        {"fe80::1", nowhere},
                                        {"100.100.100.200", nowhere},
                                        {"168.63.129.16", nowhere},
                                        {"0.0.0.0", nowhere},
                                        {"::", nowhere},
                                        {"224.0.0.1", nowhere},
                                        {"255.255.255.255", nowhere},
                                        {"ff02::1", nowhere}}) {
      CAPTURE_BINDING(text);
      const auto storage = address_of(text);
      const auto& address = reinterpret_cast<const sockaddr&>(storage);
      CHECK(is_public_address(address) == (verdict == anywhere));
      CHECK(is_usable_address(address) == (verdict != nowhere));
    }
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    CHECK_FALSE(is_public_address(reinterpret_cast<const sockaddr&>(local)));
    CHECK_FALSE(is_usable_address(reinterpret_cast<const sockaddr&>(local)));
  }
}

TEST_SUITE("registry/trust_record") {
  TEST_CASE("a signature counts for one repository, digest and key alone") {
    const auto directory = base::TempDir::create("/tmp", "cleanroom-trust-");
    const TrustRecord record(directory->path());
    const auto image = [](const std::string& name, char digest) {
      return model::ImageReference::parse(name + "@sha256:" + std::string(64, digest)).value();
    };
    const auto one = base::PublicKey::parse_pem(kKey).value();
    CHECK_FALSE(record.meets(image("r.test/a", 'a'), {"images.verify", {one}}));
    REQUIRE(record.add(image("r.test/a", 'a'), one.fingerprint()).has_value());
    REQUIRE(record.add(image("r.test/a", 'a'), one.fingerprint()).has_value());
    CHECK(record.meets(image("r.test/a", 'a'), {"images.verify", {one}}));
    CHECK(record.meets(image("r.test/a:tag", 'a'), {"images.verify", {one}}));
    CHECK_FALSE(record.meets(image("r.test/a", 'b'), {"images.verify", {one}}));
    CHECK_FALSE(record.meets(image("r.test/b", 'a'), {"images.verify", {one}}));
    CHECK_FALSE(record.meets(image("s.test/a", 'a'), {"images.verify", {one}}));
    CHECK_FALSE(record.meets(image("r.test/a", 'a'), {"images.verify", {}}));
    REQUIRE(record.add(image("r.test/c", 'c'), "another key").has_value());
    CHECK_FALSE(record.meets(image("r.test/c", 'c'), {"images.verify", {one}}));
  }
}
