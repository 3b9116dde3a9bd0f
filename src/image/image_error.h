#pragma once
// The errors of this folder's readers.
#include "src/base/os/result.h"

namespace cleanroom::image {

// Manifest, digest or layer content that is wrong: the same bytes never work.
inline base::Failure image_invalid(std::string message) {
  return base::fail(base::Code::invalid_input, "image_invalid", std::move(message));
}
inline base::Failure image_limit(std::string message) {
  return base::fail(base::Code::invalid_input, "image_limit", std::move(message));
}

// Names come from the image: at most 200 bytes of one, with control characters replaced.
inline std::string shown(std::string_view text) {
  std::string out(text.substr(0, 200));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (text.size() > out.size()) out += "...";
  return out;
}

}  // namespace cleanroom::image
