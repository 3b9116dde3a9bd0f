#include "src/registry/registry_session.h"

#include "src/base/os/ascii.h"
#include "src/base/os/random.h"
#include "src/registry/address_judge.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>

namespace cleanroom::registry {
namespace {

using base::Code;
using base::fail;
using base::HttpResponse;
using base::Result;

constexpr int kMaxRedirects = 5;
constexpr std::chrono::milliseconds kFirstPause{250};
constexpr std::chrono::milliseconds kLongestPause{30'000};

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// A sink sees the body that counts, not a redirect's or a refusal's.
class FinalSink final : public base::HttpSink {
 public:
  explicit FinalSink(base::HttpSink& sink) : sink_(sink) {}
  Result<void> head(const HttpResponse& response) override {
    wanted_ = response.status / 100 == 2;
    return wanted_ ? sink_.head(response) : Result<void>();
  }
  Result<void> body(std::span<const std::byte> bytes) override { return wanted_ ? sink_.body(bytes) : Result<void>(); }

 private:
  base::HttpSink& sink_;
  bool wanted_ = false;
};

}  // namespace

std::string resolve_location(std::string_view base, std::string_view reference) {
  if (!base::is_ascii_graphic(reference) || reference.empty()) return {};
  if (reference.starts_with("https://") || reference.starts_with("http://")) return std::string(reference);
  if (reference.starts_with("//") || !reference.starts_with('/')) return {};
  return base::url_origin(base) + std::string(reference);
}

RegistrySession::RegistrySession(Endpoint endpoint, std::string repository, LoginSource* logins, std::stop_token stop)
    : endpoint_(std::move(endpoint)),
      repository_(std::move(repository)),
      stop_(std::move(stop)),
      authorizer_(endpoint_, repository_, logins) {}

bool RegistrySession::is_passing(const base::Error& error) {
  return error.code == Code::unavailable || error.code == Code::timeout;
}

bool RegistrySession::is_passing(int status) {
  return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

bool RegistrySession::pause(int attempt, const HttpResponse* response, const std::stop_token& stop) const {
  if (attempt >= kMaxAttempts) return false;
  auto wanted = std::min(kLongestPause, kFirstPause * (1 << std::min(attempt - 1, 10)));
  if (response) {
    const std::string_view after = response->header("retry-after");
    unsigned seconds = 0;
    const auto parsed = std::from_chars(after.data(), after.data() + after.size(), seconds);
    if (parsed.ec == std::errc() && parsed.ptr == after.data() + after.size())
      wanted = std::min(kLongestPause, std::max<std::chrono::milliseconds>(wanted, std::chrono::seconds(seconds)));
  }
  // Several pulls that failed together do not come back together.
  std::uint32_t random = 0;
  base::fill_random(std::as_writable_bytes(std::span(&random, 1)));
  wanted += wanted * (random % 512) / 1024;
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait_for(lock, stop, wanted, [] { return false; });
  return !stop.stop_requested();
}

Result<std::string> RegistrySession::next_hop(const std::string& from, const HttpResponse& response) const {
  const std::string next = resolve_location(from, response.header("location"));
  const auto denied = [&](std::string_view why) {
    return fail(Code::policy_denied, "image_pull_failed",
                fmt::format("'{}' redirects {}", base::url_origin(from), why));
  };
  if (next.empty()) return denied("to something that is no URL");
  if (!next.starts_with("https://") && !endpoint_.insecure) return denied("to plain HTTP");
  // Where one reader sees a user name and another a host.
  const std::size_t authority = next.find("://") + 3;
  if (next.substr(0, next.find_first_of("/?#", authority)).find_first_of("@\\") != std::string::npos)
    return denied("to a URL with a user name");
  return next;
}

Result<HttpResponse> RegistrySession::follow(base::HttpClient& client, const Request& wanted, base::HttpSink* sink,
                                             const Authorizer::Header& header) {
  base::HttpRequest request{.headers = wanted.headers,
                            .ca_file = endpoint_.ca_file,
                            .deadline = base::deadline_in(wanted.time_limit),
                            .stop = wanted.stop.stop_possible() ? wanted.stop : stop_,
                            .max_body = wanted.max_body};
  request.url = fmt::format("{}/v2/{}/{}", endpoint_.base_url, repository_, wanted.path);
  request.authorization = header.value.clone();
  const std::string home = base::url_origin(request.url);
  std::optional<FinalSink> final_sink;
  if (sink) final_sink.emplace(*sink);
  for (int hops = 0;; ++hops) {
    auto answered = client.perform(request, final_sink ? &*final_sink : nullptr);
    if (!answered && answered.error().reason.empty()) {
      // Larger than it may be, or not had.
      answered.error().reason = answered.error().code == Code::invalid_input ? "image_limit" : "image_pull_failed";
    }
    if (!answered) return answered;
    const bool at_home = base::url_origin(request.url) == home;
    // By who answered, not by what was tried; a proxy's peer is not known, and then taken to be public.
    if (at_home && !answered->peer.empty()) at_public_address_ = is_public_address(std::string_view(answered->peer));
    // What another host wants to see is not for the registry's login to answer.
    if (!at_home && answered->status == 401)
      return fail(Code::policy_denied, "image_access_denied",
                  fmt::format("'{}', where '{}' redirects to, wants a login", base::url_origin(request.url), home));
    if (!is_redirect(answered->status)) return answered;
    const HttpResponse response = std::move(*answered);
    if (hops == kMaxRedirects)
      return fail(Code::policy_denied, "image_pull_failed",
                  fmt::format("'{}' redirects more than {} times", home, kMaxRedirects));
    CR_ASSIGN(request.url, next_hop(request.url, response));
    if (base::url_origin(request.url) == home) continue;
    request.authorization = {};
    const bool strict = at_public_address_;
    request.allow_address = [strict](const sockaddr& address) {
      return strict ? is_public_address(address) : is_usable_address(address);
    };
    request.proxy_judges = strict;
  }
}

base::Failure RegistrySession::refused(const HttpResponse& response, const std::string& what) const {
  const std::string where = fmt::format("'{}' at {}", what, endpoint_.base_url);
  if (response.status == 404 || response.status == 410)
    return fail(Code::not_found, "image_not_found", fmt::format("the registry has no {}", where));
  if (response.status == 401 || response.status == 403) {
    return fail(
        base::Error(Code::policy_denied, "image_access_denied",
                    fmt::format("the registry refuses {} ({}), {}", where, response.status, authorizer_.explanation()))
            .with_hint("a binding in credentials.yaml with the method registry-pull, or docker login: "
                       "docs/images.md; a name that does not exist is refused so too"));
  }
  return fail(Code::unavailable, "image_pull_failed",
              fmt::format("the registry answers {} for {}", response.status, where));
}

Result<HttpResponse> RegistrySession::get(base::HttpClient& client, const Request& request, base::HttpSink* sink) {
  const std::string what = repository_ + "/" + request.path;
  for (;;) {
    const Authorizer::Header header = authorizer_.header();
    CR_ASSIGN(HttpResponse response, follow(client, request, sink, header));
    if (response.status == 401) {
      CR_ASSIGN(const bool again, authorizer_.answer(response, header.generation, client, stop_));
      if (again) continue;
    } else {
      authorizer_.accepted(header.generation);
    }
    const bool usable = response.status / 100 == 2 || response.status == 416 || is_passing(response.status);
    return usable ? Result<HttpResponse>(std::move(response)) : refused(response, what);
  }
}

Result<HttpResponse> RegistrySession::get_retrying(base::HttpClient& client, const Request& request) {
  for (int attempt = 1;; ++attempt) {
    auto response = get(client, request, nullptr);
    const bool passing = response ? is_passing(response->status) : is_passing(response.error());
    if (!passing) return response;
    if (pause(attempt, response ? &*response : nullptr, stop_)) continue;
    if (stop_.stop_requested()) return fail(Code::cancelled, "cancelled", "the pull was cancelled");
    if (response) return refused(*response, repository_ + "/" + request.path);
    response.error().reason = "image_pull_failed";
    return response;
  }
}

}  // namespace cleanroom::registry
