#pragma once
// The small parsers of tar headers.
#include "src/base/os/result.h"
#include "src/image/tree_entry.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace cleanroom::image {

// The bytes up to the first NUL.
std::string_view tar_text(std::string_view field);
// Octal with spaces before and spaces or NULs behind it, or GNU base-256; empty is 0. Nothing for anything else: digits
// behind a NUL are a number to some programs and 0 to others.
std::optional<std::int64_t> tar_number(std::string_view field);
// Decimal digits only.
std::optional<std::uint64_t> decimal(std::string_view text);
// A pax time: [-]seconds[.fraction]; digits beyond nanoseconds are cut.
std::optional<Timestamp> pax_time(std::string_view text);
// Calls `each` with key and value of every "<length> <key>=<value>\n". image_invalid when malformed.
base::Result<void> for_each_pax_record(
    std::string_view records,
    const std::function<base::Result<void>(std::string_view key, std::string_view value)>& each);
bool tar_checksum_ok(std::string_view header);

}  // namespace cleanroom::image
