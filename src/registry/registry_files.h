#pragma once
// RegistryFiles: the blobs of one image in a registry, as the FileSet that ImageSource reads.
#include "src/image/file_set.h"
#include "src/image/limits.h"
#include "src/registry/blob_downloads.h"
#include "src/registry/manifests.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace cleanroom::registry {

// Who hears how a pull goes on. Calls come from several threads.
class PullProgress {
 public:
  virtual ~PullProgress() = default;
  // `bytes` of `layers` layers will be fetched; `shared` more are here already.
  virtual void begin(std::uint64_t bytes, std::size_t layers, std::size_t shared) = 0;
  virtual void received(std::uint64_t bytes) = 0;
};

class RegistryFiles final : public image::FileSet {
 public:
  struct Options {
    unsigned parallel = 4;
    PullProgress* progress = nullptr;  // borrowed
  };
  // `session` is borrowed. image_invalid when the manifest cannot be read.
  static base::Result<std::unique_ptr<RegistryFiles>> create(RegistrySession& session, const Resolved& image,
                                                             const image::Limits& limits, Options options);

  base::Result<std::unique_ptr<image::FileReader>> open(const std::string& name) const override;
  // Begins to fetch layers.
  void expect(const std::vector<std::string>& names) const override;

 private:
  RegistryFiles(RegistrySession& session, image::Limits limits, Options options)
      : session_(session), limits_(limits), options_(options) {}

  RegistrySession& session_;
  const image::Limits limits_;
  const Options options_;
  std::string manifest_name_;
  std::string manifest_;
  std::map<std::string, BlobRequest> layers_;  // by file name
  std::map<std::string, BlobRequest> small_;   // the config
  mutable std::unique_ptr<BlobDownloads> downloads_;
};

}  // namespace cleanroom::registry
