#pragma once
// Every cap and time limit of the egress path, in one place; docs/audit.md and docs of the policy quote them. They hold
// for one sandbox (one network stream): a flood hurts the guest that sends it.
#include "src/channel/h2_session.h"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cleanroom::egress {

// Tunnels that are being set up or are open. One more is refused with `connection_limit`.
inline constexpr std::size_t kMaxConnections = 256;
// New tunnels: a burst goes through at once, then they are paced (they wait, they are not refused).
inline constexpr double kNewConnectionsPerSecond = 50;
inline constexpr double kNewConnectionsBurst = 256;
// Requests of any kind, refused ones too: beyond it the server stops accepting, which holds the guest back.
inline constexpr double kRequestsPerSecond = 200;
inline constexpr double kRequestsBurst = 1000;
// Names below an allowed wildcard that are new within the current minute: what a job could say to its resolver.
inline constexpr std::size_t kMaxNewWildcardNamesPerMinute = 300;
inline constexpr std::size_t kMaxKnownWildcardNames = 20'000;

// More streams than tunnels, so that a tunnel too many gets an answer instead of waiting for a free stream.
inline constexpr channel::H2Limits kNetworkStreamLimits{
    .max_streams = 512, .stream_window = 64 * 1024, .connection_window = 512 * 64 * 1024, .send_buffer = 64 * 1024};

inline constexpr auto kResolveLimit = std::chrono::seconds(10);
inline constexpr std::size_t kMaxAddresses = 32;                 // of one answer; the rest is not looked at
inline constexpr auto kConnectLimit = std::chrono::seconds(15);  // all attempts together
inline constexpr auto kConnectStagger =
    std::chrono::milliseconds(250);  // RFC 8305 section 5: the next address joins in
inline constexpr auto kClientHelloLimit = std::chrono::seconds(10);
inline constexpr std::size_t kMaxClientHelloBytes = 64 * 1024;  // the handshake message
inline constexpr std::size_t kMaxHttpHeadBytes = 64 * 1024;
inline constexpr std::size_t kMaxHttpFields = 256;
inline constexpr std::size_t kMaxChunkLineBytes = 1024;
inline constexpr auto kIdleLimit = std::chrono::minutes(30);           // no byte either way
inline constexpr auto kHalfClosedIdleLimit = std::chrono::minutes(5);  // the same when one side has ended
inline constexpr auto kFlushLimit =
    std::chrono::seconds(30);  // both sides have ended; the guest takes what is buffered
inline constexpr auto kAnswerLimit = std::chrono::seconds(5);  // the guest takes a refusal and ends its side
inline constexpr std::size_t kRelayBuffer = 64 * 1024;

inline constexpr std::size_t kMaxReportBytes = 4096;  // body of one POST /v1/report
inline constexpr std::size_t kMaxReportLines = 32;
inline constexpr auto kReportLimit = std::chrono::seconds(5);

inline constexpr std::size_t kMaxSummaryEntries = 1000;       // distinct host, port and reason; the rest is one count
inline constexpr std::size_t kMaxAuditFieldBytes = 512;       // of text that a guest or a peer chose
inline constexpr std::uint64_t kMaxAuditBytes = 256u << 20u;  // a run's audit.jsonl; what does not fit is counted
inline constexpr std::size_t kMaxAuditBacklog = 1 << 20;      // bytes held while the file cannot be written

}  // namespace cleanroom::egress
