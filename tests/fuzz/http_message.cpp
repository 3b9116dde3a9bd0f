// F3. However a message arrives, MessageReader finds the same whole messages,
// never more bytes of body than there were bytes of input, and always comes to an end. The first byte of the input says
// whether it holds requests or answers.
#include "src/gateway/http_message.h"

#include "src/gateway/limits.h"
#include "tests/fuzz/support.h"

#include <cstring>

using namespace cleanroom;
using gateway::MessageReader;

namespace {

// Everything that a caller learns, in one text.
class Transcript {
 public:
  Transcript(gateway::MessageKind kind, std::string_view input, fuzz::Cut cut) : reader_(kind) {
    fuzz::feed_in_pieces(input, cut, [this](std::string_view piece) { return take(piece); });
    if (!failed_ && in_body_ && !reader_.is_done()) text_ += reader_.end_of_input() ? "|ended" : "|cut short";
  }
  const std::string& text() const { return text_; }
  std::size_t body_bytes() const { return body_bytes_; }
  bool failed() const { return failed_; }
  std::size_t ended() const { return ended_; }  // messages that came whole

 private:
  bool take(std::string_view piece) {
    while (!piece.empty() && !failed_) {
      const auto room = reader_.prepare();
      FUZZ_CHECK(room.size() <= gateway::kIoBuffer);
      // Full although all was read that could be: the reader would wait for ever.
      FUZZ_CHECK(!room.empty());
      const auto size = std::min(room.size(), piece.size());
      std::memcpy(room.data(), piece.data(), size);
      reader_.commit(size);
      piece.remove_prefix(size);
      read();
    }
    return !failed_;
  }

  void read() {
    std::byte body[256];
    while (!failed_) {
      if (!in_body_) {
        const auto whole = reader_.read_head();
        failed_ = !whole;
        if (failed_ || !*whole) break;
        note_head();
        in_body_ = true;
      }
      const auto got = reader_.read_body(body);
      failed_ = !got;
      if (failed_) break;
      text_.append(reinterpret_cast<const char*>(body), *got);
      body_bytes_ += *got;
      if (*got > 0) continue;
      if (!reader_.is_done()) break;
      text_ += "|end";
      ++ended_;
      reader_.next();
      in_body_ = false;
    }
  }

  void note_head() {
    const auto& head = reader_.head();
    text_ += fmt::format("|{} {} {} {} {} {} {}|", head.method, head.target, head.status,
                         head.content_length ? std::to_string(*head.content_length) : "-", head.chunked,
                         head.keep_alive, head.http_1_0);
    for (const auto& field : head.fields) {
      text_ += field.name + "=" + field.value + "|";
      FUZZ_CHECK(field.name.find_first_of("\r\n: ") == std::string::npos);
      FUZZ_CHECK(field.value.find_first_of("\r\n") == std::string::npos);
    }
  }

  MessageReader reader_;
  bool in_body_ = false;
  bool failed_ = false;
  std::string text_;
  std::size_t body_bytes_ = 0;
  std::size_t ended_ = 0;
};

// What a broken message gave before it was refused depends on how it came: all that whole gave, or more of its body.
bool is_same(const Transcript& whole, const Transcript& pieces) {
  if (!whole.failed()) return whole.text() == pieces.text();
  return whole.ended() == pieces.ended() && pieces.text().starts_with(whole.text());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto kind = data[0] % 2 == 0 ? gateway::MessageKind::request : gateway::MessageKind::response;
  const std::string input = fuzz::unroll(fuzz::as_text(data + 1, size - 1));
  const Transcript whole(kind, input, fuzz::Cut::nowhere);
  FUZZ_CHECK(whole.body_bytes() <= input.size());
  for (const auto cut : {fuzz::Cut::everywhere, fuzz::Cut::somewhere})
    FUZZ_CHECK(is_same(whole, Transcript(kind, input, cut)));
  return 0;
}
