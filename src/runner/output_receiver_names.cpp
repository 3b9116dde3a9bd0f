#include "src/runner/output_receiver_names.h"

#include "src/base/text/utf8.h"
#include "src/runner/output_receiver.h"

#include <algorithm>
#include <cstdint>

namespace cleanroom::runner {
namespace {

constexpr std::size_t kMaxComponentBytes = 255;  // NAME_MAX

// The letter that a case-insensitive file system takes `c` for; 0 = HFS+ ignores it.
char fold(std::uint32_t c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  if (c == 0x130 || c == 0x131) return 'i';
  if (c == 0x212A) return 'k';  // KELVIN SIGN
  if ((c >= 0x200C && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x206A && c <= 0x206F) || c == 0xFEFF) {
    return 0;
  }
  return c < 0x80 ? static_cast<char>(c) : '?';
}

std::string_view find_character_fault(std::string_view text) {
  while (!text.empty()) {
    const auto decoded = base::decode_utf8(text);
    if (decoded.length == 0) return "is not UTF-8";
    if (base::is_invisible_or_control(decoded.value)) return "has a control or invisible character";
    text.remove_prefix(decoded.length);
  }
  return {};
}

std::string_view find_component_fault(std::string_view component) {
  if (component.empty()) return "has an empty component";
  if (component == "." || component == "..") return "has a '.' or '..' component";
  if (component.size() > kMaxComponentBytes) return "has a component that is too long";
  if (is_spelling_of(component, ".git")) return "leads into a Git directory";
  if (is_spelling_of(component, ".buildkite")) return "leads into .buildkite";
  if (component.starts_with(kStagingPrefix)) return "is reserved";
  return {};
}

}  // namespace

bool is_spelling_of(std::string_view component, std::string_view name) {
  component = component.substr(0, component.find_first_of(":\\"));
  std::string folded;
  while (!component.empty()) {
    const auto decoded = base::decode_utf8(component);
    if (const char c = decoded.length == 0 ? '?' : fold(decoded.value); c != 0) folded += c;
    component.remove_prefix(decoded.length == 0 ? 1 : decoded.length);
  }
  while (!folded.empty() && (folded.back() == '.' || folded.back() == ' '))
    folded.pop_back();
  if (folded == name) return true;
  const std::string short_name = std::string(name.substr(1, 6)) + '~';
  return folded.size() == short_name.size() + 1 && folded.starts_with(short_name) && folded.back() >= '0' &&
         folded.back() <= '9';
}

NameVerdict judge_output_name(std::string_view raw, std::size_t max_depth, std::size_t max_bytes) {
  if (raw.empty()) return {{}, "is empty"};
  if (raw.front() == '/') return {{}, "is absolute"};
  if (raw.size() > max_bytes) return {{}, "is too long"};
  if (raw == "." || raw == "./") return {};
  while (raw.starts_with("./") && raw.size() > 2)
    raw.remove_prefix(2);
  if (raw.ends_with('/')) raw.remove_suffix(1);
  if (const auto fault = find_character_fault(raw); !fault.empty()) return {{}, fault};
  std::size_t depth = 0;
  for (std::size_t start = 0; start <= raw.size();) {
    const std::size_t end = std::min(raw.find('/', start), raw.size());
    if (const auto fault = find_component_fault(raw.substr(start, end - start)); !fault.empty()) return {{}, fault};
    start = end + 1;
    if (++depth > max_depth) return {{}, "has too many components"};
  }
  return {std::string(raw), {}};
}

}  // namespace cleanroom::runner
