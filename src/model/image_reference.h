#pragma once
// ImageReference: which image of which registry, as `docker pull` spells it, normalised: `debian` is
// docker.io/library/debian. Grammar: distribution/reference (registry[:port]/path[:tag][@digest]); parsed once, here.
#include "src/base/os/result.h"
#include "src/model/digest.h"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::model {

// The registry of a reference that names none.
inline constexpr std::string_view kDockerHub = "docker.io";

class ImageReference {
 public:
  // invalid_input (image_ref_invalid) for anything outside the grammar: schemes, upper-case repositories, empty or
  // dotted path components, white space, ports out of range, over-long parts, digests other than sha256. No tag is made
  // up.
  static base::Result<ImageReference> parse(std::string_view text);

  const std::string& registry() const { return registry_; }      // docker.io, registry.example.com:5000
  const std::string& repository() const { return repository_; }  // library/debian
  const std::optional<std::string>& tag() const { return tag_; }
  const std::optional<Digest>& digest() const { return digest_; }
  bool pinned() const { return digest_.has_value(); }
  // The same repository, pinned, without a tag.
  ImageReference with_digest(Digest digest) const {
    ImageReference pinned = *this;
    pinned.tag_.reset();
    pinned.digest_ = std::move(digest);
    return pinned;
  }
  // The same without its digest.
  ImageReference without_digest() const {
    ImageReference unpinned = *this;
    unpinned.digest_.reset();
    return unpinned;
  }
  // Canonical: registry/repository[:tag][@digest].
  std::string to_string() const;
  auto operator<=>(const ImageReference&) const = default;

 private:
  ImageReference() = default;
  std::string registry_;
  std::string repository_;
  std::optional<std::string> tag_;
  std::optional<Digest> digest_;
};

}  // namespace cleanroom::model
