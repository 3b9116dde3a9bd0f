#pragma once
// Text that a guest or a remote peer chose, made safe for a log, a terminal or an audit line.
#include <string>
#include <string_view>

namespace cleanroom::egress {

// Printable ASCII only: other bytes and backslashes become \xNN. Cut after `max_bytes` of output, with "..." appended.
std::string guest_text(std::string_view text, std::size_t max_bytes);

}  // namespace cleanroom::egress
