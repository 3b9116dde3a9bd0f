#pragma once
// The mirrors of one run: what upstream has listed to it, answers from a mirror, and refreshes behind it. Internal to
// src/git_gateway.
//
// A mirror answers only what upstream would: in this run, upstream has listed the repository's refs to a request with
// the credential of the mirror's scope, not long ago, and each object asked for was on that list. What a mirror holds
// beyond that is never named by a guest's request. Whatever goes wrong before the first byte is upstream's to answer.
#include "src/base/async/run_blocking.h"
#include "src/git_gateway/gateway_state.h"
#include "src/git_gateway/mirror_store.h"
#include "src/git_gateway/pack_request.h"

#include <boost/asio/cancellation_signal.hpp>

#include <list>
#include <map>
#include <memory>

namespace cleanroom::git_gateway {

class Mirrors {
 public:
  Mirrors(MirrorOptions options, base::BlockingPool& blocking)
      : store(std::make_shared<MirrorStore>(std::move(options.directory), options.max_bytes)), pool(blocking) {}
  // Ends the refreshes under way.
  void cancel();

  // Upstream has listed these to this run; an empty list counts too.
  void remember(const MirrorKey& key, std::set<ObjectId> listed);
  // Upstream has refused the credential of this scope.
  void forget(const MirrorKey& key) { listed_.erase(key.text()); }
  bool may_serve(const MirrorKey& key, const std::vector<ObjectId>& wants) const;

  // Answers the request, decoded in `body`. False: nothing was sent, upstream has to.
  base::Awaitable<base::Result<bool>> serve(GitExchange& exchange, MirrorKey key, const std::string& body);
  // Brings the mirror up to date in the background, once at a time, and not again in this run after a failure.
  void refresh(GitExchange& exchange, const base::asio::any_io_executor& executor, const MirrorKey& key,
               std::vector<ObjectId> wants);

  const std::shared_ptr<const MirrorStore> store;
  base::BlockingPool& pool;

 private:
  struct Listed {
    std::set<ObjectId> ids;
    base::Deadline until{};
  };
  struct Refresh {
    bool running = false;
    bool failed = false;
    base::asio::cancellation_signal cancel;
  };
  std::map<std::string, Listed> listed_;
  // Shared with the coroutines, which may outlive this.
  std::map<std::string, std::shared_ptr<Refresh>> refreshes_;
  std::size_t serving_ = 0;
};

// "binding ID" or "anonymous".
std::string scope_of(const credentials::Lookup& lookup);
// Of the place and the credential of the exchange, which authorise() has looked up.
MirrorKey mirror_key(const GitExchange& exchange, const Place& place);

// One refresh, from list of refs to refs in the mirror.
struct MirrorFill {
  StatePtr state;
  std::shared_ptr<const MirrorStore> store;
  MirrorKey key;
  Place place;
  credentials::Request request;
  std::vector<ObjectId> wants;  // listed to this run, besides heads and tags
  std::uint64_t connection = 0;
  std::uint64_t bytes = 0;  // of the pack
};
// nullopt: another process fills it.
base::Awaitable<base::Result<std::optional<std::string>>> fill_mirror(MirrorFill& fill);

}  // namespace cleanroom::git_gateway
