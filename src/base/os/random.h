#pragma once
// Bytes and identifiers from the kernel's generator (getrandom(2)).
#include <cstddef>
#include <span>
#include <string>

namespace cleanroom::base {

// Blocks only before the kernel's pool is initialised. Aborts if the kernel refuses: there is no safe way on.
void fill_random(std::span<std::byte> into);
// Lower-case hex of `byte_count` random bytes.
std::string random_hex(std::size_t byte_count);

}  // namespace cleanroom::base
