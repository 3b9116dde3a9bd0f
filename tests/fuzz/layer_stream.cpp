// F13. Whatever a layer's blob holds, LayerStream ends, hands out no more than the caps allow, and accepts only what
// has the digests, the size and the compression that were promised. What it accepts is what zlib makes of the same
// bytes (members behind one another are one stream; what follows the last is not read); valid streams within the limits
// are accepted; and the verdict does not depend on how the blob arrives. A reader's error comes through as it is.
#include "src/image/layer_stream.h"

#include "tests/fuzz/image/memory_source.h"

#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <zlib.h>
#include <zstd.h>

using namespace cleanroom;
using image::Compression;

namespace {

enum class Made { as_it_is, gzip, zstd };

constexpr std::size_t kMostPerMember = 32u << 10;  // before it is repeated

struct Case {
  std::string blob;
  std::string content;      // what was compressed
  bool is_changed = false;  // blob is not what a compressor made of content
  image::Limits limits;
  image::LayerExpectation expected;
  std::size_t fails_at = std::string::npos;  // the reader's error stands here
};

std::string gzip_member(std::string_view text, int level, bool with_name) {
  z_stream z{};
  FUZZ_CHECK(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  gz_header header{};
  char name[] = "layer.tar";
  header.name = reinterpret_cast<Bytef*>(name);
  header.hcrc = 1;
  if (with_name) deflateSetHeader(&z, &header);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  FUZZ_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd_frame(std::string_view text, int level) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), level);
  FUZZ_CHECK(!ZSTD_isError(size));
  out.resize(size);
  return out;
}

// What zlib makes of a chain of members: the output of those that are whole.
struct Inflated {
  std::string text;
  std::size_t members = 0;
  bool is_clean = false;  // members alone, and nothing wrong with any
};

Inflated inflate_all(std::string_view blob, bool check_sums) {
  Inflated inflated;
  z_stream z{};
  FUZZ_CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(blob.data()));
  z.avail_in = static_cast<uInt>(blob.size());
  std::vector<char> buffer(256u << 10);
  bool good = true;
  while (good && z.avail_in > 0) {
    inflateReset(&z);
    if (!check_sums) inflateValidate(&z, 0);
    std::string text;
    int result = Z_OK;
    while (result == Z_OK) {
      z.next_out = reinterpret_cast<Bytef*>(buffer.data());
      z.avail_out = static_cast<uInt>(buffer.size());
      result = inflate(&z, Z_NO_FLUSH);
      text.append(buffer.data(), buffer.size() - z.avail_out);
      if (result == Z_OK && z.avail_in == 0 && z.avail_out > 0) result = Z_BUF_ERROR;
    }
    good = result == Z_STREAM_END;
    if (!good) break;
    inflated.text += text;
    ++inflated.members;
  }
  inflated.is_clean = good && inflated.members > 0;
  inflateEnd(&z);
  return inflated;
}

void change(FuzzedDataProvider& input, Case& made) {
  switch (input.ConsumeIntegralInRange(0, 3)) {
    case 0:
      return;
    case 1:  // junk behind it
      made.blob += input.ConsumeRandomLengthString(40);
      break;
    case 2:
      made.blob.resize(input.ConsumeIntegralInRange<std::size_t>(0, made.blob.size()));
      break;
    default:
      for (int left = input.ConsumeIntegralInRange(1, 3); left > 0 && !made.blob.empty(); --left)
        made.blob[input.ConsumeIntegralInRange<std::size_t>(0, made.blob.size() - 1)] =
            static_cast<char>(input.ConsumeIntegral<std::uint8_t>());
  }
  made.is_changed = true;
}

template <class T>
void promise(FuzzedDataProvider& input, std::optional<T>& what, const T& right, const T& wrong) {
  const int choice = input.ConsumeIntegralInRange(0, 7);
  if (choice < 4) what = right;
  if (choice == 7) what = wrong;
}

model::Digest digest_of(std::string_view bytes) {
  return model::Digest::from_sha256_hex(base::sha256_hex(bytes));
}

Compression by_magic(std::string_view blob) {
  if (blob.starts_with("\x1f\x8b")) return Compression::gzip;
  const bool skippable = blob.size() >= 4 && (blob[0] & 0xf0) == 0x50 && blob.substr(1, 3) == "\x2a\x4d\x18";
  return skippable || blob.starts_with("\x28\xb5\x2f\xfd") ? Compression::zstd : Compression::none;
}

Case some_case(FuzzedDataProvider& input) {
  Case made;
  const auto how = input.PickValueInArray({Made::gzip, Made::gzip, Made::zstd, Made::as_it_is});
  const int members = input.ConsumeIntegralInRange(1, 3);
  const int repeat = input.ConsumeIntegralInRange(0, 7) == 7 ? input.ConsumeIntegralInRange(1, 40) : 1;
  made.limits = {.expanded_bytes = input.ConsumeIntegralInRange<std::uint64_t>(0, 1u << 20),
                 .ratio = input.ConsumeIntegralInRange<std::uint64_t>(1, 40),
                 .ratio_grace_bytes = input.ConsumeIntegralInRange<std::uint64_t>(0, 64u << 10),
                 .disk_reserve_bytes = 0};
  if (input.ConsumeBool()) made.limits = {.disk_reserve_bytes = 0};
  for (int i = 0; i < members; ++i) {
    const int level = input.ConsumeIntegralInRange(0, 9);
    const bool with_name = input.ConsumeBool();
    std::string part = fuzz::unroll(input.ConsumeRandomLengthString(400));
    part.resize(std::min(part.size(), kMostPerMember));
    std::string text;
    for (int n = 0; n < repeat; ++n)
      text += part;
    made.content += text;
    made.blob += how == Made::gzip   ? gzip_member(text, level, with_name)
                 : how == Made::zstd ? zstd_frame(text, level)
                                     : text;
  }
  change(input, made);
  made.is_changed = made.is_changed || how == Made::as_it_is;
  const std::string out = how == Made::as_it_is ? made.blob : made.content;
  promise(input, made.expected.compression, by_magic(made.blob), Compression::none);
  promise(input, made.expected.size, std::uint64_t{made.blob.size()}, std::uint64_t{made.blob.size()} + 1);
  promise(input, made.expected.digest, digest_of(made.blob), digest_of("wrong"));
  promise(input, made.expected.diff_id, digest_of(out), digest_of("wrong"));
  if (input.ConsumeIntegralInRange(0, 15) == 15)
    made.fails_at = input.ConsumeIntegralInRange<std::size_t>(0, made.blob.size());
  return made;
}

// Ends the process when it is asked again and again after its end.
class Blob final : public image::ContentReader {
 public:
  Blob(const Case& given, fuzz::Cut cut)
      : source_(std::string_view(given.blob).substr(0, given.fails_at), cut),
        fails_(given.fails_at != std::string::npos) {}
  base::Result<std::size_t> read(std::span<std::byte> into) override {
    FUZZ_CHECK(!into.empty());
    CR_ASSIGN(const std::size_t n, source_.read(into));
    if (n > 0) return n;
    FUZZ_CHECK(++ends_ < 10);
    if (fails_) return base::fail(base::Code::unavailable, "reader_failed", "the reader's own error");
    return n;
  }

 private:
  fuzz::MemorySource source_;
  bool fails_;
  int ends_ = 0;
};

struct Outcome {
  std::string text;
  std::string reason;  // empty: accepted
};

Outcome run(const Case& given, fuzz::Cut cut, std::size_t read_bytes) {
  static const base::Fd directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  image::ExpansionBudget budget(given.limits, directory);
  Outcome outcome;
  const auto failed = [&](const base::Error& error) {
    if (std::getenv("FUZZ_SHOW")) std::fprintf(stderr, "blob of %zu: %s\n", given.blob.size(), error.message.c_str());
    outcome.reason = error.reason;
    if (error.reason != "reader_failed") fuzz::check_image_error(error);
    return outcome;
  };
  const auto opened = image::LayerStream::open(std::make_unique<Blob>(given, cut), given.expected, budget);
  if (!opened) return failed(opened.error());
  std::vector<std::byte> buffer(std::max<std::size_t>(read_bytes, 16u << 10));
  int small_reads = 64;
  // A tar reader stops where the archive ends, which may be before the stream does.
  const std::size_t stop_after = given.blob.size() % 3 == 0 ? given.content.size() / 2 : std::string::npos;
  while (outcome.text.size() < stop_after) {
    const auto got = (*opened)->read(std::span(buffer).first(--small_reads > 0 ? read_bytes : buffer.size()));
    if (!got) return failed(got.error());
    if (*got == 0) break;
    FUZZ_CHECK(*got <= buffer.size());
    outcome.text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    FUZZ_CHECK(outcome.text.size() <= given.limits.expanded_bytes);
    FUZZ_CHECK(outcome.text.size() <= given.limits.ratio_grace_bytes ||
               outcome.text.size() < (given.blob.size() + 1) * given.limits.ratio);
  }
  const bool is_whole = outcome.text.size() < stop_after;
  const auto finished = (*opened)->finish();
  if (!finished) return failed(finished.error());
  if (!is_whole) outcome.text.clear();
  return outcome;
}

bool is_within_limits(const Case& given, std::size_t size) {
  return size <= given.limits.expanded_bytes &&
         (size <= given.limits.ratio_grace_bytes || size / given.limits.ratio == 0);
}

void check_accepted(const Case& given, const Outcome& outcome) {
  const auto& expected = given.expected;
  FUZZ_CHECK(given.fails_at == std::string::npos);
  FUZZ_CHECK(!expected.compression || *expected.compression == by_magic(given.blob));
  FUZZ_CHECK(!expected.size || *expected.size == given.blob.size());
  FUZZ_CHECK(!expected.digest || *expected.digest == digest_of(given.blob));
  if (outcome.text.empty()) return;  // not read to its end
  FUZZ_CHECK(!expected.diff_id || *expected.diff_id == digest_of(outcome.text));
  if (by_magic(given.blob) == Compression::none) FUZZ_CHECK(outcome.text == given.blob);
  if (by_magic(given.blob) == Compression::gzip) {
    const Inflated inflated = inflate_all(given.blob, false);
    FUZZ_CHECK(inflated.members > 0 && outcome.text == inflated.text);
  }
  if (!given.is_changed) FUZZ_CHECK(outcome.text == given.content);
}

void check_refused(const Case& given) {
  const auto& expected = given.expected;
  const auto kind = by_magic(given.blob);
  std::string text = kind == Compression::none ? given.blob : given.content;
  if (kind == Compression::gzip) {
    const Inflated inflated = inflate_all(given.blob, true);
    if (!inflated.is_clean) return;
    text = inflated.text;
  } else if (given.is_changed && kind == Compression::zstd) {
    return;
  }
  if (given.fails_at != std::string::npos) return;
  if (!is_within_limits(given, text.size())) return;
  FUZZ_CHECK((expected.compression && *expected.compression != kind) ||
             (expected.size && *expected.size != given.blob.size()) ||
             (expected.digest && *expected.digest != digest_of(given.blob)) ||
             (expected.diff_id && *expected.diff_id != digest_of(text)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const Case given = some_case(input);
  const std::size_t read_bytes = input.ConsumeIntegralInRange<std::size_t>(1, 5000);
  const Outcome outcome = run(given, fuzz::Cut::nowhere, read_bytes);
  if (outcome.reason.empty())
    check_accepted(given, outcome);
  else
    check_refused(given);
  const Outcome again = run(given, fuzz::Cut::somewhere, 700);
  FUZZ_CHECK(again.reason.empty() == outcome.reason.empty());
  if (outcome.reason.empty()) FUZZ_CHECK(again.text == outcome.text);
  return 0;
}
