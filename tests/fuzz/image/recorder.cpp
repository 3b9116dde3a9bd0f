#include "tests/fuzz/image/recorder.h"

#include "tests/fuzz/support.h"

#include <map>

namespace cleanroom::fuzz {

Recording& recording() {
  static Recording last;
  return last;
}

void check_paths(const std::vector<RecordedEntry>& entries) {
  std::map<std::string_view, image::EntryKind> seen;
  for (const auto& recorded : entries) {
    const std::string_view path = recorded.entry.path;
    FUZZ_CHECK(seen.emplace(path, recorded.entry.kind).second);
    FUZZ_CHECK(path.find('\0') == std::string_view::npos);
    if (path.empty()) {
      FUZZ_CHECK(recorded.entry.kind == image::EntryKind::directory);
      continue;
    }
    const std::size_t slash = path.rfind('/');
    const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
    FUZZ_CHECK(!name.empty() && name != "." && name != ".." && name.size() <= 255);
    FUZZ_CHECK(!name.starts_with(".wh."));
    const auto parent = seen.find(slash == std::string_view::npos ? std::string_view() : path.substr(0, slash));
    FUZZ_CHECK(parent != seen.end() && parent->second == image::EntryKind::directory);
  }
}

}  // namespace cleanroom::fuzz

namespace cleanroom::image {

struct Ext4Writer::State {
  std::uint32_t next_inode = 11;
};

Ext4Writer::Ext4Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ext4Writer::Ext4Writer(Ext4Writer&&) noexcept = default;
Ext4Writer& Ext4Writer::operator=(Ext4Writer&&) noexcept = default;
Ext4Writer::~Ext4Writer() = default;

base::Result<Ext4Writer> Ext4Writer::create(base::Fd, Ext4Options) {
  fuzz::recording() = {};
  return Ext4Writer(std::make_unique<State>());
}

base::Result<FileData> Ext4Writer::store_data(ContentReader& content, std::uint64_t size) {
  auto& recording = fuzz::recording();
  std::string text;
  std::byte buffer[4096];
  while (text.size() < size) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof buffer, size - text.size()));
    CR_ASSIGN(const std::size_t n, content.read(std::span(buffer).first(wanted)));
    if (n == 0) return base::fail(base::Code::invalid_input, "the content is too short");
    FUZZ_CHECK(n <= wanted);
    text.append(reinterpret_cast<const char*>(buffer), n);
  }
  recording.contents.push_back(std::move(text));
  recording.discarded.push_back(false);
  return FileData{.size = size, .first_block = static_cast<std::uint32_t>(recording.contents.size()), .blocks = 1};
}

void Ext4Writer::discard_data(const FileData& data) {
  if (data.first_block == 0) return;
  auto& discarded = fuzz::recording().discarded;
  FUZZ_CHECK(data.first_block <= discarded.size() && !discarded[data.first_block - 1]);
  discarded[data.first_block - 1] = true;
}

base::Result<std::uint32_t> Ext4Writer::add_stored(const TreeEntry& entry, const FileData& data) {
  std::uint32_t inode = entry.hardlink_to;
  if (entry.kind == EntryKind::hardlink)
    FUZZ_CHECK(inode >= 11 && inode < state_->next_inode);
  else
    inode = entry.path.empty() ? 2 : state_->next_inode++;
  fuzz::recording().entries.push_back({entry, inode, data});
  return inode;
}

}  // namespace cleanroom::image
