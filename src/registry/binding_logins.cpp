#include "src/registry/binding_logins.h"

#include "src/registry/registry_address.h"

namespace cleanroom::registry {

using credentials::Choice;

namespace {

// The port of a binding that names none, and of a reference that names none: one word for the same, HTTP or not.
constexpr std::uint16_t kDefaultPort = 443;

}  // namespace

BindingLogins::BindingLogins(credentials::Bindings bindings, credentials::JobIdentity job,
                             credentials::HostEnvironment host)
    : bindings_(std::move(bindings)), job_(std::move(job)), sources_(bindings_, std::move(host)) {}

Choice BindingLogins::choose(const std::string& registry, const std::string& repository) const {
  const auto address = parse_registry_address(registry);
  if (!address) return {};
  const credentials::Request request{.host = address->host,
                                     .port = address->port.value_or(kDefaultPort),
                                     .path = repository,
                                     .method = credentials::Method::registry_pull};
  // A policy's `secrets` with target git narrow what git gets, not what images are pulled with.
  return credentials::choose_binding(request, job_, bindings_, {});
}

base::Result<std::optional<Login>> BindingLogins::find(const std::string& registry, const std::string& repository) {
  const auto choice = choose(registry, repository);
  if (choice.kind != Choice::Kind::grant) return std::optional<Login>();
  const auto& binding = bindings_.entries[choice.index];
  CR_ASSIGN(auto fetched, sources_.fetch_login(binding));
  Login login{.from = choice.why};
  (binding.scheme == credentials::Scheme::basic ? login.basic : login.bearer) = std::move(fetched.value);
  return std::optional(std::move(login));
}

std::string BindingLogins::withheld(const std::string& registry, const std::string& repository) const {
  const auto choice = choose(registry, repository);
  return choice.kind == Choice::Kind::out_of_scope ? choice.why : "";
}

}  // namespace cleanroom::registry
