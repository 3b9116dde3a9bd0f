#pragma once
// The word that was probably meant, by edit distance (Damerau-Levenshtein, restricted: swaps of neighbours count one).
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cleanroom::base {

// Words longer than 64 bytes are cut to that: the input may be hostile, and nobody misspells more.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of `known`, when it is near enough to be a slip (a third of its length, at least one, at most three
// edits; case is free).
std::optional<std::string> did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace cleanroom::base
