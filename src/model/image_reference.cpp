#include "src/model/image_reference.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <charconv>

namespace cleanroom::model {
namespace {

constexpr std::size_t kMaxReference = 1024;
constexpr std::size_t kMaxRepository = 255;  // distribution/reference: NameTotalLengthMax
constexpr std::size_t kMaxTag = 128;
constexpr std::string_view kOfficialPrefix = "library/";

bool is_lower_alnum(char c) {
  return base::is_ascii_lower(c) || base::is_ascii_digit(c);
}

// [a-z0-9]+ joined by one of: `.`, `_`, `__`, any number of `-`.
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t start = at;
    while (at < text.size() && !is_lower_alnum(text[at]))
      ++at;
    const std::string_view separator = text.substr(start, at - start);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    while (at < text.size() && is_lower_alnum(text[at]))
      ++at;
  }
  return true;
}

bool is_repository(std::string_view text) {
  if (text.empty() || text.size() > kMaxRepository) return false;
  while (true) {
    const std::size_t slash = text.find('/');
    if (!is_path_component(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_tag(std::string_view text) {
  const auto word = [](char c) { return base::is_ascii_alnum(c) || c == '_'; };
  const auto rest = [&](char c) { return word(c) || c == '.' || c == '-'; };
  return !text.empty() && text.size() <= kMaxTag && word(text.front()) && std::all_of(text.begin(), text.end(), rest);
}

bool is_port(std::string_view text) {
  unsigned value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && text.front() != '0' && value <= 65535;
}

// `name[:port]` or `[v6]:port`, already lower-case.
bool is_registry(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end == 1) return false;
    const auto v6 = text.substr(1, end - 1);
    const auto tail = text.substr(end + 1);
    return v6.find_first_not_of("0123456789abcdef:.") == std::string_view::npos &&
           (tail.empty() || (tail.front() == ':' && tail.size() > 1 && is_port(tail.substr(1))));
  }
  const std::size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    if (colon + 1 == text.size() || !is_port(text.substr(colon + 1))) return false;
    text = text.substr(0, colon);
  }
  if (text.empty() || text.size() > 253) return false;
  while (true) {
    const std::size_t dot = text.find('.');
    const auto label = text.substr(0, dot);
    const auto allowed = [](char c) { return is_lower_alnum(c) || c == '-'; };
    if (label.empty() || label.size() > 63 || !is_lower_alnum(label.front()) || !is_lower_alnum(label.back()))
      return false;
    if (!std::all_of(label.begin(), label.end(), allowed)) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

// Docker's rule: what stands before the first slash is a registry when it could not be a repository of docker.io.
bool names_registry(std::string_view first) {
  const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  return first.find_first_of(".:[") != std::string_view::npos || first == "localhost" ||
         std::any_of(first.begin(), first.end(), upper);
}

base::Failure refuse(std::string_view text, std::string_view why) {
  std::string shown;
  for (const char c : text.substr(0, 120)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte >= 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return base::fail(base::Error(base::Code::invalid_input, "image_ref_invalid",
                                fmt::format("cannot use image reference '{}': {}", shown, why))
                        .with_hint("write it as registry/repository@sha256:<64 hex digits>"));
}

}  // namespace

base::Result<ImageReference> ImageReference::parse(std::string_view text) {
  if (text.empty()) return refuse(text, "it is empty");
  if (text.size() > kMaxReference) return refuse(text, fmt::format("it is longer than {} bytes", kMaxReference));
  if (text.find("://") != std::string_view::npos) return refuse(text, "it is a URL");

  ImageReference reference;
  std::string_view name = text;
  if (const std::size_t at = name.find('@'); at != std::string_view::npos) {
    auto digest = Digest::parse(name.substr(at + 1));
    if (!digest) return refuse(text, "what follows '@' is not 'sha256:' and 64 lower-case hex digits");
    reference.digest_ = std::move(*digest);
    name = name.substr(0, at);
  }
  // A colon after the last slash starts a tag; one before it a port.
  const std::size_t last_slash = name.rfind('/');
  const std::size_t colon = name.find(':', last_slash == std::string_view::npos ? 0 : last_slash);
  if (colon != std::string_view::npos) {
    if (!is_tag(name.substr(colon + 1))) return refuse(text, "the tag is not valid");
    reference.tag_ = std::string(name.substr(colon + 1));
    name = name.substr(0, colon);
  }
  const std::size_t slash = name.find('/');
  const bool with_registry = slash != std::string_view::npos && names_registry(name.substr(0, slash));
  reference.registry_ = with_registry ? base::ascii_lower(name.substr(0, slash)) : std::string(kDockerHub);
  if (!is_registry(reference.registry_)) return refuse(text, "the registry is not a host name with an optional port");
  // Docker Hub's names of old.
  if (reference.registry_ == "index.docker.io" || reference.registry_ == "registry-1.docker.io") {
    reference.registry_ = std::string(kDockerHub);
  }
  reference.repository_ = std::string(with_registry ? name.substr(slash + 1) : name);
  const bool official = reference.registry_ == kDockerHub && reference.repository_.find('/') == std::string::npos;
  if (official) reference.repository_.insert(0, kOfficialPrefix);
  if (!is_repository(reference.repository_)) {
    return refuse(text, "the repository is not lower-case words joined by '/', '.', '_' or '-'");
  }
  return reference;
}

std::string ImageReference::to_string() const {
  std::string out = registry_ + "/" + repository_;
  if (tag_) out += ":" + *tag_;
  if (digest_) out += "@" + digest_->to_string();
  return out;
}

}  // namespace cleanroom::model
