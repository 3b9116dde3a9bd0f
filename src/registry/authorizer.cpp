#include "src/registry/authorizer.h"

#include "src/base/net/base64.h"
#include "src/base/os/ascii.h"
#include "src/registry/address_judge.h"
#include "src/registry/challenges.h"
#include "src/registry/secret_json.h"
#include "src/registry/token_realm.h"

#include <algorithm>

namespace cleanroom::registry {
namespace {

using base::Code;
using base::fail;
using base::Result;
using base::Secret;

constexpr std::chrono::seconds kTokenTimeout{30};
constexpr std::size_t kMaxAnswerBytes = 128u << 10;
constexpr std::size_t kMaxBearerTokenBytes = 32u << 10;
constexpr std::chrono::seconds kDefaultLife{60};  // distribution's token specification

// application/x-www-form-urlencoded, of ASCII.
void append_encoded(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = base::is_ascii_alnum(c) || std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
}

bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= kMaxBearerTokenBytes && base::is_ascii_graphic(text);
}

base::Failure pull_failed(std::string message) {
  return fail(Code::unavailable, "image_pull_failed", std::move(message));
}

Secret basic_header(const Secret& pair) {
  std::string value = "Basic ";
  value.reserve(value.size() + base::base64_size(pair.size()) + 1);
  base::append_base64(value, pair.reveal());
  return Secret(std::move(value));
}

Secret bearer_header(const Secret& token) {
  std::string value = "Bearer ";
  value.reserve(value.size() + token.size());
  value += token.reveal();
  return Secret(std::move(value));
}

}  // namespace

Authorizer::Header Authorizer::header() const {
  const std::lock_guard lock(mutex_);
  return {header_.clone(), generation_};
}

void Authorizer::use(Secret header) {
  header_ = std::move(header);
  ++generation_;
}

Result<void> Authorizer::find_login() {
  if (std::exchange(asked_, true) || !logins_) return {};
  CR_ASSIGN(login_, logins_->find(endpoint_.registry, repository_));
  return {};
}

void Authorizer::accepted(unsigned generation) {
  const std::lock_guard lock(mutex_);
  if (generation == generation_) renewed_once_ = false;
}

std::string Authorizer::explanation() const {
  const std::lock_guard lock(mutex_);
  if (login_) return fmt::format("asked with the login of {}", login_->from);
  const std::string withheld = logins_ ? logins_->withheld(endpoint_.registry, repository_) : std::string();
  return withheld.empty() ? "asked without a login" : withheld;
}

Result<bool> Authorizer::answer(const base::HttpResponse& refused, unsigned generation, base::HttpClient& client,
                                const std::stop_token& stop) {
  const std::lock_guard lock(mutex_);
  if (generation != generation_) return true;  // another thread was faster
  const auto now = base::SteadyClock::now();
  const bool expired = expires_ && now >= *expires_;
  // A fresh token that is refused stays refused.
  if (!header_.empty() && !expired && std::exchange(renewed_once_, true)) return false;
  CR_TRY(find_login());
  if (login_ && !login_->bearer.empty()) {
    if (!header_.empty()) return false;
    use(bearer_header(login_->bearer));
    return true;
  }
  std::vector<std::string_view> values;
  const auto range = refused.headers.equal_range("www-authenticate");
  for (auto it = range.first; it != range.second; ++it)
    values.push_back(it->second);
  auto challenges = parse_challenges(values);
  if (!challenges)
    return pull_failed(fmt::format("'{}' asks for a login in a way that cannot be read", endpoint_.registry));
  if (challenges->bearer) {
    CR_ASSIGN(const Secret token, fetch_token(challenges->bearer->realm, challenges->bearer->service, client, stop));
    use(bearer_header(token));
    return true;
  }
  if (!challenges->basic || !login_ || login_->basic.empty() || !header_.empty()) return false;
  use(basic_header(login_->basic));
  return true;
}

Result<Secret> Authorizer::fetch_token(const std::string& realm, const std::string& service, base::HttpClient& client,
                                       const std::stop_token& stop) {
  const TokenRealmRules rules{endpoint_.registry, endpoint_.insecure, endpoint_.token_realm};
  auto url = check_token_realm(realm, rules);
  const bool secret = login_ && (!login_->basic.empty() || !login_->refresh_token.empty());
  if (!url && (secret || url.error().code != Code::policy_denied)) return fail(std::move(url.error()));
  // Without a login there is nothing to lose but a request to an address of the registry's choice.
  const bool foreign = !url;
  base::HttpRequest request{.deadline = base::deadline_in(kTokenTimeout), .stop = stop, .max_body = kMaxAnswerBytes};
  request.ca_file = endpoint_.ca_file;
  if (foreign) {
    request.allow_address = [](const sockaddr& address) { return is_public_address(address); };
    request.proxy_judges = true;
  }
  std::string query = "service=";
  append_encoded(query, service);
  query += "&scope=";
  append_encoded(query, fmt::format("repository:{}:pull", repository_));
  const std::string target = foreign ? realm : *url;
  if (foreign && !target.starts_with("https://"))
    return pull_failed(fmt::format("the token service of '{}' is not reached by https", endpoint_.registry));
  if (secret && !login_->refresh_token.empty()) {
    request.method = "POST";
    request.headers = {"Content-Type: application/x-www-form-urlencoded"};
    query += "&grant_type=refresh_token&client_id=cleanroom&refresh_token=";
    query.reserve(query.size() + 3 * login_->refresh_token.size() + 1);
    append_encoded(query, login_->refresh_token.reveal());
    request.url = target;
    request.body = Secret(std::move(query));
  } else {
    request.url = target + (target.find('?') == std::string::npos ? "?" : "&") + query;
    if (secret) request.authorization = basic_header(login_->basic);
  }
  auto answered = client.perform(request);
  if (!answered && answered.error().reason.empty()) answered.error().reason = "image_pull_failed";
  CR_ASSIGN(base::HttpResponse response, std::move(answered));
  const Secret body(std::move(response.body));
  if (response.status == 401 || response.status == 403) {
    return fail(
        base::Error(Code::policy_denied, "image_access_denied",
                    fmt::format("the token service of '{}' refuses ({}), {}", endpoint_.registry, response.status,
                                login_ ? "asked with the login of " + login_->from : "asked without a login"))
            .with_hint("check the login: docs/images.md"));
  }
  if (response.status != 200)
    return pull_failed(fmt::format("the token service of '{}' answers {}", endpoint_.registry, response.status));
  auto json = SecretJson::parse(body.reveal(), kMaxAnswerBytes);
  if (!json || !json->root().is_object())
    return pull_failed(fmt::format("the token service of '{}' answers no JSON object", endpoint_.registry));
  for (const char* key : {"token", "access_token"}) {
    auto token = json->text(json->root(), key);
    if (!token || !is_token(token->reveal())) continue;
    const auto life = json->root().find("expires_in");
    const bool said = life != json->root().end() && life->is_number_unsigned();
    const auto seconds = said ? std::min<std::uint64_t>(life->get<std::uint64_t>(), 86'400) : 0;
    expires_ = base::SteadyClock::now() + std::max(kDefaultLife, std::chrono::seconds(seconds));
    return std::move(*token);
  }
  return pull_failed(fmt::format("the token service of '{}' gives no token", endpoint_.registry));
}

}  // namespace cleanroom::registry
