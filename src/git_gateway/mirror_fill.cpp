// A refresh: our own fetch from upstream (gitprotocol-v2) into the mirror. The credential stays in this process: git
// gets a pack on its standard input. Only upstreams that speak v2 have mirrors.
#include "src/base/async/event.h"
#include "src/base/os/io.h"
#include "src/gateway/limits.h"
#include "src/git_gateway/git_request.h"
#include "src/git_gateway/limits.h"
#include "src/git_gateway/mirror.h"
#include "src/git_gateway/mirror_git.h"
#include "src/git_gateway/packet_reader.h"

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Result;
using gateway::UpstreamConnection;

namespace {

constexpr std::string_view kDelimiterPacket = "0001";

base::Failure invalid_answer(std::string message) {
  return base::fail(Code::unavailable, "upstream_invalid", std::move(message));
}

struct FetchPlan {
  std::set<ObjectId> wants;
  MirrorTips have;
};

template <class T>
Awaitable<Result<T>> on_pool(base::BlockingPool& pool, std::function<Result<T>()> work) {
  auto running = base::run_blocking(pool, std::move(work));
  co_return co_await std::move(running);
}

// Sends one command to a connection and reads the head of its answer.
Awaitable<Result<void>> send_command(UpstreamConnection& upstream, const MirrorFill& fill,
                                     const credentials::Lookup& lookup, const std::string& body) {
  gateway::UpstreamRequest request{.method = "POST", .target = fill.place.target + "/" + std::string(kUploadPack)};
  request.fields = {{"accept", "application/x-git-upload-pack-result"},
                    {"content-type", "application/x-git-upload-pack-request"},
                    {"git-protocol", "version=2"},
                    {"user-agent", "git/cleanroom"}};
  request.content_length = body.size();
  if (lookup.grant) request.secret_fields.emplace_back(lookup.grant->header_name, lookup.grant->header_value.reveal());
  CR_CO_TRY(co_await upstream.send(request));
  CR_CO_TRY(co_await upstream.send_body(base::as_bytes(body)));
  CR_CO_TRY(co_await upstream.finish_body());
  CR_CO_ASSIGN(const auto head, co_await upstream.read_head());
  if (head.status != 200) co_return invalid_answer(fmt::format("upstream answered {} to a refresh", head.status));
  if (head.field("content-type").value_or("") != "application/x-git-upload-pack-result")
    co_return invalid_answer("upstream does not speak git's smart HTTP here");
  co_return Result<void>{};
}

// "OID refs/heads/main", attributes after it.
Awaitable<Result<MirrorTips>> list_refs(UpstreamConnection& upstream, const MirrorFill& fill,
                                        const credentials::Lookup& lookup) {
  const auto body = data_packet("command=ls-refs\n") + std::string(kDelimiterPacket) +
                    data_packet("ref-prefix refs/heads/\n") + data_packet("ref-prefix refs/tags/\n") +
                    std::string(kFlushPacket);
  CR_CO_TRY(co_await send_command(upstream, fill, lookup, body));
  PacketReader reader(upstream);
  MirrorTips tips;
  for (;;) {
    CR_CO_ASSIGN(const auto packet, co_await reader.next());
    if (packet.kind == Packet::Kind::flush) break;
    const auto line = packet_text(packet);
    const auto id = ObjectId::parse(line.substr(0, ObjectId::kHexSize));
    if (packet.kind != Packet::Kind::data || !id) co_return invalid_answer("upstream's list of refs is not one");
    const auto name = line.substr(std::min(line.size(), ObjectId::kHexSize + 1));
    if (name.starts_with("refs/heads/")) tips.heads.insert(*id);
    if (name.starts_with("refs/tags/")) tips.tags.insert(*id);
    if (tips.heads.size() + tips.tags.size() > kMaxMirrorRefs) co_return invalid_answer("too many refs for a mirror");
  }
  CR_CO_TRY(co_await reader.expect_end());
  co_return tips;
}

std::string fetch_body(const std::set<ObjectId>& wants, const MirrorTips& have) {
  auto body = data_packet("command=fetch\n") + std::string(kDelimiterPacket) + data_packet("thin-pack\n") +
              data_packet("ofs-delta\n") + data_packet("no-progress\n");
  for (const auto& id : wants)
    body += data_packet("want " + id.hex() + "\n");
  std::size_t haves = 0;
  for (const auto* ids : {&have.heads, &have.tags}) {
    for (const auto& id : *ids) {
      if (++haves > kMaxMirrorHaves) break;
      body += data_packet("have " + id.hex() + "\n");
    }
  }
  return body + data_packet("done\n") + std::string(kFlushPacket);
}

// The section "packfile", side band by side band, into index-pack.
Awaitable<Result<void>> stream_pack(PacketReader& reader, MirrorGit& git, std::uint64_t& bytes) {
  for (;;) {
    CR_CO_ASSIGN(const auto packet, co_await reader.next());
    if (packet.kind != Packet::Kind::data) co_return invalid_answer("upstream sends no pack");
    const auto line = packet_text(packet);
    if (line == "packfile") break;
    if (line.starts_with("ERR ")) co_return invalid_answer("upstream refuses to send a pack");
  }
  for (;;) {
    CR_CO_ASSIGN(const auto packet, co_await reader.next());
    if (packet.kind == Packet::Kind::flush) break;
    if (packet.kind != Packet::Kind::data || packet.payload.empty())
      co_return invalid_answer("upstream's pack is cut short");
    const auto band = packet.payload.front();
    if (band == '\3') co_return invalid_answer("upstream failed while it sent a pack");
    if (band != '\1') continue;
    bytes += packet.payload.size() - 1;
    CR_CO_TRY(co_await git.write(base::as_bytes(packet.payload.substr(1))));
  }
  co_return co_await reader.expect_end();
}

Awaitable<Result<void>> run_to_end(MirrorGit& git, std::string what, base::Deadline deadline) {
  CR_CO_ASSIGN(const auto status, co_await git.wait(deadline));
  if (!status.success())
    co_return base::fail(Code::unavailable,
                         fmt::format("cannot {} in the mirror: git ended with {}", what, base::to_string(status)));
  co_return Result<void>{};
}

// As git-fetch does it: a first pack must be whole in itself, and what a later one wants must lead to nothing missing.
Awaitable<Result<void>> fetch_pack(UpstreamConnection& upstream, MirrorFill& fill, const credentials::Lookup& lookup,
                                   const MirrorUse& use, FetchPlan plan) {
  const auto deadline = base::deadline_in(kMirrorFillLimit);
  const auto executor = co_await base::asio::this_coro::executor;
  CR_CO_TRY(co_await send_command(upstream, fill, lookup, fetch_body(plan.wants, plan.have)));
  MirrorGitCommand command{.repository = use.repository(),
                           .arguments = {"index-pack", "--stdin", "--fix-thin", "--threads=1",
                                         fmt::format("--max-input-size={}", fill.store->max_bytes())}};
  const bool first = plan.have.heads.empty() && plan.have.tags.empty();
  if (first) command.arguments.emplace_back("--check-self-contained-and-connected");
  CR_CO_ASSIGN(auto index, MirrorGit::start(executor, command, base::Fd()));
  PacketReader reader(upstream);
  CR_CO_TRY(co_await stream_pack(reader, *index, fill.bytes));
  index->end_input();
  CR_CO_TRY(co_await run_to_end(*index, "index a pack", deadline));
  if (first) co_return Result<void>{};
  std::string wanted;
  for (const auto& id : plan.wants)
    wanted += id.hex() + "\n";
  CR_CO_ASSIGN(auto input, memory_file(wanted));
  MirrorGitCommand check{.repository = use.repository(),
                         .arguments = {"rev-list", "--objects", "--quiet", "--stdin", "--not", "--all"}};
  CR_CO_ASSIGN(auto walk, MirrorGit::start(executor, check, std::move(input)));
  co_return co_await run_to_end(*walk, "check a pack", deadline);
}

// Many packs make every answer slow. Others who use the mirror come first: then it is for another time.
Awaitable<Result<void>> repack(const MirrorUse& use) {
  if (MirrorStore::packs(use) <= kMaxMirrorPacks || !MirrorStore::make_exclusive(use)) co_return Result<void>{};
  const auto executor = co_await base::asio::this_coro::executor;
  MirrorGitCommand command{.repository = use.repository(), .arguments = {"repack", "-q", "-a", "-d"}};
  CR_CO_ASSIGN(auto git, MirrorGit::start(executor, command, base::Fd()));
  co_return co_await run_to_end(*git, "repack", base::deadline_in(kMirrorRepackLimit));
}

}  // namespace

Awaitable<Result<std::optional<std::string>>> fill_mirror(MirrorFill& fill) {
  auto& parts = fill.state->parts;
  auto& pool = fill.state->mirrors->pool;
  std::function<Result<std::optional<MirrorUse>>()> open = [store = fill.store, key = fill.key] {
    return store->open_to_fill(key);
  };
  CR_CO_ASSIGN(auto opened, co_await on_pool(pool, std::move(open)));
  if (!opened) co_return std::optional<std::string>();
  auto use = std::make_shared<MirrorUse>(std::move(*opened));
  if (fill.state->closed) co_return base::fail(Code::cancelled, "the run has ended");
  auto finding = parts.broker.find(fill.request, base::deadline_in(gateway::kCredentialLimit));
  CR_CO_ASSIGN(const auto lookup, co_await std::move(finding));
  if (scope_of(lookup) != fill.key.scope) co_return invalid_answer("the credential is not that of the mirror any more");
  CR_CO_ASSIGN(auto upstream, co_await UpstreamConnection::open(parts.upstream, fill.place.origin));
  CR_CO_ASSIGN(auto tips, co_await list_refs(*upstream, fill, lookup));
  // What was missed, such as the head of a pull request, stays with the tips until the next refresh.
  tips.heads.insert(fill.wants.begin(), fill.wants.end());
  std::function<Result<MirrorTips>()> read = [use] { return MirrorStore::read_tips(*use); };
  FetchPlan plan;
  CR_CO_ASSIGN(plan.have, co_await on_pool(pool, std::move(read)));
  for (const auto* ids : {&tips.heads, &tips.tags})
    std::copy_if(ids->begin(), ids->end(), std::inserter(plan.wants, plan.wants.end()),
                 [&plan](const ObjectId& id) { return !plan.have.has(id); });
  const auto fetched = plan.wants.size();
  if (fetched > 0) {
    if (!upstream->is_reusable()) {
      CR_CO_ASSIGN(upstream, co_await UpstreamConnection::open(parts.upstream, fill.place.origin));
    }
    CR_CO_TRY(co_await fetch_pack(*upstream, fill, lookup, *use, std::move(plan)));
  }
  std::function<Result<std::uint64_t>()> finish = [use, tips, store = fill.store]() -> Result<std::uint64_t> {
    CR_TRY(MirrorStore::write_tips(*use, tips));
    return store->trim();
  };
  CR_CO_TRY(co_await on_pool(pool, std::move(finish)));
  CR_CO_TRY(co_await repack(*use));
  co_return std::optional(fmt::format("{} tips, {} new", tips.heads.size() + tips.tags.size(), fetched));
}

}  // namespace cleanroom::git_gateway
