#include "src/gateway/http_message.h"

#include "src/base/os/ascii.h"
#include "src/gateway/limits.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <cstring>
#include <variant>

namespace cleanroom::gateway {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using base::Result;

std::optional<std::string_view> MessageHead::field(std::string_view name) const {
  std::string_view found;
  bool seen = false;
  for (const auto& field : fields) {
    if (field.name != name) continue;
    if (seen) return std::nullopt;
    seen = true;
    found = field.value;
  }
  return found;
}

struct MessageReader::Parser {
  using Request = http::request_parser<http::buffer_body>;
  using Response = http::response_parser<http::buffer_body>;
  using Either = std::variant<Request, Response>;

  template <class Visitor>
  decltype(auto) visit(Visitor&& visitor) {
    return std::visit(std::forward<Visitor>(visitor), either);
  }
  explicit Parser(MessageKind kind)
      : either(kind == MessageKind::request ? Either(std::in_place_index<0>) : Either(std::in_place_index<1>)) {
    visit([](auto& parser) {
      // Beast counts from where it last stopped, so this bounds one step; read_head() counts the whole head.
      parser.header_limit(kMaxHeadBytes + 1);
      parser.body_limit(boost::none);  // the callers count: their limits differ
      parser.eager(false);
    });
  }
  Either either;
};

MessageReader::MessageReader(MessageKind kind) : kind_(kind), buffer_(kIoBuffer) {
  make_parser();
}
MessageReader::MessageReader(MessageReader&&) noexcept = default;
MessageReader& MessageReader::operator=(MessageReader&&) noexcept = default;
MessageReader::~MessageReader() = default;

void MessageReader::make_parser() {
  parser_ = std::make_unique<Parser>(kind_);
}

void MessageReader::next() {
  head_ = MessageHead();
  head_bytes_ = 0;
  body_begun_ = false;
  make_parser();
}

base::Error MessageReader::broken(const std::string& what) const {
  return {base::Code::invalid_input, kind_ == MessageKind::request ? "gateway_request_invalid" : "upstream_invalid",
          fmt::format("cannot read an HTTP {}: {}", kind_ == MessageKind::request ? "request" : "answer", what)};
}

std::span<char> MessageReader::prepare() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span<char>(buffer_).subspan(end_);
}

void MessageReader::commit(std::size_t size) {
  end_ += size;
}

bool MessageReader::has_input() const {
  return begin_ < end_;
}

bool MessageReader::is_done() const {
  return parser_->visit([](auto& parser) -> bool { return parser.is_done(); });
}

namespace {

template <class Parser>
MessageHead head_of(const Parser& parser) {
  MessageHead head;
  const auto& message = parser.get();
  for (const auto& field : message)
    head.fields.push_back({base::ascii_lower({field.name_string().data(), field.name_string().size()}),
                           std::string(field.value().data(), field.value().size())});
  if constexpr (std::decay_t<decltype(message)>::is_request::value) {
    head.method = std::string(message.method_string());
    head.target = std::string(message.target());
  } else {
    head.status = message.result_int();
  }
  if (const auto length = parser.content_length()) head.content_length = *length;
  head.chunked = parser.chunked();
  head.keep_alive = parser.keep_alive();
  head.http_1_0 = message.version() == 10;
  return head;
}

}  // namespace

Result<bool> MessageReader::read_head() {
  if (!has_input()) return false;
  beast::error_code ec;
  const auto used = parser_->visit([&](auto& parser) -> std::size_t {
    return parser.put(boost::asio::buffer(buffer_.data() + begin_, end_ - begin_), ec);
  });
  begin_ += used;
  head_bytes_ += used;
  if (ec == http::error::need_more) {
    if (head_bytes_ + (end_ - begin_) >= kMaxHeadBytes) return base::fail(broken("its head is too large"));
    return false;
  }
  if (ec) return base::fail(broken(ec.message()));
  const bool whole = parser_->visit([](auto& parser) -> bool { return parser.is_header_done(); });
  if (!whole) return false;
  if (head_bytes_ > kMaxHeadBytes) return base::fail(broken("its head is too large"));
  head_ = parser_->visit([](auto& parser) -> MessageHead { return head_of(parser); });
  parser_->visit([](auto& parser) { parser.eager(true); });
  return true;
}

Result<std::size_t> MessageReader::read_body(std::span<std::byte> into) {
  // Beast (1.81) asserts that it has five bytes when it looks for a second time at a first chunk that is the last.
  constexpr std::size_t kSmallestChunkedBody = 5;
  if (head_.chunked && !body_begun_ && end_ - begin_ < kSmallestChunkedBody) return 0;
  body_begun_ = true;
  beast::error_code ec;
  std::size_t produced = 0;
  parser_->visit([&](auto& parser) {
    auto& body = parser.get().body();
    body.data = into.data();
    body.size = into.size();
    while (!ec && !parser.is_done() && begin_ < end_ && body.size > 0)
      begin_ += parser.put(boost::asio::buffer(buffer_.data() + begin_, end_ - begin_), ec);
    produced = into.size() - body.size;
    body.data = nullptr;
    body.size = 0;
  });
  if (ec && ec != http::error::need_buffer && ec != http::error::need_more) return base::fail(broken(ec.message()));
  // No progress, and no room for what would bring it: a chunk extension or trailers.
  if (produced == 0 && end_ - begin_ == buffer_.size()) return base::fail(broken("a line of its body is too long"));
  return produced;
}

Result<void> MessageReader::end_of_input() {
  beast::error_code ec;
  parser_->visit([&](auto& parser) { parser.put_eof(ec); });
  if (ec) return base::fail(broken("it ends too early"));
  return {};
}

}  // namespace cleanroom::gateway
