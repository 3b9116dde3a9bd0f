#include "src/image/layer_index.h"

#include "src/base/os/io.h"
#include "src/image/image_error.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr std::string_view kMagic = "CRLAYER2";
constexpr std::size_t kBufferBytes = 256u << 10;
constexpr std::size_t kDataBytes = 1u << 20;
constexpr std::size_t kMaxText = 1u << 20;  // a name, a link target, an attribute
constexpr std::size_t kMaxXattrs = 1u << 20;
constexpr std::size_t kDigestDigits = 64;
constexpr std::size_t kTrailerBytes = 4 + 4 + 8 + kDigestDigits;  // range, checksum, SHA-256 in hex over all before it

void put_number(std::string& out, std::uint64_t value) {  // LEB128
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out.append(text);
}
void put_fixed(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<char>(value >> shift));
}
std::uint32_t get_fixed(std::string_view text) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
  return value;
}

base::Failure damaged_index() {
  return image_invalid("the index of a stored layer is damaged");
}

}  // namespace

Result<LayerIndexWriter> LayerIndexWriter::create(const std::filesystem::path& path) {
  CR_ASSIGN(base::Fd file, base::open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  LayerIndexWriter writer(std::move(file));
  writer.pending_ = kMagic;
  return writer;
}

Result<void> LayerIndexWriter::flush() {
  hash_.update(base::as_bytes(pending_));
  CR_TRY(base::write_all(file_, pending_));
  pending_.clear();
  return {};
}

Result<void> LayerIndexWriter::add(const TarMember& member, const std::vector<Run>& runs) {
  const auto differs = std::mismatch(member.name.begin(), member.name.end(), last_name_.begin(), last_name_.end());
  const auto shared = static_cast<std::size_t>(differs.first - member.name.begin());
  put_number(pending_, shared);
  put_text(pending_, std::string_view(member.name).substr(shared));
  last_name_ = member.name;
  put_number(pending_, static_cast<std::uint64_t>(member.kind));
  for (const std::uint64_t value :
       {std::uint64_t{member.mode}, std::uint64_t{member.uid}, std::uint64_t{member.gid},
        static_cast<std::uint64_t>(member.mtime.seconds), std::uint64_t{member.mtime.nanoseconds}, member.size,
        std::uint64_t{member.device_major}, std::uint64_t{member.device_minor}})
    put_number(pending_, value);
  put_text(pending_, member.link_name);
  put_number(pending_, member.xattrs.size());
  for (const Xattr& xattr : member.xattrs) {
    put_text(pending_, xattr.name);
    put_text(pending_, xattr.value);
  }
  put_number(pending_, runs.size());
  for (const Run& run : runs) {
    for (const std::uint32_t value : {run.logical, run.physical, run.count})
      put_number(pending_, value);
  }
  return pending_.size() < kBufferBytes ? Result<void>() : flush();
}

Result<void> LayerIndexWriter::close(BlockRange data, std::uint64_t checksum) {
  put_fixed(pending_, data.first);
  put_fixed(pending_, data.count);
  put_fixed(pending_, static_cast<std::uint32_t>(checksum));
  put_fixed(pending_, static_cast<std::uint32_t>(checksum >> 32));
  CR_TRY(flush());
  CR_TRY(base::write_all(file_, hash_.finish_hex()));
  return ::fsync(file_.get()) == 0 ? Result<void>() : base::fail(base::errno_error("sync", "the index of a layer"));
}

Result<LayerIndexReader> LayerIndexReader::open(base::Fd file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return base::fail(base::errno_error("examine", "the index of a layer"));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size < kMagic.size() + kTrailerBytes) return damaged_index();
  base::Sha256 hash;
  std::vector<std::byte> part(kBufferBytes);
  std::string start;
  for (std::uint64_t at = 0; at < size - kDigestDigits;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), size - kDigestDigits - at));
    CR_TRY(base::pread_exact(file, std::span(part).first(n), at));
    hash.update(std::span(part).first(n));
    if (at == 0) start = base::as_text(std::span(part).first(kMagic.size()));
    at += n;
  }
  std::string trailer(kTrailerBytes, '\0');
  CR_TRY(base::pread_exact(file, std::as_writable_bytes(std::span(trailer)), size - kTrailerBytes));
  if (start != kMagic || hash.finish_hex() != trailer.substr(16)) return damaged_index();
  LayerIndexReader reader(std::move(file), size - kMagic.size() - kTrailerBytes);
  reader.at_ = kMagic.size();
  const std::string_view fixed = trailer;
  reader.data_ = {get_fixed(fixed), get_fixed(fixed.substr(4))};
  reader.checksum_ = std::uint64_t{get_fixed(fixed.substr(12))} << 32 | get_fixed(fixed.substr(8));
  return reader;
}

bool LayerIndexReader::matches(const base::Fd& image) const {
  std::vector<std::byte> part(kDataBytes);
  std::uint64_t checksum = 0;
  const std::uint64_t end = (std::uint64_t{data_.first} + data_.count) * kBlockSize;
  for (std::uint64_t at = std::uint64_t{data_.first} * kBlockSize; at < end;) {
    const auto bytes = std::span(part).first(static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), end - at)));
    if (!base::pread_exact(image, bytes, at)) return false;
    checksum = block_checksum(checksum, bytes);
    at += bytes.size();
  }
  return checksum == checksum_;
}

Result<void> LayerIndexReader::fill() {
  buffer_.erase(0, std::exchange(used_, 0));
  const std::size_t kept = buffer_.size();
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, left_));
  buffer_.resize(kept + n);
  CR_TRY(base::pread_exact(file_, std::as_writable_bytes(std::span(buffer_).subspan(kept)), at_));
  at_ += n;
  left_ -= n;
  return {};
}

Result<void> LayerIndexReader::bytes(char* into, std::size_t size) {
  while (buffer_.size() - used_ < size) {
    if (left_ == 0) return damaged_index();
    CR_TRY(fill());
  }
  std::memcpy(into, buffer_.data() + used_, size);
  used_ += size;
  return {};
}

Result<std::uint64_t> LayerIndexReader::number() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    char next = 0;
    CR_TRY(bytes(&next, 1));
    value |= (static_cast<std::uint64_t>(next) & 0x7f) << shift;
    if (!(next & 0x80)) return value;
  }
  return damaged_index();
}

Result<std::string> LayerIndexReader::text() {
  CR_ASSIGN(const std::uint64_t size, number());
  if (size > kMaxText) return damaged_index();
  std::string out(static_cast<std::size_t>(size), '\0');
  if (size > 0) CR_TRY(bytes(out.data(), out.size()));
  return out;
}

Result<bool> LayerIndexReader::next(TarMember& member, std::vector<Run>& runs) {
  if (left_ == 0 && used_ == buffer_.size()) return false;
  member = {};
  runs.clear();
  CR_ASSIGN(const std::uint64_t shared, number());
  if (shared > last_name_.size()) return damaged_index();
  CR_ASSIGN(const std::string rest, text());
  member.name = last_name_.substr(0, static_cast<std::size_t>(shared)) + rest;
  last_name_ = member.name;
  CR_ASSIGN(const std::uint64_t kind, number());
  if (kind > static_cast<std::uint64_t>(EntryKind::socket)) return damaged_index();
  member.kind = static_cast<EntryKind>(kind);
  const auto small = [this](std::uint32_t& into) -> Result<void> {
    CR_ASSIGN(const std::uint64_t value, number());
    into = static_cast<std::uint32_t>(value);
    return value == into ? Result<void>() : damaged_index();
  };
  CR_TRY(small(member.mode));
  CR_TRY(small(member.uid));
  CR_TRY(small(member.gid));
  CR_ASSIGN(const std::uint64_t seconds, number());
  member.mtime.seconds = static_cast<std::int64_t>(seconds);
  CR_TRY(small(member.mtime.nanoseconds));
  CR_ASSIGN(member.size, number());
  CR_TRY(small(member.device_major));
  CR_TRY(small(member.device_minor));
  CR_ASSIGN(member.link_name, text());
  CR_ASSIGN(const std::uint64_t xattrs, number());
  if (xattrs > kMaxXattrs) return damaged_index();
  for (std::uint64_t i = 0; i < xattrs; ++i) {
    CR_ASSIGN(std::string name, text());
    CR_ASSIGN(std::string value, text());
    member.xattrs.push_back({std::move(name), std::move(value)});
  }
  CR_ASSIGN(const std::uint64_t count, number());
  if (count > kMaxRuns + 1) return damaged_index();
  for (std::uint64_t i = 0; i < count; ++i) {
    Run run;
    CR_TRY(small(run.logical));
    CR_TRY(small(run.physical));
    CR_TRY(small(run.count));
    if (std::uint64_t{run.physical} + run.count > data_.count) return damaged_index();
    runs.push_back(run);
  }
  return true;
}

}  // namespace cleanroom::image
