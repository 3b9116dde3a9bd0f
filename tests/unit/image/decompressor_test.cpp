// Streams that are cut, joined and fed in any steps.
#include "src/image/decompressor.h"

#include "tests/unit/image/memory_files.h"

#include <optional>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

struct Outcome {
  std::string text;
  std::size_t left = 0;  // of the input, when the stream had ended
  std::optional<std::string> reason;
};

// Feeds `packed` as a caller does: `step` bytes more whenever nothing comes out, and never fewer than what is left
// over.
Outcome unpack(Compression compression, const std::string& packed, std::size_t step, std::size_t room = 1 << 16) {
  const auto decompressor = Decompressor::create(compression);
  Outcome outcome;
  std::vector<std::byte> out(room);
  std::size_t at = 0;
  std::size_t end = std::min(step, packed.size());
  for (int calls = 0; calls < 1'000'000; ++calls) {
    const auto input = std::as_bytes(std::span(packed)).subspan(at, end - at);
    const auto progress = decompressor->run(input, out, end == packed.size());
    if (!progress) {
      outcome.reason = progress.error().reason;
      return outcome;
    }
    at += progress->consumed;
    outcome.text += base::as_text(std::span(out).first(progress->produced));
    outcome.left = packed.size() - at;
    if (progress->ended) return outcome;
    if (progress->produced == 0) end = std::min(end + step, packed.size());
  }
  FAIL("no end");
  return outcome;
}

void check_text(const Outcome& outcome, const std::string& text) {
  CHECK(outcome.reason.value_or("none") == "none");
  CHECK((outcome.text == text));
}

std::string little_endian(std::uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<char>(value >> shift));
  return out;
}
std::string skippable(const std::string& content, std::uint32_t kind = 0) {
  return little_endian(0x184D2A50u + kind) + little_endian(static_cast<std::uint32_t>(content.size())) + content;
}

const std::string kText = std::string(300, 'a') + "some text " + noise(200) + std::string(2000, 'b');

}  // namespace

TEST_SUITE("image/decompressor") {
  TEST_CASE("the magic numbers tell") {
    const auto kind = [](std::string_view text) { return compression_by_magic(std::as_bytes(std::span(text))); };
    CHECK(kind("") == Compression::none);
    CHECK(kind("\x1f") == Compression::none);
    CHECK(kind("\x1f\x8b") == Compression::gzip);
    CHECK(kind("\x28\xb5\x2f") == Compression::none);
    CHECK(kind("\x28\xb5\x2f\xfd") == Compression::zstd);
    for (std::uint32_t i = 0; i < 16; ++i)
      CHECK(kind(skippable("", i)) == Compression::zstd);
    CHECK(kind(std::string_view("\x60\x2a\x4d\x18", 4)) == Compression::none);
    CHECK(kind("plain text") == Compression::none);
  }

  TEST_CASE("any steps of input and output give the same text") {
    const std::string two = kText + "second";
    const std::pair<Compression, std::string> streams[] = {
        {Compression::none, two},
        {Compression::gzip, gzip(kText) + gzip("") + gzip("second")},
        {Compression::zstd, skippable("x") + zstd(kText) + skippable("") + zstd("") + zstd("second") + skippable("y")}};
    for (const auto& [compression, packed] : streams) {
      for (const std::size_t step : {1u, 2u, 3u, 7u, 64u, 1u << 20}) {
        for (const std::size_t room : {2u, 3u, 100u, 1u << 16}) {
          const auto shown = to_string(compression);
          CAPTURE(shown);
          CAPTURE(step);
          CAPTURE(room);
          check_text(unpack(compression, packed, step, room), two);
        }
      }
    }
  }

  TEST_CASE("gzip: where the input is cut in two makes no difference") {
    const std::string packed = gzip("one " + noise(40)) + gzip("") + gzip("three");
    const std::string text = "one " + noise(40) + "three";
    for (std::size_t cut = 0; cut <= packed.size(); ++cut) {
      CAPTURE(cut);
      const auto decompressor = Decompressor::create(Compression::gzip);
      std::vector<std::byte> out(4096);
      std::string got;
      std::size_t at = 0;
      bool ended = false;
      for (int calls = 0; calls < 100 && !ended; ++calls) {
        const std::size_t end = at < cut && got.size() < text.size() && calls < 10 ? cut : packed.size();
        const auto progress =
            decompressor->run(std::as_bytes(std::span(packed)).subspan(at, end - at), out, end == packed.size());
        REQUIRE_MESSAGE(progress.has_value(), failure_of(progress));
        at += progress->consumed;
        got += base::as_text(std::span(out).first(progress->produced));
        ended = progress->ended;
      }
      CHECK(ended);
      CHECK((got == text));
    }
  }

  TEST_CASE("gzip: what follows and is no member is left alone, however it comes") {
    for (const std::string& junk :
         {std::string("x"), std::string("\x1f"), std::string("\x1fx"), std::string(5000, '\0')}) {
      for (const std::size_t step : {1u, 2u, 5u, 1u << 20}) {
        CAPTURE(junk.size());
        CAPTURE(step);
        const auto outcome = unpack(Compression::gzip, gzip(kText) + junk, step);
        check_text(outcome, kText);
        CHECK(outcome.left == junk.size());
      }
    }
    // A member that begins and is none is damage.
    CHECK(unpack(Compression::gzip, gzip(kText) + "\x1f\x8bxxxxxxxxxxxxxxx", 1 << 20).reason == "image_invalid");
  }

  TEST_CASE("a stream that is cut anywhere is refused") {
    const std::string text = "short " + noise(30);
    for (const auto& [compression, packed] : {std::pair(Compression::gzip, gzip(text)),
                                              {Compression::zstd, zstd(text)},
                                              {Compression::zstd, skippable("abc")}}) {
      for (std::size_t size = 1; size < packed.size(); ++size) {
        for (const std::size_t step : {1u, 1u << 20}) {
          const auto shown = to_string(compression);
          CAPTURE(shown);
          CAPTURE(size);
          CAPTURE(step);
          CHECK(unpack(compression, packed.substr(0, size), step).reason == "image_invalid");
        }
      }
    }
    const std::string two = gzip("one") + gzip("two");
    const std::size_t first = gzip("one").size();
    for (std::size_t size = first + 2; size < two.size(); ++size)
      CHECK(unpack(Compression::gzip, two.substr(0, size), 1).reason == "image_invalid");
  }

  TEST_CASE("a byte that differs is found where there is a checksum") {
    const std::string packed = gzip(kText);
    for (std::size_t at = packed.size() - 8; at < packed.size(); ++at) {
      std::string bad = packed;
      bad[at] = static_cast<char>(bad[at] ^ 4);
      CHECK(unpack(Compression::gzip, bad, 1 << 20).reason == "image_invalid");
    }
  }

  TEST_CASE("zstd: what follows a frame and is none is refused") {
    for (const std::string& junk : {std::string("junk"), std::string(4, '\0'), gzip("x")}) {
      CHECK(unpack(Compression::zstd, zstd(kText) + junk, 1 << 20).reason == "image_invalid");
      CHECK(unpack(Compression::zstd, zstd(kText) + junk, 1).reason == "image_invalid");
    }
  }

  TEST_CASE("zstd: a window of 128 MiB is the largest") {
    // A frame by hand (RFC 8878 section 3.1.1): magic, descriptor without content size, window, one last raw block.
    const auto frame = [](unsigned exponent, unsigned mantissa) {
      return little_endian(0xFD2FB528) + '\0' + static_cast<char>(exponent << 3 | mantissa) +
             std::string("\x09\0\0", 3) + "x";
    };
    check_text(unpack(Compression::zstd, frame(17, 0), 1 << 20), "x");  // 2^(10+17)
    CHECK(unpack(Compression::zstd, frame(17, 1), 1 << 20).reason == "image_invalid");
    CHECK(unpack(Compression::zstd, frame(31, 7), 1 << 20).reason == "image_invalid");
  }
}
