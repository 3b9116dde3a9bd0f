#include "guest/user_lookup.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kMaxGroups = 1024;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // -1 means "leave it" to setresuid(2).
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value == ~std::uint32_t{0}) {
    return std::nullopt;
  }
  return value;
}

// The first line of at least `columns` columns that `matches`.
template <class Match>
std::optional<std::vector<std::string_view>> find_line(std::string_view text, std::size_t columns, Match matches) {
  for (const auto line : split(text, '\n')) {
    auto fields = split(line, ':');
    if (fields.size() >= columns && matches(fields)) return fields;
  }
  return std::nullopt;
}

base::Result<gid_t> resolve_group(std::string_view name, std::string_view group) {
  // A name that looks like a number may still be a name.
  const auto line = find_line(group, 3, [&](const auto& fields) { return fields[0] == name; });
  const auto id = line ? parse_id((*line)[2]) : parse_id(name);
  if (!id) return base::fail(base::Code::not_found, fmt::format("cannot find group '{}' in the image", name));
  return *id;
}

std::vector<gid_t> supplementary_groups(std::string_view user, std::string_view group) {
  std::vector<gid_t> groups;
  for (const auto line : split(group, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4 || groups.size() == kMaxGroups) continue;
    const auto members = split(fields[3], ',');
    const auto id = parse_id(fields[2]);
    if (id && std::find(members.begin(), members.end(), user) != members.end()) groups.push_back(*id);
  }
  return groups;
}

}  // namespace

base::Result<UserIdentity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group) {
  const auto colon = user.find(':');
  const std::string_view name = user.empty() ? "0" : user.substr(0, colon);
  auto line = find_line(passwd, 6, [&](const auto& fields) { return fields[0] == name; });
  if (!line) {
    const auto wanted = parse_id(name);
    if (!wanted) return base::fail(base::Code::not_found, fmt::format("cannot find user '{}' in the image", name));
    line = find_line(passwd, 6, [&](const auto& fields) { return parse_id(fields[2]) == wanted; });
  }
  UserIdentity identity;
  if (line) {
    const auto uid = parse_id((*line)[2]);
    const auto gid = parse_id((*line)[3]);
    if (!uid || !gid) {
      return base::fail(base::Code::invalid_input, fmt::format("cannot use user '{}': its entry has no ids", name));
    }
    identity.uid = *uid;
    identity.gid = *gid;
    identity.name = (*line)[0];
    if (!(*line)[5].empty()) identity.home = (*line)[5];
  } else {
    identity.uid = *parse_id(name);
    identity.name = identity.uid == 0 ? "root" : "";
    if (identity.uid == 0) identity.home = "/root";
  }
  if (colon != std::string_view::npos) {
    CR_ASSIGN(identity.gid, resolve_group(user.substr(colon + 1), group));
  } else if (!identity.name.empty()) {
    identity.groups = supplementary_groups(identity.name, group);
  }
  return identity;
}

}  // namespace cleanroom::guest
