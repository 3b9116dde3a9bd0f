#include "src/registry/docker_auths.h"

#include "src/base/net/base64.h"
#include "src/base/os/ascii.h"
#include "src/credentials/sources.h"
#include "src/model/image_reference.h"

#include <algorithm>
#include <tuple>

namespace cleanroom::registry {
namespace {

using base::Json;
using base::Result;
using base::Secret;
using credentials::kMaxTokenBytes;
using model::kDockerHub;

constexpr std::string_view kIdentityTokenUser = "<token>";

base::Failure invalid(std::string_view why) {
  return base::fail(base::Code::invalid_input, std::string(why));
}

std::string canonical_host(std::string_view host) {
  auto name = base::ascii_lower(host);
  return name == "index.docker.io" || name == "registry-1.docker.io" ? std::string(kDockerHub) : name;
}

bool is_api_root(std::string_view path) {
  return path.empty() || path == "v1" || path == "v2";
}

// How well a key names a repository; nullopt: not at all. A longer namespace counts more, then a plain key.
using Rank = std::tuple<std::size_t, int>;
std::optional<Rank> rank_of(std::string_view key, std::string_view registry, std::string_view repository) {
  const auto scheme_end = key.find("://");
  const bool with_scheme = scheme_end != std::string_view::npos;
  if (with_scheme) key.remove_prefix(scheme_end + 3);
  const auto slash = std::min(key.find('/'), key.size());
  if (canonical_host(key.substr(0, slash)) != registry) return std::nullopt;
  auto path = key.substr(std::min(slash + 1, key.size()));
  const bool open_end = path.ends_with('/');
  while (path.ends_with('/'))
    path.remove_suffix(1);
  if (with_scheme) {
    // Docker Desktop keeps its own tokens under https://index.docker.io/v1/access-token.
    if (!is_api_root(path) && registry == kDockerHub) return std::nullopt;
    return Rank{0, is_api_root(path) ? 1 : 0};
  }
  if (path.empty() || (open_end && is_api_root(path))) return Rank{0, 2};
  const bool within =
      repository.starts_with(path) && (repository.size() == path.size() || repository[path.size()] == '/');
  return within ? std::optional(Rank{path.size(), 2}) : std::nullopt;
}

struct Best {
  Rank rank;
  const Json* value;
};
std::optional<Best> best_of(const Json& root, const char* member, std::string_view registry,
                            std::string_view repository) {
  std::optional<Best> best;
  const auto found = root.find(member);
  if (found == root.end()) return best;
  for (const auto& [key, value] : found->items()) {
    const auto rank = rank_of(key, registry, repository);
    if (rank && (!best || *rank > best->rank)) best = Best{*rank, &value};
  }
  return best;
}

Result<void> check_token(const Secret& token) {
  if (token.size() > kMaxTokenBytes || !base::is_ascii_graphic(token.reveal()))
    return invalid("a token in it is no token");
  return {};
}

// "user:password" of `auth`, or of the fields that very old versions wrote.
Result<std::optional<Login>> login_of_auth(const Secret& auth, const Secret& user, const Secret& password) {
  if (auth.empty()) return login_of_pair(user.reveal(), password.reveal());
  const auto pair = base::decode_base64(auth.reveal());
  if (!pair) return invalid("an `auth` in it is not base64");
  const auto text = pair->reveal();
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return invalid("an `auth` in it is not a user name and a password");
  auto secret = text.substr(colon + 1);
  while (secret.ends_with('\0'))  // docker trims them
    secret.remove_suffix(1);
  return login_of_pair(text.substr(0, colon), secret);
}

}  // namespace

Result<std::optional<Login>> login_of_pair(std::string_view user, std::string_view password) {
  if (user.empty() || password.empty()) return std::optional<Login>();
  Login login;
  if (user == kIdentityTokenUser) {
    login.refresh_token = Secret(std::string(password));
    CR_TRY(check_token(login.refresh_token));
    return std::optional(std::move(login));
  }
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  const auto bad = [&](std::string_view text) { return std::any_of(text.begin(), text.end(), control); };
  if (user.size() + password.size() > kMaxTokenBytes) return invalid("a user name and password in it are too long");
  if (bad(user) || bad(password) || user.find(':') != std::string_view::npos) {
    return invalid("a user name or a password in it has bytes that cannot be sent");
  }
  std::string plain;
  plain.reserve(user.size() + 1 + password.size());
  plain.append(user).append(":").append(password);
  login.basic = Secret(std::move(plain));
  return std::optional(std::move(login));
}

Result<DockerAuths> DockerAuths::parse(std::string_view text, std::size_t max_bytes) {
  // `touch` makes an empty one, and Docker takes it.
  CR_ASSIGN(auto json, SecretJson::parse(text.empty() ? "{}" : text, max_bytes));
  const auto& root = json.root();
  const auto shape = [&](const char* member, auto good) {
    const auto found = root.find(member);
    return found == root.end() || found->is_null() || good(*found);
  };
  const auto is_object_of = [](auto good) {
    return [good](const Json& value) { return value.is_object() && std::all_of(value.begin(), value.end(), good); };
  };
  const bool good = root.is_object() &&
                    shape("auths", is_object_of([](const Json& entry) { return entry.is_object(); })) &&
                    shape("credHelpers", is_object_of([](const Json& name) { return name.is_string(); })) &&
                    shape("credsStore", [](const Json& name) { return name.is_string(); });
  if (!good) return invalid("its auths, credHelpers or credsStore are not as they should be");
  return DockerAuths(std::move(json));
}

DockerAuths::Match DockerAuths::match(std::string_view registry, std::string_view repository) const {
  const auto host = canonical_host(registry);
  Match out;
  const auto name = [&](const Json& object, const std::string& key) {
    const auto text = json_.text(object, key);
    return text ? std::string(text->reveal()) : std::string("?");  // no helper has such a name
  };
  if (const auto entry = best_of(json_.root(), "auths", host, repository)) {
    out.listed = true;
    out.entry = entry->value;
    out.entry_is_more_specific = std::get<0>(entry->rank) > 0;
  }
  const auto helpers = json_.root().find("credHelpers");
  const auto helper = best_of(json_.root(), "credHelpers", host, "");
  if (!helper) {
    out.helper = name(json_.root(), "credsStore");
    return out;
  }
  for (const auto& [key, value] : helpers->items()) {
    if (&value == helper->value) out.helper = name(*helpers, key);
  }
  out.listed = true;
  return out;
}

Result<std::optional<Login>> DockerAuths::login_of(const Json& entry) const {
  const auto read = [&](const char* key) { return json_.text(entry, key); };
  const auto auth = read("auth");
  const auto user = read("username");
  const auto password = read("password");
  auto identity = read("identitytoken");
  auto registry = read("registrytoken");
  if (!auth || !user || !password || !identity || !registry) return invalid("a text in it is malformed");
  CR_TRY(check_token(*identity));
  CR_TRY(check_token(*registry));
  CR_ASSIGN(auto login, login_of_auth(*auth, *user, *password));
  if (!login && identity->empty() && registry->empty()) return std::optional<Login>();
  if (!login) login.emplace();
  if (!identity->empty()) login->refresh_token = std::move(*identity);
  login->bearer = std::move(*registry);
  return login;
}

}  // namespace cleanroom::registry
