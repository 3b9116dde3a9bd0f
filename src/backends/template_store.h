#pragma once
// TemplateStore: saved VMs, one directory a key, from which jobs' VMs are restored:
//   <root>/<64 hex>/memory, state, scratch, manifest.json   all 0600; appears by one rename, never changes but for its
//                                                           last use
//   <root>/.new-<64 hex>/                                   being made, by the process that holds a flock on it
//
// Nothing is synced: what a power cut or a bad disk leaves is found by its digest. A template that is not as it was
// made, or is not this user's alone, is removed, never used.
#include "src/backends/backend.h"
#include "src/base/net/gmac.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace cleanroom::backends {

// The name of a template: of all that decides whether it fits.
std::string template_key(std::string_view snapshot_identity, std::string_view image_digest);

struct Template {
  std::string key;
  SnapshotFiles files;
  std::filesystem::path scratch;  // what the disk of channel::kScratchSlot held then
  base::GmacKey memory_key{};
  std::string memory_tag;
  std::uint64_t memory_bytes = 0;
  base::GmacKey scratch_key{};
  std::string scratch_tag;
};

// A template in the making. The destructor removes what was not published.
class TemplateBuild {
 public:
  TemplateBuild(TemplateBuild&& other) noexcept;
  TemplateBuild& operator=(TemplateBuild&&) = delete;
  ~TemplateBuild();
  // Where the VM is to be saved. None is there yet. VMs may be restored from them before they are published.
  SnapshotFiles files() const;
  std::filesystem::path scratch() const;
  const std::string& key() const { return key_; }
  // Takes the digests and gives the directory its name. Blocks: reads all of the memory. The VM must have been saved.
  base::Result<void> publish();

 private:
  friend class TemplateStore;
  TemplateBuild(std::filesystem::path root, std::string key, base::Fd lock)
      : root_(std::move(root)), key_(std::move(key)), lock_(std::move(lock)) {}
  std::filesystem::path directory() const { return root_ / (".new-" + key_); }
  std::filesystem::path root_;
  std::string key_;
  base::Fd lock_;  // none once published, or moved away
};

struct TemplateLimits {
  std::uint64_t max_bytes = std::uint64_t{8} << 30;  // on the disk; the least recently used go first
  std::chrono::hours unused_for{14 * 24};
};

class TemplateStore {
 public:
  explicit TemplateStore(std::filesystem::path root) : root_(std::move(root)) {}

  // not_found: there is none. failed_precondition: there was one that may not be used, and why; it is removed. All is
  // checked but the memory's digest. Counts as a use. Some system calls.
  base::Result<Template> find(const std::string& key) const;
  // Reads the memory: failed_precondition when it is not as it was saved. Blocks, about 0.2 ms a MiB that is cached.
  static base::Result<void> verify_memory(const Template& found);
  // Copies what the scratch disk held to `disk`, which must hold nothing; failed_precondition when that is not as it
  // was saved. Blocks for a millisecond: some 100 KiB.
  static base::Result<void> copy_scratch(const Template& found, const base::Fd& disk);
  // The right to make the template of this key. nullopt: another process is at it, or has just made it.
  base::Result<std::optional<TemplateBuild>> begin(const std::string& key) const;
  // VMs that were restored from it go on.
  void remove(const std::string& key) const;
  // What is beyond the limits, and what makers that were killed left.
  void collect(const TemplateLimits& limits) const;

 private:
  base::Result<Template> read(const std::string& key) const;
  std::filesystem::path root_;
};

}  // namespace cleanroom::backends
