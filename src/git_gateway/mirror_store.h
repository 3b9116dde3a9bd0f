#pragma once
// MirrorStore: the bare repositories on disk, one for each (origin, repository, credential scope).
//
//   DIRECTORY/<sha256 of the key>/repo.git   objects, and refs that say which of them are whole
//                                 key        the key, for people
//                                 used       its time is that of the last use
//                                 suspect    there: git failed in it; it is neither served nor kept
//                                 use.lock   shared while served or filled, exclusive to remove or repack it
//                                 fill.lock  exclusive while filled
//
// Locks are flock(2): they end with their process, however that ends. Only packs that git has checked get refs, and all
// refs are one file that is replaced whole, so a fill cut off anywhere leaves the mirror as it was, and files that the
// next fill removes. Everything here blocks.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/git_gateway/object_id.h"

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace cleanroom::git_gateway {

struct MirrorKey {
  std::string place;  // "github.com/acme/web.git"
  std::string scope;  // "binding ID", "anonymous"
  std::string text() const { return place + "\n" + scope + "\n"; }
  std::string id() const;  // 64 hexadecimal digits
};

// What a mirror has refs to; `tags` so that include-tag finds them.
struct MirrorTips {
  std::set<ObjectId> heads;
  std::set<ObjectId> tags;
  bool has(const ObjectId& id) const { return heads.contains(id) || tags.contains(id); }
};

// A mirror in use; it stays while this lives.
struct MirrorUse {
  base::Fd use_lock;
  base::Fd fill_lock;  // of a fill
  std::filesystem::path folder;
  std::filesystem::path repository() const { return folder / "repo.git"; }
};

class MirrorStore {
 public:
  MirrorStore(std::filesystem::path directory, std::uint64_t max_bytes)
      : directory_(std::move(directory)), max_bytes_(max_bytes) {}
  std::uint64_t max_bytes() const { return max_bytes_; }

  // nullopt: there is none that could be served now.
  base::Result<std::optional<MirrorUse>> open(const MirrorKey& key) const;
  // Makes it when there is none, and clears what an interrupted fill has left. nullopt: another one fills it.
  // failed_precondition: the directory is not this user's alone.
  base::Result<std::optional<MirrorUse>> open_to_fill(const MirrorKey& key) const;
  // From now on it is not served, and the next fill or trim() removes it.
  void suspect(const MirrorKey& key) const;
  // Removes suspect mirrors, then those not used for longest until all fit; never one in use. Returns what is left.
  base::Result<std::uint64_t> trim() const;

  static base::Result<MirrorTips> read_tips(const MirrorUse& use);
  static base::Result<void> write_tips(const MirrorUse& use, const MirrorTips& tips);
  static std::size_t packs(const MirrorUse& use);
  // For a fill that has the mirror to itself: nobody else may begin to use it until `use` goes. False: others use it.
  static bool make_exclusive(const MirrorUse& use);

 private:
  base::Result<void> make_directory() const;
  bool remove(const std::filesystem::path& folder) const;
  std::filesystem::path directory_;
  std::uint64_t max_bytes_;
};

}  // namespace cleanroom::git_gateway
