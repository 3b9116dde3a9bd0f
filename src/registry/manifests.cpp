#include "src/registry/manifests.h"

#include "src/base/net/sha256.h"
#include "src/base/os/ascii.h"
#include "src/base/text/json.h"
#include "src/image/image_error.h"
#include "src/image/image_source.h"

#include <nlohmann/json.hpp>

namespace cleanroom::registry {
namespace {

using base::fail;
using base::Result;
using image::image_invalid;

constexpr std::chrono::milliseconds kTimeLimit{60'000};

// Parameters of a media type say nothing here.
std::string media_type_of(const base::HttpResponse& response) {
  const std::string_view value = response.header("content-type");
  return base::ascii_lower(value.substr(0, value.find_first_of("; \t")));
}

// Registries that serve documents as files say application/json or octet-stream; the document's own word counts then.
Result<std::string> judge_media_type(const std::string& said, const std::string& text) {
  const auto json = base::parse_json(text, "manifest", {.max_bytes = text.size()});
  if (!json || !json->is_object()) return image_invalid("the registry's manifest is not a JSON object");
  const auto own = json->find("mediaType");
  const std::string inside = own != json->end() && own->is_string() ? own->get<std::string>() : std::string();
  if (image::kind_of_document(said)) {
    if (inside.empty() || inside == said) return said;
    return image_invalid(
        fmt::format("the registry says '{}' of a document that says '{}'", image::shown(said), image::shown(inside)));
  }
  const bool vague =
      said.empty() || said == "application/json" || said == "application/octet-stream" || said == "text/plain";
  if (vague && image::kind_of_document(inside)) return inside;
  auto refused = base::Error(base::Code::invalid_input, "image_invalid",
                             fmt::format("the registry's document is of the type '{}'", image::shown(said)));
  return fail(std::move(refused).with_hint("images are OCI images or Docker's manifest version 2, schema 2"));
}

}  // namespace

Result<Document> fetch_document(RegistrySession& session, base::HttpClient& client, const std::string& name,
                                const image::Limits& limits) {
  const RegistrySession::Request request{.path = "manifests/" + name,
                                         .headers = {image::accept_header()},
                                         .time_limit = kTimeLimit,
                                         .max_body = limits.document_bytes};
  CR_ASSIGN(base::HttpResponse response, session.get_retrying(client, request));
  CR_ASSIGN(std::string type, judge_media_type(media_type_of(response), response.body));
  auto digest = model::Digest::from_sha256_hex(base::sha256_hex(response.body));
  const std::string_view said = response.header("docker-content-digest");
  if (said.starts_with("sha256:") && said != digest.to_string())
    return image_invalid(fmt::format("the manifest is not what its digest {} says", image::shown(said)));
  if (name.starts_with("sha256:") && name != digest.to_string())
    return image_invalid(fmt::format("the content of {} is not what its digest says", name));
  image::Descriptor descriptor{.media_type = std::move(type), .digest = std::move(digest)};
  descriptor.size = response.body.size();
  return Document{std::move(descriptor), std::move(response.body)};
}

Result<Resolved> resolve(RegistrySession& session, base::HttpClient& client, const model::ImageReference& reference,
                         const image::Limits& limits) {
  const std::string name = reference.digest() ? reference.digest()->to_string() : reference.tag().value_or("latest");
  CR_ASSIGN(Document document, fetch_document(session, client, name, limits));
  model::Digest named = document.descriptor.digest;
  if (image::kind_of_document(document.descriptor.media_type) == image::DocumentKind::manifest)
    return Resolved{std::move(named), std::move(document.descriptor), std::move(document.text)};
  CR_ASSIGN(auto entries, image::parse_index(document.text, document.descriptor.media_type));
  CR_ASSIGN(const image::Descriptor chosen, image::choose_for_host(std::move(entries)));
  if (image::kind_of_document(chosen.media_type) == image::DocumentKind::index)
    return image_invalid("image indexes are nested too deeply");
  CR_ASSIGN(Document manifest, fetch_document(session, client, chosen.digest.to_string(), limits));
  if (manifest.descriptor.media_type != chosen.media_type || manifest.descriptor.size != chosen.size)
    return image_invalid("the manifest is of another type or size than the index says");
  return Resolved{std::move(named), std::move(manifest.descriptor), std::move(manifest.text)};
}

}  // namespace cleanroom::registry
