#include "src/cli/pull_bar.h"

#include "src/registry/pull_lines.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstdio>

namespace cleanroom::cli {
namespace {

constexpr std::chrono::milliseconds kBetweenFrames{100};

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

PullBar::~PullBar() {
  if (!begun_) return;
  draw();
  fmt::print(stderr, "\n");
}

void PullBar::begin(std::uint64_t bytes, std::size_t layers, std::size_t shared) {
  const std::lock_guard lock(mutex_);
  if (begun_) fmt::print(stderr, "\n");
  total_ = bytes;
  received_ = 0;
  begun_ = true;
  began_ = base::SteadyClock::now();
  drawn_ = {};
  fmt::print(stderr, "{}: {}\n", image_, registry::describe_pull(bytes, layers, shared));
}

void PullBar::received(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  received_ += bytes;
  const auto now = base::SteadyClock::now();
  if (now - drawn_ < kBetweenFrames) return;
  drawn_ = now;
  draw();
}

void PullBar::draw() {
  const double seconds = std::chrono::duration<double>(base::SteadyClock::now() - began_).count();
  const double part = total_ == 0 ? 1 : static_cast<double>(received_) / static_cast<double>(total_);
  const double rate = seconds > 0 ? static_cast<double>(received_) / seconds : 0;
  const std::string tail =
      fmt::format(" {:>3.0f} %  {} of {}  {}/s", part * 100, registry::show_bytes(received_),
                  registry::show_bytes(total_), registry::show_bytes(static_cast<std::uint64_t>(rate)));
  const std::size_t width = std::clamp<std::size_t>(terminal_width(), 40, 120);
  const std::size_t room = width > tail.size() + 4 ? width - tail.size() - 4 : 0;
  const auto filled = std::min(room, static_cast<std::size_t>(part * static_cast<double>(room)));
  fmt::print(stderr, "\r[{}{}]{}\x1b[K", std::string(filled, '='), std::string(room - filled, ' '), tail);
  std::fflush(stderr);
}

}  // namespace cleanroom::cli
