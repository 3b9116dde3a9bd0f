#pragma once
// Where an image comes from: which manifest a source names, and what is needed to build it.
#include "src/image/file_set.h"
#include "src/image/oci_documents.h"
#include "src/model/image_reference.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::image {

enum class SourceKind {
  oci_directory,
  oci_archive,
  docker_archive,
  docker_engine,  // a local Docker, by name
  podman_engine,
  registry,  // by reference
  stored,    // by digest alone
};

struct SourceName {
  SourceKind kind = SourceKind::stored;
  std::filesystem::path path;                      // of a directory or archive
  std::string tag;                                 // what stands after it; may be empty. Of an engine: the name
  std::optional<model::ImageReference> reference;  // of `registry`
  std::optional<model::Digest> digest;             // of `stored`
};

// image_ref_invalid. `oci:DIR[:tag]`, `oci-archive:FILE[:tag]`, `docker-archive:FILE[:name]`, `docker-daemon:NAME`,
// `podman:NAME`, `[registry/]name[:tag][@sha256:...]`, `sha256:...`.
base::Result<SourceName> parse_source(std::string_view text);
// Whether it names a file of this host.
bool is_file(SourceKind kind);

// The file of a blob in an OCI layout.
std::string blob_name(const model::Digest& digest);

// Of an index's entries the one for this host's platform. Of several the first (image-spec image-index.md), but one
// that every processor of the architecture runs before a variant that some lack. image_not_found.
base::Result<Descriptor> choose_for_host(std::vector<Descriptor> entries);

struct LayerPlan {
  std::string file;  // in the FileSet
  LayerExpectation expected;
};

struct BuildPlan {
  ImageConfig config;
  std::vector<LayerPlan> layers;  // the lowest first
};

// An opened directory, archive or registry whose image has been chosen.
class ImageSource {
 public:
  // Reads only what tells the digest. For files of this host.
  static base::Result<ImageSource> open(const SourceName& name, const Limits& limits);
  // `files` has the manifest and what it names as blobs/sha256/<hex>, like an OCI layout.
  static ImageSource from_manifest(std::unique_ptr<FileSet> files, Descriptor manifest, const Limits& limits);
  // An archive with a docker image that is open already: `name` may be empty when it is the only one.
  static base::Result<ImageSource> from_docker_archive(base::Fd archive, const std::string& name, const Limits& limits);
  // A file or directory whose kind its content tells: an OCI layout or archive of one, what `docker save` writes, or a
  // root file system as a tar; an archive may be compressed with gzip or zstd. `spool` is a directory for what has to
  // be unpacked on the way.
  static base::Result<ImageSource> open_any(const std::filesystem::path& path, const std::filesystem::path& spool,
                                            const Limits& limits);
  // The same for a stream that ends.
  static base::Result<ImageSource> read_any(ContentReader& stream, const std::filesystem::path& spool,
                                            const Limits& limits);

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
  static base::Result<ImageSource> open_tar(base::Fd tar, const Limits& limits);
  static base::Result<ImageSource> open_rootfs(base::Fd tar, const Limits& limits);
  base::Result<BuildPlan> plan_oci() const;
  base::Result<BuildPlan> plan_docker() const;
  base::Result<BuildPlan> plan_rootfs() const;

  std::unique_ptr<FileSet> files_;
  Limits limits_;
  model::Digest digest_;
  std::optional<Descriptor> manifest_;  // of OCI
  std::optional<DockerImage> docker_;
  std::optional<LayerPlan> rootfs_;
};

}  // namespace cleanroom::image
