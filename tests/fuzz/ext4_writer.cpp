// F15. From any entries Ext4Writer makes a file system that libext2fs reads back as the same tree, with every byte,
// attribute and hole, and whose bitmaps and counts agree with it; or it refuses, and only for what it says it refuses.
// The same entries give the same bytes. Every FUZZ_E2FSCK-th image (1000 unless set) goes through e2fsck -fn too.
#include "src/image/ext4_writer.h"

#include "src/base/net/sha256.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "tests/fuzz/image/ext4_check.h"
#include "tests/fuzz/image/memory_source.h"
#include "tests/unit/image/ext4_reader.h"

#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <sys/stat.h>

using namespace cleanroom;
using image::EntryKind;
using image::TreeEntry;

namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kMostNames = 2000;
constexpr EntryKind kKinds[] = {
    EntryKind::file,     EntryKind::file,        EntryKind::directory,    EntryKind::directory, EntryKind::symlink,
    EntryKind::hardlink, EntryKind::char_device, EntryKind::block_device, EntryKind::fifo,      EntryKind::socket};
constexpr const char* kAttributes[] = {
    "user.a", "user.b", "trusted.t", "security.capability", "user.longer-name", "system.posix_acl_access"};

struct Step {
  TreeEntry entry;
  std::string content;
  bool is_discarded = false;  // stored and given back, no entry
  std::size_t link_to = 0;    // of a hardlink: the step that made the file
};

struct Plan {
  image::Ext4Options options;
  std::vector<Step> steps;
  bool is_bounded = false;  // by its options
};

std::string some_content(FuzzedDataProvider& input) {
  std::string content;
  for (int left = input.ConsumeIntegralInRange(0, 6); left > 0; --left) {
    const auto blocks = input.ConsumeIntegralInRange<std::size_t>(0, 12);
    content.append(blocks * kBlock, input.ConsumeBool() ? '\0' : static_cast<char>('a' + left));
  }
  return content + input.ConsumeRandomLengthString(20);
}

std::string some_acl(FuzzedDataProvider& input) {
  std::string acl("\2\0\0\0", 4);
  for (const int tag : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20}) {
    const bool named = tag == 0x02 || tag == 0x08;
    acl += {static_cast<char>(tag), 0, static_cast<char>(input.ConsumeIntegralInRange(0, 7)), 0};
    acl += named ? std::string("\7\0\0\0", 4) : std::string(4, '\xff');
  }
  return acl;
}

std::vector<image::Xattr> some_xattrs(FuzzedDataProvider& input) {
  std::vector<image::Xattr> xattrs;
  for (const char* const name : kAttributes) {
    if (input.ConsumeIntegralInRange(0, 15) != 15) continue;
    const bool is_acl = std::string_view(name).starts_with("system.");
    std::string value = is_acl ? some_acl(input) : input.ConsumeRandomLengthString(40);
    if (!is_acl && input.ConsumeBool()) value.append(input.ConsumeIntegralInRange<std::size_t>(0, 1500), 'v');
    xattrs.push_back({name, std::move(value)});
  }
  return xattrs;
}

TreeEntry some_entry(FuzzedDataProvider& input, const std::vector<std::string>& directories) {
  TreeEntry entry{.kind = input.PickValueInArray(kKinds)};
  const std::string& parent = directories[input.ConsumeIntegralInRange<std::size_t>(0, directories.size() - 1)];
  std::string name = input.ConsumeRandomLengthString(12);
  if (name.empty()) name = "n";
  if (input.ConsumeIntegralInRange(0, 7) == 7) name.resize(input.ConsumeIntegralInRange<std::size_t>(1, 256), 'l');
  entry.path = parent.empty() ? name : parent + "/" + name;
  entry.mode = input.ConsumeIntegralInRange(0u, 07777u);
  entry.uid = input.ConsumeIntegral<std::uint32_t>();
  entry.gid = input.ConsumeIntegral<std::uint32_t>();
  entry.mtime = {input.ConsumeIntegralInRange<std::int64_t>(-(1ll << 33), 1ll << 35),
                 input.ConsumeIntegralInRange(0u, 999'999'999u)};
  if (entry.kind == EntryKind::char_device || entry.kind == EntryKind::block_device) {
    entry.device_major = input.ConsumeIntegralInRange(0u, 0xfffu);
    entry.device_minor = input.ConsumeIntegralInRange(0u, 0xfffffu);
  }
  if (entry.kind == EntryKind::symlink)
    entry.link_target = std::string(
        input.ConsumeIntegralInRange<std::size_t>(0, 3) == 3 ? input.ConsumeIntegralInRange<std::size_t>(0, 4096) : 9,
        't');
  if (entry.kind != EntryKind::hardlink) entry.xattrs = some_xattrs(input);
  return entry;
}

Plan some_plan(FuzzedDataProvider& input) {
  Plan plan;
  image::Ext4Options& options = plan.options;
  options.seed = input.ConsumeRandomLengthString(4);
  options.label = input.ConsumeRandomLengthString(16);
  options.label.erase(std::min(options.label.find('\0'), options.label.size()));
  options.created_seconds = input.ConsumeIntegralInRange(0, 1'700'000'000);  // e2fsck reports the future
  options.free_inodes = input.ConsumeIntegralInRange(0u, 300u);
  if (input.ConsumeBool()) options.free_bytes = input.ConsumeIntegralInRange(0u, 200u << 20);
  if (input.ConsumeIntegralInRange(0, 7) == 7) options.size_bytes = input.ConsumeIntegralInRange(0u, 300u << 20);
  if (input.ConsumeIntegralInRange(0, 7) == 7) options.max_bytes = input.ConsumeIntegralInRange(0u, 2u << 20);
  if (input.ConsumeIntegralInRange(0, 15) == 15) options.journal_mib = input.ConsumeIntegralInRange(4u, 8u);
  plan.is_bounded = options.size_bytes != 0 || options.max_bytes != 0;
  std::vector<std::string> directories{""};
  std::vector<std::size_t> files;  // the steps that made them
  for (int left = input.ConsumeIntegralInRange(0, 24); left > 0; --left) {
    Step step{.entry = some_entry(input, directories)};
    if (step.entry.kind == EntryKind::hardlink) {
      if (files.empty()) continue;
      step.link_to = files[input.ConsumeIntegralInRange<std::size_t>(0, files.size() - 1)];
    }
    if (step.entry.kind == EntryKind::file) {
      step.content = some_content(input);
      step.entry.size = step.content.size();
      step.is_discarded = input.ConsumeIntegralInRange(0, 7) == 7;
    }
    if (step.entry.kind == EntryKind::directory) directories.push_back(step.entry.path);
    if (step.entry.kind != EntryKind::directory && step.entry.kind != EntryKind::hardlink && !step.is_discarded)
      files.push_back(plan.steps.size());
    // A crowd of names in one directory, now and then.
    const auto crowd =
        input.ConsumeIntegralInRange(0, 31) == 31 ? input.ConsumeIntegralInRange<std::size_t>(0, 600) : 0;
    const bool has_link = step.entry.kind == EntryKind::hardlink;
    plan.steps.push_back(step);
    for (std::size_t n = 0; n < crowd && plan.steps.size() < kMostNames; ++n) {
      Step more{.entry = step.entry, .link_to = step.link_to};
      if (!has_link) more.entry = {.kind = EntryKind::file};
      more.entry.path = step.entry.path + std::to_string(n);
      plan.steps.push_back(std::move(more));
    }
  }
  return plan;
}

// What the writer promises to refuse.
bool is_refused(const Plan& plan) {
  std::map<std::string, EntryKind> seen{{"", EntryKind::directory}};
  for (const Step& step : plan.steps) {
    if (step.is_discarded) continue;
    const TreeEntry& entry = step.entry;
    const std::size_t slash = entry.path.rfind('/');
    const std::string name = slash == std::string::npos ? entry.path : entry.path.substr(slash + 1);
    const auto parent = seen.find(slash == std::string::npos ? "" : entry.path.substr(0, slash));
    if (name.empty() || name == "." || name == ".." || name.size() > 255 || name.find('\0') != std::string::npos)
      return true;
    if (entry.path.front() == '/' || parent == seen.end() || parent->second != EntryKind::directory) return true;
    if (!seen.emplace(entry.path, entry.kind).second) return true;
    if (entry.kind == EntryKind::symlink && (entry.link_target.empty() || entry.link_target.size() > 4095)) return true;
    std::size_t bytes = 4 + 32;
    for (const auto& xattr : entry.xattrs)
      bytes += 16 + (xattr.name.size() + 3) / 4 * 4 + (xattr.value.size() + 3) / 4 * 4;
    if (bytes > kBlock) return true;  // a little less may be refused too, or not
  }
  return false;
}

base::Result<void> write(const Plan& plan, base::Fd file) {
  CR_ASSIGN(auto writer, image::Ext4Writer::create(std::move(file), plan.options));
  std::vector<std::uint32_t> inodes;
  for (const Step& step : plan.steps) {
    fuzz::MemorySource content(step.content, fuzz::Cut::somewhere);
    inodes.push_back(0);
    if (step.is_discarded) {
      CR_ASSIGN(const image::FileData data, writer.store_data(content, step.content.size()));
      writer.discard_data(data);
      continue;
    }
    TreeEntry entry = step.entry;
    if (entry.kind == EntryKind::hardlink) entry.hardlink_to = inodes[step.link_to];
    CR_ASSIGN(inodes.back(), writer.add(entry, &content));
  }
  return writer.finish();
}

base::Fd memory_file() {
  return base::Fd(::memfd_create("image", MFD_CLOEXEC));
}
std::string path_of(const base::Fd& file) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file.get());
}

std::uint32_t type_bits(EntryKind kind) {
  switch (kind) {
    case EntryKind::file:
      return S_IFREG;
    case EntryKind::directory:
      return S_IFDIR;
    case EntryKind::symlink:
      return S_IFLNK;
    case EntryKind::char_device:
      return S_IFCHR;
    case EntryKind::block_device:
      return S_IFBLK;
    case EntryKind::fifo:
      return S_IFIFO;
    case EntryKind::socket:
      return S_IFSOCK;
    case EntryKind::hardlink:
      break;
  }
  return 0;
}

// libext2fs leaves the id of an ACL's unnamed entries as its memory was; the disk does not have it.
std::string with_plain_ids(std::string_view name, std::string value) {
  if (!name.starts_with("system.posix_acl")) return value;
  for (std::size_t at = 4; at + 8 <= value.size(); at += 8) {
    if (value[at] != 0x02 && value[at] != 0x08) value.replace(at + 4, 4, 4, '\xff');
  }
  return value;
}

void check_entry(const Step& step, const image::testing::ReadEntry& got) {
  const TreeEntry& entry = step.entry;
  FUZZ_CHECK(got.mode == (type_bits(entry.kind) | entry.mode));
  FUZZ_CHECK(got.uid == entry.uid && got.gid == entry.gid);
  FUZZ_CHECK(got.mtime == std::clamp<std::int64_t>(entry.mtime.seconds, -(1ll << 31), (1ll << 34) - (1ll << 31) - 1));
  FUZZ_CHECK(got.mtime_ns == entry.mtime.nanoseconds);
  FUZZ_CHECK(got.device_major == entry.device_major && got.device_minor == entry.device_minor);
  if (entry.kind == EntryKind::symlink) FUZZ_CHECK(got.target == entry.link_target);
  FUZZ_CHECK(got.xattrs.size() == entry.xattrs.size());
  for (const auto& xattr : entry.xattrs)
    FUZZ_CHECK(got.xattrs.contains(xattr.name) &&
               with_plain_ids(xattr.name, got.xattrs.at(xattr.name)) == with_plain_ids(xattr.name, xattr.value));
  if (entry.kind != EntryKind::file) return;
  FUZZ_CHECK(got.size == step.content.size() && got.content_sha256 == base::sha256_hex(step.content));
  // No more blocks than the content has, one of extents and one of attributes.
  FUZZ_CHECK(got.sectors <= ((step.content.size() + kBlock - 1) / kBlock + 2) * 8);
}

void check_tree(const Plan& plan, const std::string& path) {
  const auto read = image::testing::read_ext4(path);
  std::map<std::size_t, std::uint32_t> inodes;  // of the steps that others link to
  std::size_t names = 1;
  FUZZ_CHECK(read.contains(""));
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.is_discarded) continue;
    ++names;
    const auto found = read.find(step.entry.path);
    FUZZ_CHECK(found != read.end());
    if (step.entry.kind == EntryKind::hardlink) {
      FUZZ_CHECK(inodes.at(step.link_to) == found->second.inode);
      continue;
    }
    inodes[i] = found->second.inode;
    check_entry(step, found->second);
  }
  FUZZ_CHECK(read.size() == names);
}

void check_with_e2fsck(const std::string& path) {
  static const std::string program = [] {
    const auto found = base::find_program("e2fsck");
    return found ? found->native() : std::string("/usr/sbin/e2fsck");
  }();
  const auto run = base::run_process({.argv = {program, "-fn", path}, .environment = {"LC_ALL=C"}},
                                     base::deadline_in(std::chrono::seconds(60)));
  FUZZ_CHECK(run);
  if (run->status.success() && run->output.find("ix? no") == std::string::npos) return;
  std::fputs(run->output.c_str(), stderr);
  const bool e2fsck_found_nothing = false;
  FUZZ_CHECK(e2fsck_found_nothing);
}

std::string hash_of(const base::Fd& file) {
  struct stat info {};
  FUZZ_CHECK(::fstat(file.get(), &info) == 0);
  std::string digest = std::to_string(info.st_size);
  std::vector<std::byte> buffer(64u << 10);
  base::Sha256 hash;
  // Of the data alone: what lies between is a hole in both.
  for (off_t at = 0; (at = ::lseek(file.get(), at, SEEK_DATA)) >= 0;) {
    const ssize_t got = ::pread(file.get(), buffer.data(), buffer.size(), at);
    FUZZ_CHECK(got > 0);
    digest += "," + std::to_string(at);
    hash.update(std::span(buffer).first(static_cast<std::size_t>(got)));
    at += got;
  }
  return digest + hash.finish_hex();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const long every = std::getenv("FUZZ_E2FSCK") ? std::atol(std::getenv("FUZZ_E2FSCK")) : 1000;
  static long count = 0;
  FuzzedDataProvider input(data, size);
  const Plan plan = some_plan(input);
  const base::Fd file = memory_file();
  const auto written = write(plan, base::Fd(::dup(file.get())));
  if (std::getenv("FUZZ_SHOW") && !written) std::fprintf(stderr, "%s\n", written.error().message.c_str());
  if (!written) {
    FUZZ_CHECK(is_refused(plan) || (plan.is_bounded && written.error().reason == "image_limit"));
    return 0;
  }
  FUZZ_CHECK(!is_refused(plan));
  const std::string path = path_of(file);
  fuzz::check_ext4(path);
  check_tree(plan, path);
  ++count;
  if (count % 8 == 0) {
    const base::Fd again = memory_file();
    FUZZ_CHECK(write(plan, base::Fd(::dup(again.get()))));
    FUZZ_CHECK(hash_of(again) == hash_of(file));
  }
  if (every > 0 && count % every == 0) check_with_e2fsck(path);
  return 0;
}
