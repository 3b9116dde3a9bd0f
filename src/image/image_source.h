#pragma once
// Where an image comes from: which manifest a source names, and what is needed to build it.
#include "src/image/file_set.h"
#include "src/image/oci_documents.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::image {

enum class SourceKind { oci_directory, oci_archive, docker_archive, stored };

struct SourceName {
  SourceKind kind = SourceKind::stored;
  std::filesystem::path path;  // of a directory or archive
  std::string tag;             // what stands after it; may be empty
  std::string digest;          // of `stored`: "sha256:..."
};

// image_ref_invalid. `oci:DIR[:tag]`, `oci-archive:FILE[:tag]`, `docker-archive:FILE[:name]`, `name@sha256:...`,
// `sha256:...`.
base::Result<SourceName> parse_source(std::string_view text);

struct LayerPlan {
  std::string file;  // in the FileSet
  LayerExpectation expected;
};

struct BuildPlan {
  ImageConfig config;
  std::vector<LayerPlan> layers;  // the lowest first
};

// An opened directory or archive whose image has been chosen.
class ImageSource {
 public:
  // Reads only what tells the digest. Not for `stored`.
  static base::Result<ImageSource> open(const SourceName& name, const Limits& limits);

  // The manifest's digest; of a docker archive, which has no manifest of that kind, the config's.
  const model::Digest& digest() const { return digest_; }
  const FileSet& files() const { return *files_; }
  // Reads and checks manifest and config.
  base::Result<BuildPlan> plan() const;

 private:
  ImageSource(std::unique_ptr<FileSet> files, Limits limits, model::Digest digest)
      : files_(std::move(files)), limits_(limits), digest_(std::move(digest)) {}
  static base::Result<ImageSource> open_oci(std::unique_ptr<FileSet> files, const SourceName& name,
                                            const Limits& limits);
  static base::Result<ImageSource> open_docker(std::unique_ptr<FileSet> files, const SourceName& name,
                                               const Limits& limits);
  base::Result<BuildPlan> plan_oci() const;
  base::Result<BuildPlan> plan_docker() const;

  std::unique_ptr<FileSet> files_;
  Limits limits_;
  model::Digest digest_;
  std::optional<Descriptor> manifest_;  // of OCI
  std::optional<DockerImage> docker_;
};

}  // namespace cleanroom::image
