#include "src/runner/output_receiver.h"

#include "src/base/os/io.h"
#include "src/base/text/utf8.h"
#include "src/model/reason.h"
#include "src/runner/output_receiver_names.h"
#include "src/runner/output_receiver_staging.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <variant>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::Error;
using base::fail;
using base::Fd;
using base::Result;

constexpr std::size_t kReadBytes = 64u << 10;
// Between two entries at most this much is read. It bounds the memory that long names, pax records and sparse maps
// take.
constexpr std::uint64_t kMaxHeaderBytes = 1u << 20;
constexpr std::uint64_t kEndMarkBytes = 512;  // at least one block of zeros ends a tar
constexpr std::size_t kMaxShownPathBytes = 200;

// libarchive converts the names in pax records from UTF-8 to the thread's character set. Here that is UTF-8 too, and
// all that changes are accents: they are composed (NFC). Names in plain and GNU headers, and those of pax records under
// `hdrcharset=BINARY`, are left alone.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) previous_ = ::uselocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;
  ~Utf8Locale() {
    if (locale_ == nullptr) return;
    ::uselocale(previous_);
    ::freelocale(locale_);
  }

 private:
  ::locale_t locale_;
  ::locale_t previous_ = nullptr;
};

// The stream with its deadline, its caps and the reason it ended for.
class StreamReader {
 public:
  StreamReader(const Fd& stream, const OutputOptions& options, Fd stop_event)
      : stream_(stream), options_(options), stop_event_(std::move(stop_event)) {}

  // 0 = end of the stream. Blocks until there is something to read.
  Result<std::size_t> read(std::span<std::byte> into);
  void begin_header() { header_left_ = kMaxHeaderBytes; }
  void end_header() { header_left_.reset(); }
  std::uint64_t position() const { return position_; }

  static la_ssize_t callback(struct archive* archive, void* self, const void** bytes);
  // What callback() could not say to libarchive.
  std::optional<Error> error;

 private:
  Result<void> wait();
  const Fd& stream_;
  const OutputOptions& options_;
  Fd stop_event_;
  std::optional<std::uint64_t> header_left_;
  std::uint64_t position_ = 0;
  std::array<std::byte, kReadBytes> buffer_;
};

Result<void> StreamReader::wait() {
  while (true) {
    if (options_.stop.stop_requested()) return fail(Code::cancelled, "the run was cancelled");
    const auto left = base::time_left(options_.deadline);
    if (left.count() == 0) return fail(Code::timeout, "the outputs did not arrive in time");
    std::array<pollfd, 2> polled{{{stream_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}}};
    const int span = static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000));
    const int ready = ::poll(polled.data(), polled.size(), span);
    if (ready < 0 && errno != EINTR) return fail(base::errno_error("wait for", "the outputs"));
    if (ready > 0 && polled[0].revents != 0) return {};
  }
}

Result<std::size_t> StreamReader::read(std::span<std::byte> into) {
  CR_TRY(wait());
  if (header_left_) {
    if (*header_left_ == 0) return fail(Code::guest_failure, "the header of an entry is too long");
    into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), *header_left_)));
  }
  CR_ASSIGN(const std::size_t got, base::read_some(stream_, into));
  position_ += got;
  if (header_left_) *header_left_ -= got;
  if (position_ > options_.limits.stream_bytes) return fail(Code::guest_failure, "the stream is too long");
  return got;
}

la_ssize_t StreamReader::callback(struct archive* archive, void* self, const void** bytes) {
  auto& reader = *static_cast<StreamReader*>(self);
  auto got = reader.read(reader.buffer_);
  if (got) {
    *bytes = reader.buffer_.data();
    return static_cast<la_ssize_t>(*got);
  }
  reader.error = std::move(got).error();
  archive_set_error(archive, EIO, "stream failed");
  return -1;
}

struct ArchiveFree {
  void operator()(struct archive* archive) const { archive_read_free(archive); }
};
using ArchivePointer = std::unique_ptr<struct archive, ArchiveFree>;

struct StagedDirectory {};
struct StagedOutput {
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
};
using Staged = std::variant<StagedDirectory, StagedOutput>;

class OutputSession {
 public:
  OutputSession(StreamReader& reader, OutputStaging& staging, const OutputOptions& options)
      : reader_(reader), staging_(staging), options_(options) {}

  Result<void> receive();  // the whole stream into staging
  Result<void> place();    // from staging to the checkout
  OutputReport take_report() { return std::move(report_); }

 private:
  Result<bool> next_entry(struct archive* archive, struct archive_entry** entry);
  Result<void> take_entry(struct archive* archive, struct archive_entry* entry);
  Result<void> take_file(struct archive* archive, struct archive_entry* entry, const std::string& path);
  Result<std::string> copy_data(struct archive* archive, const Fd& file, std::uint64_t declared);
  Result<void> keep(const std::string& path, Staged staged);
  Result<void> check_end(struct archive* archive);
  Error stream_error(struct archive* archive);
  void reject(std::string_view path, std::string_view cause);

  StreamReader& reader_;
  OutputStaging& staging_;
  const OutputOptions& options_;
  OutputReport report_;
  std::map<std::string, Staged, std::less<>> staged_;
  std::size_t path_bytes_ = 0;
  std::size_t entries_ = 0;
  std::uint64_t total_bytes_ = 0;
};

void OutputSession::reject(std::string_view path, std::string_view cause) {
  if (report_.rejected.size() == kMaxRejectedListed) {
    ++report_.rejected_not_listed;
    return;
  }
  std::string shown = base::escape_for_display(path.substr(0, kMaxShownPathBytes));
  if (path.size() > kMaxShownPathBytes) shown += "...";
  report_.rejected.push_back({std::move(shown), std::string(cause)});
}

Error OutputSession::stream_error(struct archive* archive) {
  if (reader_.error) return std::move(*reader_.error);
  const char* text = archive_error_string(archive);
  return {Code::guest_failure, fmt::format("cannot read the outputs: {}",
                                           base::escape_for_display(text == nullptr ? "not a tar stream" : text))};
}

Result<bool> OutputSession::next_entry(struct archive* archive, struct archive_entry** entry) {
  reader_.begin_header();
  const int status = archive_read_next_header(archive, entry);
  reader_.end_header();
  if (status == ARCHIVE_EOF) return false;
  if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return fail(stream_error(archive));
  if (++entries_ > options_.limits.entries) {
    return fail(Code::guest_failure,
                fmt::format("cannot take the outputs: more than {} entries", options_.limits.entries));
  }
  return true;
}

// A truncated stream looks like the end of an archive to libarchive when the cut is between two entries.
Result<void> OutputSession::check_end(struct archive* archive) {
  const auto mark = archive_read_header_position(archive);
  std::array<std::byte, 4096> rest;
  while (true) {
    CR_ASSIGN(const std::size_t got, reader_.read(rest));
    if (got == 0) break;
  }
  if (mark < 0 || reader_.position() < static_cast<std::uint64_t>(mark) + kEndMarkBytes) {
    return fail(Code::guest_failure, "cannot read the outputs: the stream was cut short");
  }
  return {};
}

Result<void> OutputSession::receive() {
  const ArchivePointer archive(archive_read_new());
  if (archive == nullptr) return fail(Code::unavailable, "cannot read the outputs: out of memory");
  archive_read_support_format_tar(archive.get());
  if (archive_read_open(archive.get(), &reader_, nullptr, &StreamReader::callback, nullptr) != ARCHIVE_OK) {
    return fail(stream_error(archive.get()));
  }
  while (true) {
    struct archive_entry* entry = nullptr;
    CR_ASSIGN(const bool more, next_entry(archive.get(), &entry));
    if (!more) break;
    CR_TRY(take_entry(archive.get(), entry));
    if (archive_read_data_skip(archive.get()) != ARCHIVE_OK) return fail(stream_error(archive.get()));
  }
  return check_end(archive.get());
}

std::string_view find_kind_fault(struct archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return "is a hard link";
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return archive_entry_sparse_count(entry) != 0 ? "has holes (sparse)" : std::string_view{};
    case AE_IFDIR:
      return {};
    case AE_IFLNK:
      return "is a symbolic link";
    default:
      return "is a device, FIFO or socket";
  }
}

Result<void> OutputSession::take_entry(struct archive* archive, struct archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  if (raw == nullptr) {
    reject("?", "its name cannot be read");
    return {};
  }
  const auto name = judge_output_name(raw, options_.limits.depth, options_.limits.path_bytes);
  if (!name.refused.empty()) {
    reject(raw, fmt::format("its name {}", name.refused));
    return {};
  }
  if (const auto fault = find_kind_fault(entry); !fault.empty()) {
    reject(raw, fmt::format("it {}", fault));
    return {};
  }
  const bool wanted = !name.path.empty() && options_.globs.matches(name.path);
  if (archive_entry_filetype(entry) == AE_IFDIR) return wanted ? keep(name.path, StagedDirectory{}) : Result<void>{};
  if (wanted) return take_file(archive, entry, name.path);
  reject(raw, "no output pattern matches it");
  return {};
}

// Permissions and time as the host wants them; both on the staged file, before it gets its name.
Result<void> set_attributes(const Fd& file, struct archive_entry* entry) {
  const mode_t mode = (archive_entry_perm(entry) & 0755) | 0600;
  struct ::timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t seconds = std::clamp<std::int64_t>(archive_entry_mtime(entry), 0, now.tv_sec);
  const struct ::timespec times[2] = {now, {static_cast<time_t>(seconds), 0}};
  if (::fchmod(file.get(), mode) != 0 || ::futimens(file.get(), times) != 0) {
    return fail(base::errno_error("set the attributes of", "a returned file"));
  }
  return {};
}

Result<void> OutputSession::take_file(struct archive* archive, struct archive_entry* entry, const std::string& path) {
  const auto size = archive_entry_size(entry);
  const auto declared = static_cast<std::uint64_t>(size);
  const auto& limits = options_.limits;
  if (size < 0 || declared > limits.file_bytes) {
    reject(path, fmt::format("it is larger than {} bytes", limits.file_bytes));
    return {};
  }
  total_bytes_ += declared;
  if (total_bytes_ > limits.total_bytes) {
    return fail(Code::guest_failure, fmt::format("cannot take the outputs: more than {} bytes", limits.total_bytes));
  }
  CR_ASSIGN(const std::uint64_t room, staging_.free_bytes());
  if (room < limits.disk_reserve_bytes || room - limits.disk_reserve_bytes < declared) {
    return fail(Code::failed_precondition, model::to_string(model::Reason::output_failed).data(),
                "cannot take the outputs: the checkout's disk is almost full");
  }
  CR_ASSIGN(const auto file, staging_.add_file());
  CR_ASSIGN(const std::string fault, copy_data(archive, file.fd, declared));
  if (!fault.empty()) {
    staging_.remove_file(file.number);
    reject(path, fault);
    return {};
  }
  CR_TRY(set_attributes(file.fd, entry));
  return keep(path, StagedOutput{file.number, declared});
}

// Copies the content of the entry; what is wrong with it, or "".
Result<std::string> OutputSession::copy_data(struct archive* archive, const Fd& file, std::uint64_t declared) {
  std::uint64_t written = 0;
  while (true) {
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(archive, &bytes, &size, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) return fail(stream_error(archive));
    if (static_cast<std::uint64_t>(offset) != written || size > declared - written) return "it has holes (sparse)";
    CR_TRY(base::write_all(file, std::span(static_cast<const std::byte*>(bytes), size)));
    written += size;
  }
  return written == declared ? "" : "its content is not as long as its header says";
}

Result<void> OutputSession::keep(const std::string& path, Staged staged) {
  const auto found = staged_.find(path);
  if (found == staged_.end()) {
    path_bytes_ += path.size();
    if (path_bytes_ > options_.limits.all_paths_bytes) {
      return fail(Code::guest_failure, "cannot take the outputs: their names are too long together");
    }
    staged_.emplace(path, staged);
    return {};
  }
  if (const auto* earlier = std::get_if<StagedOutput>(&found->second)) staging_.remove_file(earlier->number);
  found->second = staged;
  return {};
}

Result<void> OutputSession::place() {
  for (const auto& [path, staged] : staged_) {
    const auto* file = std::get_if<StagedOutput>(&staged);
    auto placed = file != nullptr ? staging_.place_file(file->number, path) : staging_.place_directory(path);
    if (!placed && placed.error().code == Code::policy_denied) {
      reject(path, placed.error().message);
      continue;
    }
    if (!placed) {
      return fail(std::move(placed).error().with_context(
          fmt::format("put outputs into the checkout ({} files are there)", report_.files)));
    }
    report_.files += file != nullptr ? 1 : 0;
    report_.directories += file == nullptr ? 1 : 0;
    report_.bytes += file != nullptr ? file->bytes : 0;
  }
  return {};
}

// What the guest did wrong is output_rejected, all else that fails here is output_failed.
Error with_reason(Error error) {
  const bool guest = error.code == Code::guest_failure;
  error.reason = model::to_string(guest ? model::Reason::output_rejected : model::Reason::output_failed);
  return error;
}

}  // namespace

Result<OutputReport> receive_outputs(const Fd& stream, const OutputOptions& options) {
  const Utf8Locale locale;
  Fd stop_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_event) return fail(with_reason(base::errno_error("make", "an eventfd")));
  const std::stop_callback on_stop(options.stop, [raw = stop_event.get()] {
    const std::uint64_t one = 1;
    (void)!::write(raw, &one, sizeof one);
  });
  auto staging = OutputStaging::create(options.checkout);
  if (!staging) return fail(with_reason(std::move(staging).error()));
  // On the heap: it holds the read buffer.
  const auto reader = std::make_unique<StreamReader>(stream, options, std::move(stop_event));
  OutputSession session(*reader, *staging, options);
  auto done = session.receive();
  // The caller's word that the stream was whole comes as the absence of a stop.
  if (done && options.stop.stop_requested()) done = fail(Code::cancelled, "the stream broke off");
  if (done) done = session.place();
  if (!done) return fail(with_reason(std::move(done).error()));
  return session.take_report();
}

}  // namespace cleanroom::runner
