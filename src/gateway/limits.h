#pragma once
// Every cap and time limit of the in-process gateway, in one place; docs/gateway.md quotes them. They hold for one
// sandbox, besides those of src/egress/limits.h, which hold for the tunnels that the gateway's clients come in on.
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cleanroom::gateway {

inline constexpr std::size_t kMaxHeadBytes = 64 * 1024;  // of a request or an answer, start line and fields
inline constexpr std::size_t kMaxTargetBytes = 8 * 1024;
inline constexpr std::size_t kMaxPathSegments = 32;
inline constexpr std::size_t kMaxSegmentBytes = 255;
inline constexpr std::size_t kIoBuffer = 64 * 1024;  // of one direction of one exchange
inline constexpr std::size_t kMaxDrainBytes =
    256 * 1024;  // of a body that nobody wanted, so that a connection lives on
inline constexpr int kMaxRedirects = 5;
inline constexpr int kMaxInterimAnswers = 8;  // 1xx before the answer proper

inline constexpr auto kGuestIdleLimit = std::chrono::minutes(2);      // between two requests, and for each read of one
inline constexpr auto kGuestWriteLimit = std::chrono::minutes(5);     // the guest takes nothing of an answer
inline constexpr auto kTlsHandshakeLimit = std::chrono::seconds(15);  // name and TCP: limits of src/egress
inline constexpr auto kUpstreamHeadLimit = std::chrono::minutes(5);   // large repositories are counted first
inline constexpr auto kUpstreamIdleLimit = std::chrono::minutes(2);   // no byte of a body either way
inline constexpr auto kCredentialLimit = std::chrono::seconds(20);

}  // namespace cleanroom::gateway
