#include "src/channel/messages.h"

#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/channel/wire.h"

#include <algorithm>

namespace cleanroom::channel {
namespace {

constexpr std::size_t kFrameHead = 5;
constexpr std::size_t kMaxCommands = 4;
constexpr std::size_t kMaxArguments = 100'000;
constexpr std::size_t kMaxId = 64;
constexpr std::size_t kMaxUser = 256;
constexpr std::size_t kMaxQueryPairs = 1024;

std::vector<std::byte> frame(FrameType type, std::span<const std::byte> payload) {
  FieldWriter writer;
  writer.u8(static_cast<std::uint8_t>(type));
  writer.u32(static_cast<std::uint32_t>(payload.size()));
  writer.raw(payload);
  return writer.take();
}

bool is_unreserved(char c) {
  return base::is_ascii_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
}

}  // namespace

std::vector<std::byte> encode(const ExecRequest& request) {
  FieldWriter body;
  body.text(request.id);
  body.u32(static_cast<std::uint32_t>(request.commands.size()));
  for (const auto& argv : request.commands)
    body.texts(argv);
  body.texts(request.environment);
  body.text(request.working_directory);
  body.text(request.user);
  body.u8(request.tty);
  body.u16(request.rows);
  body.u16(request.columns);
  body.u8(request.has_stdin);
  FieldWriter whole;
  whole.u32(static_cast<std::uint32_t>(body.bytes().size()));
  whole.raw(body.bytes());
  return whole.take();
}

base::Result<ExecRequest> decode_exec_request(std::span<const std::byte> record) {
  FieldReader reader(record);
  ExecRequest request;
  CR_ASSIGN(request.id, reader.text(kMaxId));
  CR_ASSIGN(const auto commands, reader.count(kMaxCommands, 4));
  for (std::uint32_t i = 0; i < commands; ++i) {
    CR_ASSIGN(auto argv, reader.texts(kMaxArguments, kMaxExecRequest));
    if (argv.empty()) return base::fail(protocol_error("an empty argv"));
    request.commands.push_back(std::move(argv));
  }
  CR_ASSIGN(request.environment, reader.texts(kMaxArguments, kMaxExecRequest));
  CR_ASSIGN(request.working_directory, reader.text(kMaxPath));
  CR_ASSIGN(request.user, reader.text(kMaxUser));
  CR_ASSIGN(request.tty, reader.u8());
  CR_ASSIGN(request.rows, reader.u16());
  CR_ASSIGN(request.columns, reader.u16());
  CR_ASSIGN(request.has_stdin, reader.u8());
  CR_TRY(reader.expect_end());
  if (request.commands.empty()) return base::fail(protocol_error("no command"));
  return request;
}

std::vector<std::byte> encode_output(FrameType type, std::span<const std::byte> bytes) {
  return frame(type, bytes);
}

std::vector<std::byte> encode(const Exited& exited) {
  FieldWriter payload;
  payload.u8(exited.status);
  payload.u8(exited.signal);
  payload.u64(exited.user_us);
  payload.u64(exited.system_us);
  payload.u64(exited.max_rss_kib);
  payload.u8(exited.out_of_memory);
  return frame(FrameType::exited, payload.bytes());
}

std::vector<std::byte> encode(const ExecFailed& failed) {
  FieldWriter payload;
  payload.u32(failed.os_errno);
  payload.text(std::string_view(failed.message).substr(0, kMaxErrorText));
  return frame(FrameType::failed, payload.bytes());
}

base::Result<void> FrameDecoder::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (complete_) return base::fail(protocol_error("bytes after the end of the command"));
    if (left_ == 0) {
      const auto take = std::min(kFrameHead - head_.size(), bytes.size());
      head_.insert(head_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (head_.size() == kFrameHead) CR_TRY(begin_frame());
      continue;
    }
    const auto piece = bytes.first(std::min(left_, bytes.size()));
    bytes = bytes.subspan(piece.size());
    left_ -= piece.size();
    if (type_ == FrameType::standard_output || type_ == FrameType::standard_error) {
      sink_.on_output(type_, piece);
    } else {
      record_.insert(record_.end(), piece.begin(), piece.end());
      if (left_ == 0) CR_TRY(end_record());
    }
  }
  return {};
}

base::Result<void> FrameDecoder::begin_frame() {
  FieldReader reader(head_);
  CR_ASSIGN(const auto type, reader.u8());
  CR_ASSIGN(const auto size, reader.u32());
  head_.clear();
  if (type < 1 || type > 4) return base::fail(protocol_error(fmt::format("a frame of type {}", type)));
  if (size == 0 || size > kMaxFrame) return base::fail(protocol_error(fmt::format("a frame of {} bytes", size)));
  type_ = static_cast<FrameType>(type);
  left_ = size;
  return {};
}

base::Result<void> FrameDecoder::end_record() {
  FieldReader reader(record_);
  if (type_ == FrameType::exited) {
    Exited exited;
    CR_ASSIGN(exited.status, reader.u8());
    CR_ASSIGN(exited.signal, reader.u8());
    CR_ASSIGN(exited.user_us, reader.u64());
    CR_ASSIGN(exited.system_us, reader.u64());
    CR_ASSIGN(exited.max_rss_kib, reader.u64());
    CR_ASSIGN(exited.out_of_memory, reader.u8());
    CR_TRY(reader.expect_end());
    if (exited.signal > 64) return base::fail(protocol_error(fmt::format("signal {}", exited.signal)));
    complete_ = true;
    sink_.on_exited(exited);
  } else {
    ExecFailed failed;
    CR_ASSIGN(failed.os_errno, reader.u32());
    CR_ASSIGN(failed.message, reader.text(kMaxErrorText));
    CR_TRY(reader.expect_end());
    complete_ = true;
    sink_.on_failed(failed);
  }
  return {};
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (is_unreserved(c)) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

base::Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? base::hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? base::hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) return base::fail(protocol_error("a broken percent escape"));
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<std::string> RequestTarget::value(std::string_view name) const {
  for (const auto& [key, text] : query) {
    if (key == name) return text;
  }
  return std::nullopt;
}

std::vector<std::string> RequestTarget::values(std::string_view name) const {
  std::vector<std::string> found;
  for (const auto& [key, text] : query) {
    if (key == name) found.push_back(text);
  }
  return found;
}

base::Result<RequestTarget> parse_target(std::string_view target) {
  RequestTarget parsed;
  const auto mark = target.find('?');
  parsed.path = std::string(target.substr(0, mark));
  std::string_view rest = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos) return base::fail(protocol_error("a query without '='"));
    if (parsed.query.size() == kMaxQueryPairs) return base::fail(protocol_error("too many query values"));
    CR_ASSIGN(auto name, percent_decode(pair.substr(0, equals)));
    CR_ASSIGN(auto value, percent_decode(pair.substr(equals + 1)));
    parsed.query.emplace_back(std::move(name), std::move(value));
  }
  return parsed;
}

}  // namespace cleanroom::channel
