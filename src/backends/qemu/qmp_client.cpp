#include "src/backends/qemu/qmp_client.h"

#include "src/base/os/fd_passing.h"
#include "src/base/os/io.h"

#include <boost/asio/write.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>

namespace cleanroom::backends::qemu {

using base::Awaitable;
using base::Code;
using base::Json;
using base::Result;

namespace {

constexpr std::size_t kMaxLine = 64 * 1024;
constexpr std::size_t kMaxEvents = 64;
constexpr std::size_t kMaxShown = 256;

base::Error ended() {
  return base::Error(Code::unavailable, "QEMU ended, or closed its monitor");
}

std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

}  // namespace

Awaitable<Result<void>> QmpClient::send(std::string commands) {
  const auto [ec, size] = co_await base::asio::async_write(socket_, base::asio::buffer(commands), base::kTuple);
  if (ec) co_return base::fail(ended());
  co_return Result<void>{};
}

Result<void> QmpClient::send_descriptor(const base::Fd& fd, std::string_view name) {
  const auto text = fmt::format(R"({{"execute":"getfd","arguments":{{"fdname":"{}"}}}})", name) + "\n";
  // A line this short finds room in the socket's buffer: nothing else waits there.
  const std::array<int, 1> fds{fd.get()};
  if (!base::send_with_fds(socket_.native_handle(), base::as_bytes(text), fds)) return base::fail(ended());
  return {};
}

Awaitable<Result<Json>> QmpClient::next() {
  for (;;) {
    const auto end = buffer_.find('\n');
    if (end != std::string::npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      co_return base::parse_json(line, "QEMU's message", {.max_bytes = kMaxLine});
    }
    if (buffer_.size() > kMaxLine) co_return base::fail(Code::unavailable, "QEMU's message is too long");
    std::array<char, 4096> piece{};
    const auto [ec, size] = co_await socket_.async_read_some(base::asio::buffer(piece), base::kTuple);
    if (ec) co_return base::fail(ended());
    buffer_.append(piece.data(), size);
  }
}

Result<void> QmpClient::keep(const Json& message) {
  if (!message.is_object()) return base::fail(Code::unavailable, "QEMU's message is no object");
  if (message.contains("event") && events_.size() < kMaxEvents) {
    const auto data = message.find("data");
    const bool has_data = data != message.end() && data->is_object();
    events_.push_back({text_in(message, "event"), has_data ? text_in(*data, "status") : std::string{}});
  }
  const auto error = message.find("error");
  if (error == message.end()) return {};
  const std::string words = error->is_object() ? text_in(*error, "desc") : "";
  return base::fail(Code::unavailable, "QEMU refuses: " + words.substr(0, kMaxShown));
}

Awaitable<Result<void>> QmpClient::answers(std::size_t count) {
  while (count > 0) {
    CR_CO_ASSIGN(const auto message, co_await next());
    CR_CO_TRY(keep(message));
    if (message.contains("return")) --count;
  }
  co_return Result<void>{};
}

Awaitable<Result<void>> QmpClient::event(std::string name, std::string status, std::string failed_status) {
  for (;;) {
    for (const auto& seen : events_) {
      if (seen.name != name) continue;
      if (status.empty() || seen.status == status) co_return Result<void>{};
      if (seen.status == failed_status)
        co_return base::fail(Code::unavailable, fmt::format("QEMU says: {} {}", name, status));
    }
    CR_CO_ASSIGN(const auto message, co_await next());
    CR_CO_TRY(keep(message));
  }
}

}  // namespace cleanroom::backends::qemu
