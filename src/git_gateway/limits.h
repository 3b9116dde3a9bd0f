#pragma once
// Caps of the git gateway, for one sandbox; docs/gateway.md quotes them. Those of HTTP: src/gateway/limits.h.
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cleanroom::git_gateway {

inline constexpr std::uint64_t kMaxUploadPackRequest = 64u << 20u;  // wants and haves, as sent (often gzip)
inline constexpr std::uint64_t kMaxPushBytes = std::uint64_t{4} << 30u;
inline constexpr std::size_t kMaxLfsRequest = 1 << 20;
inline constexpr std::size_t kMaxLfsAnswer = 4 << 20;
inline constexpr std::size_t kMaxLfsBatches = 4;            // at a time
inline constexpr std::size_t kMaxLfsFields = 16;            // that upstream wants to see again with an object
inline constexpr std::size_t kMaxLfsFieldBytes = 8192;      // names and values of one object's
inline constexpr std::size_t kMaxKnownLfsBytes = 32 << 20;  // addresses and fields of all objects
inline constexpr std::size_t kMaxLfsObjects = 1000;         // of one batch
inline constexpr std::size_t kMaxKnownLfsObjects = 50'000;  // whose address is remembered
inline constexpr std::size_t kMaxKnownMoves = 1000;         // repositories that upstream redirects

// Mirrors. A request above these is upstream's to answer, as without a mirror.
inline constexpr std::size_t kMaxMirrorRequest = 4u << 20u;    // of a POST, as sent
inline constexpr std::size_t kMaxMirrorInflated = 16u << 20u;  // the same, decoded
inline constexpr std::size_t kMaxMirrorRefs = 100'000;         // of one list of refs, and remembered of one repository
inline constexpr std::size_t kMaxMirroredPlaces = 100;         // repositories of one run whose refs are remembered
inline constexpr std::size_t kMaxMirrorServes = 4;             // answers at once
inline constexpr std::size_t kMaxMirrorHeldBack = 256 * 1024;  // of an answer, until it is sure that it is one
inline constexpr std::size_t kMaxMirrorHaves = 2000;           // tips that a refresh tells upstream of
inline constexpr std::size_t kMaxMirrorPacks = 20;             // more are made one
inline constexpr auto kMirrorAuthorisedFor = std::chrono::minutes(10);  // after upstream last listed the refs
inline constexpr auto kMirrorSilence = std::chrono::minutes(2);         // of this host's git
inline constexpr auto kMirrorFillLimit = std::chrono::hours(1);
inline constexpr auto kMirrorRepackLimit = std::chrono::minutes(10);

}  // namespace cleanroom::git_gateway
