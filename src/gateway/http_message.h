#pragma once
// Heads of HTTP/1.1 messages (RFC 9112) as values, and MessageReader, which cuts a byte stream into head and body with
// Boost.Beast's parser. No I/O: prepare()/commit() take what the caller has read.
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::gateway {

struct Field {
  std::string name;  // lower case
  std::string value;
};

struct MessageHead {
  std::string method;  // requests
  std::string target;
  unsigned status = 0;  // answers
  std::vector<Field> fields;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = false;
  bool http_1_0 = false;
  // The only value of this name; empty when absent, nullopt when it stands there more than once.
  std::optional<std::string_view> field(std::string_view name) const;
};

enum class MessageKind { request, response };

class MessageReader {
 public:
  explicit MessageReader(MessageKind kind);
  MessageReader(MessageReader&&) noexcept;
  MessageReader& operator=(MessageReader&&) noexcept;
  ~MessageReader();

  // Room for input, at most kIoBuffer; empty when what is there must be taken first.
  std::span<char> prepare();
  void commit(std::size_t size);
  bool has_input() const;  // bytes that belong to no message yet, or not yet to this one's read part

  // True when the head is whole: head() is valid. invalid_input: not HTTP, or larger than kMaxHeadBytes.
  base::Result<bool> read_head();
  const MessageHead& head() const { return head_; }
  // Bytes of the body; 0: it is over, when is_done(), else more input is needed.
  base::Result<std::size_t> read_body(std::span<std::byte> into);
  bool is_done() const;
  // The peer has ended: fine where that is what ends the body.
  base::Result<void> end_of_input();
  // For the next message on the same connection; input that is left over stays.
  void next();

 private:
  struct Parser;
  void make_parser();
  base::Error broken(const std::string& what) const;

  MessageKind kind_;
  std::unique_ptr<Parser> parser_;
  MessageHead head_;
  std::vector<char> buffer_;
  std::size_t head_bytes_ = 0;  // of this message's head, parsed
  bool body_begun_ = false;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace cleanroom::gateway
