#pragma once
// ObjectId: a SHA-1 object name, 40 lower-case hexadecimal digits on the wire. Repositories of other hashes have no
// mirror.
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::git_gateway {

struct ObjectId {
  static constexpr std::size_t kHexSize = 40;
  std::array<std::uint8_t, kHexSize / 2> bytes{};
  auto operator<=>(const ObjectId&) const = default;

  // nullopt: not exactly 40 lower-case hexadecimal digits.
  static std::optional<ObjectId> parse(std::string_view text);
  std::string hex() const;
};

}  // namespace cleanroom::git_gateway
