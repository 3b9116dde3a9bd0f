#include "src/registry/image_provider.h"

#include "src/base/os/temp_dir.h"
#include "src/image/image_error.h"
#include "src/image/image_names.h"
#include "src/registry/local_engine.h"
#include "src/registry/signature_fetch.h"

namespace cleanroom::registry {
namespace {

using base::Code;
using base::fail;
using base::Result;

// Another endpoint serves the same image, perhaps with signatures that a mirror lacks; what is wrong with this host or
// this pull stays wrong there.
bool worth_another_endpoint(const base::Error& error) {
  return error.code != Code::cancelled && error.reason != "image_limit" && error.code != Code::internal;
}

Result<void> refuse_unsigned(std::string_view source, const ImageProvider::Demands& demands) {
  if (demands.empty()) return {};
  return fail(base::Error(Code::policy_denied, "image_not_trusted",
                          fmt::format("cannot use the image '{}': {} asks for a signature, and only an image that is "
                                      "named by its registry and repository can have one",
                                      image::shown(source), demands.front().key_path))
                  .with_hint("name it registry/repository@sha256:..."));
}

}  // namespace

template <class Value, class Try>
Result<Value> ImageProvider::first_that_works(const model::ImageReference& reference, const Try& attempt) {
  const Endpoints endpoints = endpoints_of(reference.registry(), options_.registries);
  for (const Endpoint& endpoint : endpoints) {
    Result<Value> done = attempt(endpoint);
    if (done || !endpoint.mirror || !worth_another_endpoint(done.error())) return done;
    options_.note(fmt::format("the mirror {} does not serve {}: {}", endpoint.registry, reference.to_string(),
                              done.error().describe()));
  }
  return fail(Code::internal, "a registry has no endpoint");  // the registry itself is always one
}

Result<image::StoredImage> ImageProvider::ensure(std::string_view source, const Demands& demands,
                                                 const std::stop_token& stop) {
  CR_ASSIGN(const image::SourceName name, image::parse_source(source));
  if (name.kind != image::SourceKind::registry) {
    CR_TRY(refuse_unsigned(source, demands));
    if (name.kind == image::SourceKind::docker_engine || name.kind == image::SourceKind::podman_engine)
      return ensure_from_engine(name, source, stop);
    return store_.ensure(source, stop);
  }
  const model::ImageReference& reference = *name.reference;
  const auto named = image::ImageNames(store_.root()).named(reference);
  if (!reference.pinned() && named && named->origin == image::ImageNames::Origin::import) {
    CR_TRY(refuse_unsigned(source, demands));
    if (auto stored = store_.find(reference)) return stored;
  }
  CR_ASSIGN(Pulled pulled, pull(reference, demands, stop));
  return std::move(pulled.image);
}

Result<void> ImageProvider::check_stored(const model::ImageReference& reference, const image::StoredImage& image,
                                         const Demands& demands, const std::stop_token& stop) {
  if (demands.empty()) return {};
  const TrustRecord record(store_.root());
  image::Descriptor manifest{.media_type = {}, .digest = image.digest};
  const Resolved resolved{*reference.digest(), std::move(manifest), {}};
  const auto checked = first_that_works<bool>(reference, [&](const Endpoint& endpoint) -> Result<bool> {
    RegistrySession session(endpoint, reference.repository(), options_.logins.get(), stop);
    base::HttpClient client;
    CR_TRY(require_signatures(session, client, reference, resolved, demands, record, store_.limits()));
    return true;
  });
  return checked ? Result<void>() : fail(checked.error());
}

Result<ImageProvider::Pulled> ImageProvider::pull(const model::ImageReference& reference, const Demands& demands,
                                                  const std::stop_token& stop) {
  if (reference.pinned()) {
    auto stored = store_.find(reference);
    // That it is here says nothing of who may have it: the repository has to know it, and show it to this job once.
    if (stored && image::ImageNames(store_.root()).is_known(reference, stored->digest)) {
      CR_TRY(check_stored(reference, *stored, demands, stop));
      return Pulled{std::move(*stored), reference.with_digest(*reference.digest())};
    }
  }
  auto pulled = first_that_works<Pulled>(
      reference, [&](const Endpoint& endpoint) { return pull_from(endpoint, reference, demands, stop); });
  if (!pulled)
    return fail(std::move(pulled.error()).with_context(fmt::format("cannot pull '{}'", reference.to_string())));
  collect();
  return pulled;
}

Result<ImageProvider::Pulled> ImageProvider::pull_from(const Endpoint& endpoint, const model::ImageReference& reference,
                                                       const Demands& demands, const std::stop_token& stop) {
  RegistrySession session(endpoint, reference.repository(), options_.logins.get(), stop);
  base::HttpClient client;
  const image::Limits& limits = store_.limits();
  CR_ASSIGN(const Resolved resolved, resolve(session, client, reference, limits));
  const auto pinned = reference.with_digest(resolved.named);
  CR_TRY(require_signatures(session, client, pinned, resolved, demands, TrustRecord(store_.root()), limits));
  auto stored = store_.find(resolved.manifest.digest);
  if (!stored) {
    CR_ASSIGN(auto files,
              RegistryFiles::create(session, resolved, limits,
                                    {.parallel = options_.images.parallel_downloads, .progress = options_.progress}));
    const auto source = image::ImageSource::from_manifest(std::move(files), resolved.manifest, limits);
    CR_ASSIGN(stored, store_.build(source, reference.to_string(), stop));
  }
  const image::ImageNames names(store_.root());
  CR_TRY(names.set_alias(resolved.named, resolved.manifest.digest));
  CR_TRY(names.set_known(pinned, resolved.manifest.digest));
  if (!reference.pinned())
    CR_TRY(names.set_name(reference, resolved.manifest.digest, image::ImageNames::Origin::registry));
  return Pulled{std::move(*stored), pinned};
}

Result<model::Digest> ImageProvider::resolve_tag(const model::ImageReference& reference, const std::stop_token& stop) {
  const auto wanted = reference.without_digest();
  auto digest = first_that_works<model::Digest>(wanted, [&](const Endpoint& endpoint) -> Result<model::Digest> {
    RegistrySession session(endpoint, wanted.repository(), options_.logins.get(), stop);
    base::HttpClient client;
    CR_ASSIGN(Resolved resolved, resolve(session, client, wanted, store_.limits()));
    return std::move(resolved.named);
  });
  if (digest) return digest;
  return fail(std::move(digest.error()).with_context(fmt::format("cannot resolve '{}'", wanted.to_string())));
}

Result<image::StoredImage> ImageProvider::ensure_from_engine(const image::SourceName& name, std::string_view source,
                                                             const std::stop_token& stop) {
  CR_TRY(base::make_private_directories(store_.root()));
  const bool docker = name.kind == image::SourceKind::docker_engine;
  CR_ASSIGN(const auto opened, docker ? open_docker_image(name.tag, store_.root(), store_.limits(), stop)
                                      : open_podman_image(name.tag, store_.root(), store_.limits(), stop));
  return store_.import(opened, source, stop);
}

// The operator's limits on the store; what is in use, the new image too, stays.
void ImageProvider::collect() {
  image::CollectOptions limits;
  if (options_.images.max_gib) limits.max_bytes = *options_.images.max_gib << 30;
  if (options_.images.unused_days) limits.unused_for = std::chrono::hours(24) * *options_.images.unused_days;
  if (!limits.max_bytes && !limits.unused_for) return;
  const auto report = store_.collect(limits);
  if (!report) options_.note(fmt::format("cannot clean the image store: {}", report.error().describe()));
}

}  // namespace cleanroom::registry
