#include "guest/control.h"

#include "guest/boot.h"
#include "guest/file_exchange.h"
#include "src/base/os/io.h"

#include <algorithm>
#include <charconv>

namespace cleanroom::guest {
namespace {

constexpr std::chrono::milliseconds kGoodbyeTime{500};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes)
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

// A whole number from 0 to `max`.
std::optional<unsigned> number_in(const channel::RequestTarget& target, std::string_view name, unsigned max) {
  const auto text = target.value(name);
  unsigned value = 0;
  if (!text || text->empty()) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || value > max) return std::nullopt;
  return value;
}

}  // namespace

void respond(channel::H2Session& session, channel::StreamId stream, int status, std::string_view text) {
  const auto end = text.empty() ? channel::EndStream::yes : channel::EndStream::no;
  // A stream that is closed already wants no answer.
  if (!session.submit_response(stream, {{":status", fmt::format("{}", status)}}, end) || text.empty()) return;
  session.write(stream, base::as_bytes(text.substr(0, channel::kMaxErrorText)));
  session.finish(stream);
}

Control::Control(Loop& loop, base::Fd port, const channel::StartRecord& start, ExecProcess prepared,
                 std::function<void(std::string)> on_lost)
    : loop_(loop),
      nonce_(hex(start.nonce)),
      prepared_(std::move(prepared)),
      link_(loop, std::move(port), channel::Role::server, channel::kControlLimits, *this, std::move(on_lost)) {
  loop_.after_each_turn([this] { remove_finished(); });
}

void Control::on_headers(channel::StreamId stream, channel::Headers headers, channel::EndStream end) {
  const std::string* method = channel::find_header(headers, ":method");
  const std::string* path = channel::find_header(headers, ":path");
  if (method == nullptr || path == nullptr) return respond(link_.session(), stream, 400, "no method or path");
  const auto target = channel::parse_target(*path);
  if (!target) return respond(link_.session(), stream, 400, target.error().message);
  if (target->path == "/v1/health" && *method == "GET") return respond(link_.session(), stream, 200, nonce_);
  if (must_wait(*method, *target)) {
    held_.emplace(stream, Held{*method, *target, {}, end == channel::EndStream::yes});
    return;
  }
  dispatch(stream, *method, *target);
  if (end == channel::EndStream::yes) on_end(stream);
}

bool Control::must_wait(const std::string& method, const channel::RequestTarget& target) const {
  // What came before an exec may be files that it needs.
  const bool is_first_exec = prepared_ && held_.empty() && method == "POST" && target.path == "/v1/exec";
  return !is_open_ && !is_first_exec;
}

void Control::open() {
  is_open_ = true;
  for (Exec* exec : execs_)
    exec->on_disks();
  for (const auto& [stream, request] : std::exchange(held_, {})) {
    dispatch(stream, request.method, request.target);
    if (!request.body.empty()) on_data(stream, request.body);
    if (request.ended) on_end(stream);
  }
}

void Control::dispatch(channel::StreamId stream, const std::string& method, const channel::RequestTarget& target) {
  if (target.path == "/v1/files" && (method == "GET" || method == "PUT")) return files(stream, method, target);
  if (method == "POST") return post(stream, target);
  respond(link_.session(), stream, 404, "no such request");
}

void Control::post(channel::StreamId stream, const channel::RequestTarget& target) {
  if (target.path == "/v1/exec") {
    auto exec = std::make_unique<Exec>(loop_, link_.session(), stream, std::move(prepared_), is_open_);
    prepared_.reset();
    execs_.push_back(exec.get());
    by_stream_.emplace(stream, exec.get());
    exchanges_.push_back(std::move(exec));
  } else if (target.path == "/v1/exec/signal") {
    signal(stream, target);
  } else if (target.path == "/v1/exec/resize") {
    resize(stream, target);
  } else if (target.path == "/v1/shutdown") {
    shut_down(stream);
  } else {
    respond(link_.session(), stream, 404, "no such request");
  }
}

void Control::files(channel::StreamId stream, const std::string& method, const channel::RequestTarget& target) {
  const auto directory = target.value("path");
  const auto patterns = target.values("pattern");
  const bool sends = method == "GET";
  if (!directory || !directory->starts_with('/')) {
    return respond(link_.session(), stream, 400, "path must be an absolute directory");
  }
  if (sends == patterns.empty()) {
    return respond(link_.session(), stream, 400, sends ? "no pattern" : "a pattern is for GET");
  }
  auto exchange = std::make_unique<FileExchange>(loop_, link_.session(), stream);
  FileExchange& started = *exchange;
  by_stream_.emplace(stream, exchange.get());
  exchanges_.push_back(std::move(exchange));
  started.start(sends ? FileExchange::Direction::out_of_guest : FileExchange::Direction::into_guest, *directory,
                patterns);
}

Exec* Control::find_exec(const channel::RequestTarget& target) {
  const auto id = target.value("exec");
  const auto found = std::find_if(execs_.begin(), execs_.end(),
                                  [&](const Exec* exec) { return id && exec->is_running() && exec->id() == *id; });
  return found == execs_.end() ? nullptr : *found;
}

void Control::signal(channel::StreamId stream, const channel::RequestTarget& target) {
  Exec* exec = find_exec(target);
  if (exec == nullptr) return respond(link_.session(), stream, 404, "no such exec");
  const auto number = number_in(target, "signal", 64);
  if (!number || *number == 0) return respond(link_.session(), stream, 400, "signal must be 1 to 64");
  exec->signal(static_cast<std::uint8_t>(*number));
  respond(link_.session(), stream, 204);
}

void Control::resize(channel::StreamId stream, const channel::RequestTarget& target) {
  Exec* exec = find_exec(target);
  if (exec == nullptr) return respond(link_.session(), stream, 404, "no such exec");
  const auto rows = number_in(target, "rows", 65535);
  const auto columns = number_in(target, "columns", 65535);
  if (!rows || !columns) return respond(link_.session(), stream, 400, "rows and columns must be 0 to 65535");
  exec->resize(static_cast<std::uint16_t>(*rows), static_cast<std::uint16_t>(*columns));
  respond(link_.session(), stream, 204);
}

void Control::shut_down(channel::StreamId stream) {
  respond(link_.session(), stream, 204);
  shutting_down_ = true;
  loop_.after(kGoodbyeTime, [] { power_off(); });
}

void Control::remove_finished() {
  // The answer must be out of the link; whether the host has read it, nobody can know.
  if (shutting_down_ && link_.is_drained()) loop_.stop();
  std::erase_if(execs_, [](const Exec* exec) { return exec->is_over(); });
  std::erase_if(by_stream_, [](const auto& entry) { return entry.second->is_over(); });
  std::erase_if(exchanges_, [](const auto& exchange) { return exchange->is_over(); });
}

Exchange* Control::find(channel::StreamId stream) {
  const auto found = by_stream_.find(stream);
  return found == by_stream_.end() ? nullptr : found->second;
}

void Control::on_data(channel::StreamId stream, std::span<const std::byte> bytes) {
  if (const auto held = held_.find(stream); held != held_.end()) {
    held->second.body.insert(held->second.body.end(), bytes.begin(), bytes.end());
    return;
  }
  if (Exchange* exchange = find(stream)) return exchange->on_data(bytes);
  link_.session().consumed(stream, bytes.size());  // of a request that was answered already
}

void Control::on_end(channel::StreamId stream) {
  if (const auto held = held_.find(stream); held != held_.end()) held->second.ended = true;
  if (Exchange* exchange = find(stream)) exchange->on_end();
}

void Control::on_writable(channel::StreamId stream) {
  if (Exchange* exchange = find(stream)) exchange->on_writable();
}

void Control::on_closed(channel::StreamId stream, std::uint32_t) {
  held_.erase(stream);
  if (Exchange* exchange = find(stream)) exchange->on_closed();
  by_stream_.erase(stream);
}

}  // namespace cleanroom::guest
