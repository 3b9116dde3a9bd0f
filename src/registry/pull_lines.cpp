#include "src/registry/pull_lines.h"

#include <fmt/format.h>

#include <algorithm>

namespace cleanroom::registry {
namespace {

constexpr std::chrono::seconds kBetweenLines{10};

}  // namespace

std::string show_bytes(std::uint64_t bytes) {
  if (bytes < (1u << 20)) return fmt::format("{} KiB", (bytes + 1023) >> 10);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string describe_pull(std::uint64_t bytes, std::size_t layers, std::size_t shared) {
  std::string text = fmt::format("{} in {} {}", show_bytes(bytes), layers, layers == 1 ? "layer" : "layers");
  if (shared > 0) text += fmt::format(", {} more {} here already", shared, shared == 1 ? "is" : "are");
  return text;
}

void PullLines::begin(std::uint64_t bytes, std::size_t layers, std::size_t shared) {
  const std::lock_guard lock(mutex_);
  total_ = bytes;
  received_ = 0;
  began_ = said_ = base::SteadyClock::now();
  line_(fmt::format("pulling {}: {}", image_, describe_pull(bytes, layers, shared)));
}

void PullLines::received(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  received_ += bytes;
  const auto now = base::SteadyClock::now();
  if (now - said_ < kBetweenLines) return;
  said_ = now;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  line_(fmt::format("pulling {}: {} of {} ({} %), {}/s", image_, show_bytes(received_), show_bytes(total_),
                    total_ == 0 ? 100 : received_ * 100 / total_,
                    show_bytes(static_cast<std::uint64_t>(static_cast<double>(received_) / seconds))));
}

}  // namespace cleanroom::registry
