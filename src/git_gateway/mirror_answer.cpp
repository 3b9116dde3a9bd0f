#include "src/git_gateway/mirror_answer.h"

#include "src/base/os/io.h"
#include "src/gateway/limits.h"
#include "src/git_gateway/limits.h"
#include "src/git_gateway/mirror_git.h"
#include "src/git_gateway/pkt_line.h"

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Result;

namespace {

constexpr std::chrono::seconds kExitLimit{20};

enum class Start { unclear, good, declined, failed };

// What the first packets of an answer say: pack data (side band 1), an error, or neither yet. A pack without side band
// is no pkt-line.
Start look_at_start(std::string_view text) {
  constexpr char kPackBand = '\1';
  constexpr char kErrorBand = '\3';
  while (!text.empty()) {
    const auto packet = first_packet(text);
    if (!packet) return Start::good;
    if (!*packet) return text.size() > kMaxMirrorHeldBack ? Start::good : Start::unclear;
    const auto line = (*packet)->payload;
    if (line.starts_with(kPackBand)) return Start::good;
    if (line.starts_with(kErrorBand)) return Start::failed;
    if (line.starts_with("ERR ")) return line.find("not our ref") != line.npos ? Start::declined : Start::failed;
    text.remove_prefix((*packet)->size);
  }
  return Start::unclear;
}

Awaitable<Result<void>> begin_answer(GitExchange& exchange, const std::string& held) {
  gateway::Answer answer{
      .status = 200,
      .fields = {{"content-type", "application/x-git-upload-pack-result"}, {"cache-control", "no-cache"}}};
  CR_CO_TRY(co_await exchange.http.respond(std::move(answer)));
  co_return co_await exchange.http.write(base::as_bytes(held));
}

// Until the answer is sure, or over. True: its end has come.
Awaitable<Result<bool>> hold_back(MirrorGit& git, std::string& held, Start& start) {
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  while (start == Start::unclear && held.size() <= kMaxMirrorHeldBack) {
    CR_CO_ASSIGN(const auto n, co_await git.read(buffer));
    if (n == 0) co_return true;
    held += base::as_text(std::span<const std::byte>(buffer).first(n));
    start = look_at_start(held);
  }
  co_return false;
}

Awaitable<bool> ends_well(MirrorGit& git) {
  const auto status = co_await git.wait(base::deadline_in(kExitLimit));
  co_return status && status->success();
}

}  // namespace

Awaitable<Result<MirrorAnswer>> answer_from_mirror(GitExchange& exchange, std::filesystem::path repository,
                                                   const std::string& body, bool is_v2) {
  const auto executor = co_await base::asio::this_coro::executor;
  MirrorGitCommand command{.repository = repository,
                           .arguments = {"upload-pack", "--stateless-rpc", "--strict", repository.native()},
                           .protocol_v2 = is_v2};
  auto input = memory_file(body);
  if (!input) co_return MirrorAnswer::declined;
  auto git = MirrorGit::start(executor, command, std::move(*input));
  if (!git) co_return MirrorAnswer::declined;
  std::string held;
  auto start = Start::unclear;
  const auto over = co_await hold_back(**git, held, start);
  if (start == Start::declined) co_return MirrorAnswer::declined;
  if (!over || start == Start::failed) co_return MirrorAnswer::broken;
  if (*over) {
    if (held.empty() || !co_await ends_well(**git)) co_return MirrorAnswer::broken;
    CR_CO_TRY(co_await begin_answer(exchange, held));
    CR_CO_TRY(co_await exchange.http.finish());
    co_return MirrorAnswer::served;
  }
  CR_CO_TRY(co_await begin_answer(exchange, held));
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  for (;;) {
    const auto n = co_await (*git)->read(buffer);
    if (!n) co_return MirrorAnswer::broken_off;
    if (*n == 0) break;
    CR_CO_TRY(co_await exchange.http.write(std::span<const std::byte>(buffer).first(*n)));
  }
  if (!co_await ends_well(**git)) co_return MirrorAnswer::broken_off;
  CR_CO_TRY(co_await exchange.http.finish());
  co_return MirrorAnswer::served;
}

}  // namespace cleanroom::git_gateway
