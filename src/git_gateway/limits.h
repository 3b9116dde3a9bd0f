#pragma once
// Caps of the git gateway, for one sandbox; docs/gateway.md quotes them. Those of HTTP: src/gateway/limits.h.
#include <cstddef>
#include <cstdint>

namespace cleanroom::git_gateway {

inline constexpr std::uint64_t kMaxUploadPackRequest = 64u << 20u;  // wants and haves, as sent (often gzip)
inline constexpr std::uint64_t kMaxPushBytes = std::uint64_t{4} << 30u;
inline constexpr std::size_t kMaxLfsRequest = 1 << 20;
inline constexpr std::size_t kMaxLfsAnswer = 8 << 20;
inline constexpr std::size_t kMaxLfsObjects = 1000;         // of one batch
inline constexpr std::size_t kMaxKnownLfsObjects = 50'000;  // whose address is remembered
inline constexpr std::size_t kMaxKnownMoves = 1000;         // repositories that upstream redirects

}  // namespace cleanroom::git_gateway
