#include "guest/denials.h"

#include <fmt/format.h>

namespace cleanroom::guest {

void Denials::add(std::string_view name, std::uint16_t port) {
  const auto key = std::pair(std::string(name), port);
  if (known_.contains(key)) return;
  if (known_.size() == kMaxDenials) {
    ++unlisted_;
    return;
  }
  pending_ += fmt::format("{} {}\n", key.first, port);
  known_.insert(key);
}

std::string Denials::take_unlisted() {
  return unlisted_ == 0 ? std::string() : fmt::format("+ {}\n", std::exchange(unlisted_, 0));
}

}  // namespace cleanroom::guest
