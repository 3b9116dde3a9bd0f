#include "src/base/net/http_client.h"

#include "src/base/os/temp_dir.h"
#include "tests/unit/http_server.h"

#include <doctest/doctest.h>

#include <atomic>

using namespace cleanroom;
using namespace cleanroom::base;
using namespace cleanroom::testing;

namespace {

HttpRequest request_of(const HttpServer& server, const std::string& path = "/x") {
  HttpRequest request;
  request.url = server.url() + path;
  request.deadline = deadline_in(std::chrono::seconds(60));
  return request;
}

HttpServer::Handler says(std::string answer, bool keep = false) {
  return
      [answer = std::move(answer), keep](const HttpAsked&, const HttpPeer& peer) { return peer.send(answer) && keep; };
}

Result<HttpResponse> answer_to(const std::string& answer, std::size_t max_body = 1000) {
  const HttpServer server(says(answer));
  HttpClient client;
  auto request = request_of(server);
  request.max_body = max_body;
  return client.perform(request);
}

struct Collected final : HttpSink {
  Result<void> head(const HttpResponse& response) override {
    status = response.status;
    return head_verdict;
  }
  Result<void> body(std::span<const std::byte> bytes) override {
    size += bytes.size();
    return size > room ? fail(Code::invalid_input, "image_invalid", "no room") : Result<void>();
  }
  int status = 0;
  std::size_t size = 0;
  std::size_t room = ~std::size_t{0};
  Result<void> head_verdict;
};

}  // namespace

TEST_SUITE("base/http_client") {
  TEST_CASE("a body up to max_body is taken, one byte more is refused, said or chunked") {
    const std::string body(1000, 'b');
    CHECK(answer_to(http_answer(200, body))->body == body);
    CHECK(answer_to(http_answer(200, body + "x")).error().code == Code::invalid_input);
    const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    CHECK(answer_to(chunked + "3e8\r\n" + body + "\r\n0\r\n\r\n")->body == body);
    CHECK(answer_to(chunked + "3e8\r\n" + body + "\r\n1\r\nx\r\n0\r\n\r\n").error().code == Code::invalid_input);
    const auto endless = answer_to("HTTP/1.1 200 OK\r\n\r\n" + body);
    CHECK(endless->body == body);
    CHECK(answer_to("HTTP/1.1 200 OK\r\n\r\n" + body + "x").error().code == Code::invalid_input);
    CHECK(answer_to(http_answer(500, "why"))->status == 500);
  }

  TEST_CASE("headers: 64 KiB at most, names in lower case, those of 1xx answers do not count") {
    const auto lines = [](std::size_t count) {
      std::string text;
      for (std::size_t i = 0; i < count; ++i)
        text += "X-" + std::to_string(i) + ": " + std::string(990, 'h') + "\r\n";
      return text;
    };
    CHECK(answer_to(http_answer(200, "b", lines(60)))->headers.size() == 61);
    const auto large = answer_to(http_answer(200, "b", lines(70)));
    CHECK(large.error().code == Code::invalid_input);
    std::string informing;
    for (int i = 0; i < 5000; ++i)
      informing += "HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n";
    CHECK_FALSE(answer_to(informing + http_answer(200, "b")).has_value());
    const auto answer =
        answer_to("HTTP/1.1 103 Hints\r\nX-Early: 1\r\n\r\n" + http_answer(200, "b", "X-LATE:  2 \r\n"));
    REQUIRE(answer.has_value());
    CHECK(answer->header("x-late") == "2");
    CHECK(answer->header("x-early").empty());
  }

  TEST_CASE("an answer that is cut short is no answer") {
    for (const std::string& text : {std::string(), std::string("HTTP/1.1 200 OK\r\nContent-Le"),
                                    std::string("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
                                    std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort"),
                                    std::string("no HTTP\r\n\r\n")}) {
      CAPTURE(text);
      const auto answer = answer_to(text);
      CHECK_FALSE(answer.has_value());
      if (!answer) CHECK(answer.error().code == Code::unavailable);
    }
  }

  TEST_CASE("what stands still, or is cancelled, ends") {
    const HttpServer server([](const HttpAsked& asked, const HttpPeer& peer) {
      if (asked.target == "/body") peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
      peer.wait_until_gone();
      return false;
    });
    HttpClient client;
    for (const char* path : {"/head", "/body"}) {
      CAPTURE(path);
      auto stalling = request_of(server, path);
      stalling.stall_timeout = std::chrono::milliseconds(200);
      CHECK(client.perform(stalling).error().code == Code::timeout);
      auto late = request_of(server, path);
      late.deadline = deadline_in(std::chrono::milliseconds(200));
      CHECK(client.perform(late).error().code == Code::timeout);
      const std::size_t asked = server.asked().size();
      std::stop_source stop;
      auto request = request_of(server, path);
      request.stop = stop.get_token();
      std::thread canceller([&] {
        server.wait_for_asked(asked + 1);
        stop.request_stop();
      });
      const auto answer = client.perform(request);
      canceller.join();
      CHECK(answer.error().code == Code::cancelled);
      CHECK(client.perform(request).error().code == Code::cancelled);
    }
  }

  TEST_CASE("an address may be refused before it is connected to") {
    const HttpServer server(says(http_answer(200), true));
    HttpClient client;
    auto request = request_of(server);
    int calls = 0;
    request.allow_address = [&](const sockaddr&) { return ++calls > 1; };
    CHECK(client.perform(request).error().code == Code::policy_denied);
    CHECK(server.asked().empty());
    CHECK(client.perform(request)->status == 200);
    CHECK(calls == 2);
  }

  TEST_CASE("what cannot be asked for at all is told apart") {
    HttpClient client;
    HttpRequest request;
    request.deadline = deadline_in(std::chrono::seconds(30));
    for (const char* url : {"ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "gopher://127.0.0.1:1/"}) {
      CAPTURE(url);
      request.url = url;
      CHECK(client.perform(request).error().code == Code::invalid_input);
    }
    std::string gone;
    {
      const HttpServer server(says(""));
      gone = server.url();
    }
    request.url = gone + "/secret?token=abc";
    const auto refused = client.perform(request);
    CHECK(refused.error().code == Code::unavailable);
    CHECK(refused.error().describe().find("abc") == std::string::npos);
    CHECK(refused.error().describe().find(gone) != std::string::npos);
  }

  TEST_CASE("a unix socket is asked instead of the host") {
    auto directory = TempDir::create("/tmp", "cleanroom-http-");
    const auto path = directory->path() / "socket";
    const HttpServer server(says(http_answer(200, "local")), path);
    HttpClient client;
    HttpRequest request;
    request.url = "http://engine.invalid/v1/x?y=z";
    request.unix_socket = path;
    request.deadline = deadline_in(std::chrono::seconds(30));
    CHECK(client.perform(request)->body == "local");
    CHECK(server.asked().at(0).target == "/v1/x?y=z");
    CHECK(server.asked().at(0).header("host") == "engine.invalid");
    request.unix_socket = directory->path() / "none";
    CHECK(client.perform(request).error().code == Code::unavailable);
  }

  TEST_CASE("what a sink fails with is the result; it sees the head before the body") {
    const HttpServer server(says(http_answer(206, std::string(1 << 20, 'x')), true));
    HttpClient client;
    Collected all;
    auto request = request_of(server);
    request.max_body = 1;  // counts without a sink only
    const auto answer = client.perform(request, &all);
    REQUIRE(answer.has_value());
    CHECK(answer->body.empty());
    CHECK(all.status == 206);
    CHECK(all.size == 1 << 20);
    Collected full;
    full.room = 1000;
    CHECK(client.perform(request, &full).error().reason == "image_invalid");
    Collected unwilling;
    unwilling.head_verdict = fail(Code::already_exists, "not wanted");
    CHECK(client.perform(request, &unwilling).error().code == Code::already_exists);
    CHECK(unwilling.size == 0);
    Collected again;
    CHECK(client.perform(request, &again).has_value());
  }

  TEST_CASE("a sink sees the head of an answer without a body") {
    const HttpServer server(says(http_answer(204)));
    HttpClient client;
    Collected sink;
    CHECK(client.perform(request_of(server), &sink).has_value());
    CHECK(sink.status == 204);
  }

  TEST_CASE("connections are used again, and what one request carried is not in the next") {
    const HttpServer server(says(http_answer(200, "b"), true));
    HttpClient client;
    auto with = request_of(server, "/with");
    with.authorization = Secret("Bearer canary");
    with.headers = {"Accept: a/b"};
    REQUIRE(client.perform(with).has_value());
    auto post = request_of(server, "/post");
    post.method = "POST";
    post.body = Secret("a=b&c=d");
    post.headers = {"Content-Type: application/x-www-form-urlencoded"};
    REQUIRE(client.perform(post).has_value());
    auto empty = request_of(server, "/empty");
    empty.method = "POST";
    REQUIRE(client.perform(empty).has_value());
    REQUIRE(client.perform(request_of(server, "/plain")).has_value());
    const auto asked = server.asked();
    REQUIRE(asked.size() == 4);
    CHECK(asked[0].header("authorization") == "Bearer canary");
    CHECK(asked[0].header("accept") == "a/b");
    CHECK(asked[1].method == "POST");
    CHECK(asked[1].body == "a=b&c=d");
    CHECK(asked[1].header("content-type") == "application/x-www-form-urlencoded");
    CHECK(asked[1].header("expect").empty());
    CHECK(asked[2].body.empty());
    CHECK(asked[3].method == "GET");
    for (std::size_t i = 0; i < asked.size(); ++i) {
      CHECK(asked[i].connection == 1);
      if (i > 0) CHECK(asked[i].header("authorization").empty());
    }
    CHECK(asked[3].header("accept") != "a/b");
  }

  TEST_CASE("HEAD has headers and no body") {
    const HttpServer server([](const HttpAsked& asked, const HttpPeer& peer) {
      return peer.send(asked.method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nX-A: b\r\n\r\n"
                                              : http_answer(200, "after"));
    });
    HttpClient client;
    auto request = request_of(server);
    request.method = "HEAD";
    const auto head = client.perform(request);
    REQUIRE(head.has_value());
    CHECK(head->body.empty());
    CHECK(head->header("content-length") == "500");
    CHECK(client.perform(request_of(server))->body == "after");
    CHECK(server.asked().at(1).connection == 1);
  }

  TEST_CASE("redirects are answers") {
    const auto answer = answer_to(http_answer(307, "", "Location: http://127.0.0.1:1/\r\n"));
    CHECK(answer->status == 307);
    CHECK(answer->header("location") == "http://127.0.0.1:1/");
  }

  TEST_CASE("the origin of a URL") {
    CHECK(url_origin("https://A.Example:5000/v2/?x") == "https://a.example:5000");
    CHECK(url_origin("HTTP://h?x=/") == "http://h");
    CHECK(url_origin("https://user:pw@h/x") == "https://h");
    CHECK(url_origin("https://[::1]:5000#f") == "https://[::1]:5000");
    CHECK(url_origin("/v2/").empty());
    CHECK(url_origin("").empty());
  }
}
