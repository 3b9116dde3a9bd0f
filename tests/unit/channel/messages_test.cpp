#include "src/channel/messages.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::channel;

namespace {

using Bytes = std::vector<std::byte>;

class Recorder final : public FrameDecoder::Sink {
 public:
  void on_output(FrameType type, std::span<const std::byte> bytes) override {
    auto& text = type == FrameType::standard_output ? output : errors;
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void on_exited(const Exited& value) override { exited = value; }
  void on_failed(const ExecFailed& value) override { failed = value; }
  std::string output;
  std::string errors;
  std::optional<Exited> exited;
  std::optional<ExecFailed> failed;
};

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const auto& part : parts)
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes output_frame(FrameType type, std::string_view text) {
  return encode_output(type, std::as_bytes(std::span(text)));
}

const Exited kExited{.status = 3, .user_us = 1, .system_us = 2, .max_rss_kib = 1 << 20, .out_of_memory = 1};

}  // namespace

TEST_CASE("frames are the same however the bytes are cut") {
  const Bytes stream = joined({output_frame(FrameType::standard_output, "out"),
                               output_frame(FrameType::standard_error, "err"), encode(kExited)});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    Recorder recorder;
    FrameDecoder decoder(recorder);
    REQUIRE(decoder.feed(std::span(stream).first(cut)));
    REQUIRE(decoder.feed(std::span(stream).subspan(cut)));
    CHECK(decoder.is_complete());
    CHECK(recorder.output == "out");
    CHECK(recorder.errors == "err");
    REQUIRE(recorder.exited);
    CHECK(recorder.exited->status == 3);
    CHECK(recorder.exited->max_rss_kib == 1 << 20);
    CHECK(recorder.exited->out_of_memory == 1);
  }
}

TEST_CASE("RLY-01 RLY-02 truncated, unknown and oversized frames") {
  const Bytes whole = encode(kExited);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Recorder recorder;
    FrameDecoder decoder(recorder);
    REQUIRE(decoder.feed(std::span(whole).first(size)));
    CHECK_FALSE(decoder.is_complete());
  }
  const auto refuses = [](std::initializer_list<int> head) {
    Recorder recorder;
    FrameDecoder decoder(recorder);
    Bytes bytes;
    for (const int value : head)
      bytes.push_back(static_cast<std::byte>(value));
    return !decoder.feed(bytes);
  };
  CHECK(refuses({0, 0, 0, 0, 1}));
  CHECK(refuses({5, 0, 0, 0, 1}));
  CHECK(refuses({0x81, 0, 0, 0, 1}));
  CHECK(refuses({1, 0, 0, 0, 0}));
  CHECK(refuses({1, 0xff, 0xff, 0xff, 0xff}));
  CHECK(refuses({1, 0x80, 0, 0, 0}));
  CHECK(refuses({3, 0, 0, 0, 1, 0}));
}

TEST_CASE("RLY-04 RLY-09 nothing follows the end; no forged status") {
  for (const auto& after : {output_frame(FrameType::standard_output, "x"), encode(kExited), Bytes(1)}) {
    Recorder recorder;
    FrameDecoder decoder(recorder);
    CHECK_FALSE(decoder.feed(joined({encode(kExited), after})));
  }
  Recorder recorder;
  FrameDecoder decoder(recorder);
  CHECK_FALSE(decoder.feed(encode(Exited{.signal = 65})));
  CHECK_FALSE(recorder.exited);
}

TEST_CASE("an exec request survives the wire; every truncation is refused") {
  const ExecRequest request{.id = "job-1",
                            .commands = {{"/bin/bash", "-c", "x y"}, {"sh"}},
                            .environment = {"A=1", "B="},
                            .working_directory = "/workspace",
                            .user = "app:docker",
                            .tty = 1,
                            .rows = 24,
                            .columns = 80,
                            .has_stdin = 1};
  const Bytes bytes = encode(request);
  const auto body = std::span<const std::byte>(bytes).subspan(4);
  const auto decoded = decode_exec_request(body);
  REQUIRE(decoded);
  CHECK(decoded->commands == request.commands);
  CHECK(decoded->environment == request.environment);
  CHECK(decoded->user == request.user);
  CHECK(decoded->columns == 80);
  for (std::size_t size = 0; size < body.size(); ++size)
    CHECK_FALSE(decode_exec_request(body.first(size)));
  CHECK_FALSE(decode_exec_request(joined({Bytes(body.begin(), body.end()), Bytes(1)})));
}

TEST_CASE("percent coding") {
  CHECK(percent_encode("a b/%&=+\n\xff") == "a%20b/%25%26%3D%2B%0A%FF");
  std::string all;
  for (int i = 0; i < 256; ++i)
    all += static_cast<char>(i);
  CHECK(percent_decode(percent_encode(all)).value() == all);
  CHECK(percent_decode("%41").value() == "A");
  for (const auto* bad : {"%", "%4", "%4g", "a%", "%%41"})
    CHECK_FALSE(percent_decode(bad));
}

TEST_CASE("a target's query") {
  const auto target = parse_target("/v1/files?path=/a%20b&pattern=*.c&pattern=");
  REQUIRE(target);
  CHECK(target->path == "/v1/files");
  CHECK(target->value("path") == "/a b");
  CHECK(target->values("pattern") == std::vector<std::string>{"*.c", ""});
  CHECK_FALSE(target->value("none"));
  CHECK_FALSE(parse_target("/x?novalue"));
  CHECK_FALSE(parse_target("/x?a=%zz"));
  std::string many = "/x?";
  for (int i = 0; i < 2000; ++i)
    many += "a=b&";
  CHECK_FALSE(parse_target(many));
}
