#include "src/runner/output_receiver.h"

#include "src/runner/output_receiver_names.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/runner_io/support.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <thread>

namespace cleanroom::runner {
namespace {

using namespace test;
using base::Code;

OutputOptions options_for(const fs::path& checkout, std::vector<std::string> patterns = {"**"}) {
  OutputOptions options;
  options.checkout = checkout;
  for (const auto& pattern : patterns)
    REQUIRE(options.globs.add(pattern).has_value());
  options.deadline = base::deadline_in(std::chrono::seconds(60));
  options.limits.disk_reserve_bytes = 0;
  return options;
}

// Feeds `stream` through a pipe from another thread, as the control channel would.
base::Result<OutputReport> receive(const std::string& stream, const OutputOptions& options) {
  auto ends = base::make_socket_pair().value();
  std::thread writer([&stream, end = std::move(ends.b)] {
    std::size_t sent = 0;
    while (sent < stream.size()) {
      const auto count =
          ::send(end.get(), stream.data() + sent, std::min<std::size_t>(stream.size() - sent, 7001), MSG_NOSIGNAL);
      if (count <= 0) break;
      sent += static_cast<std::size_t>(count);
    }
  });
  auto report = receive_outputs(ends.a, options);
  ends.a.reset();
  writer.join();
  return report;
}

// Every name below `directory`, sorted.
std::vector<std::string> names_below(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    names.push_back(entry.path().lexically_relative(directory).native());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool was_rejected(const OutputReport& report, std::string_view cause) {
  return std::any_of(report.rejected.begin(), report.rejected.end(),
                     [&](const auto& r) { return r.cause.find(cause) != std::string::npos; });
}

TEST_CASE("archives of GNU tar and bsdtar come back byte for byte") {
  const std::string long_name = std::string(120, 'd') + "/" + std::string(200, 'f');
  std::vector<std::vector<std::string>> makers{{"tar", "--format=gnu", "-cf", "-", "."},
                                               {"tar", "--format=pax", "-cf", "-", "."}};
  if (have("bsdtar")) makers.push_back({"bsdtar", "--format=pax", "-cf", "-", "."});
  for (const auto& maker : makers) {
    CAPTURE(maker[0] + maker[1]);
    Directory source, checkout;
    std::string binary;
    for (unsigned i = 0; i < 300'000; ++i)
      binary += static_cast<char>(i * 2654435761u >> 13);
    write(source.path / "a.bin", binary);
    write(source.path / "empty", "");
    write(source.path / long_name, "long");
    write(source.path /
              "d\xc3\xa9"
              "ja/\xe2\x82\xac.txt",
          "name in UTF-8");
    write(source.path / "-rf", "dash");
    fs::permissions(source.path / "a.bin", fs::perms(0755));
    fs::create_directory(source.path / "hollow");
    const auto report = receive(run(maker, source.path), options_for(checkout.path));
    REQUIRE_MESSAGE(report.has_value(), report.error().describe());
    CHECK(report->rejected.empty());
    CHECK(report->files == 5);
    CHECK(report->bytes == binary.size() + 4 + 13 + 4);
    CHECK(names_below(source.path) == names_below(checkout.path));
    for (const auto& name : names_below(source.path)) {
      if (fs::is_regular_file(source.path / name)) CHECK(read(source.path / name) == read(checkout.path / name));
    }
    CHECK((fs::status(checkout.path / "a.bin").permissions() & fs::perms(0777)) == fs::perms(0755));
  }
}

TEST_CASE("accents are composed in pax names, and left alone in GNU names and under hdrcharset=BINARY") {
  const std::string composed = "\xc3\xa9", decomposed = "e\xcc\x81";
  const std::pair<std::string, std::string> cases[] = {
      {pax_entry(pax_record("path", decomposed), {.name = "s"}, "x"), composed},
      {pax_entry(pax_record("hdrcharset", "BINARY") + pax_record("path", decomposed), {.name = "s"}, "x"), decomposed},
      {tar_entry({.name = decomposed}, "x"), decomposed},
  };
  for (const auto& [stream, expected] : cases) {
    Directory checkout;
    REQUIRE(receive(stream + tar_end(), options_for(checkout.path)).has_value());
    CHECK(names_below(checkout.path) == std::vector<std::string>{expected});
  }
}

TEST_CASE("only what a pattern matches comes back, an existing file is replaced as a whole") {
  Directory checkout;
  write(checkout.path / "build/report.txt", "old and longer");
  fs::create_hard_link(checkout.path / "build/report.txt", checkout.path / "other-name");
  const auto report = receive(
      tar_entry({.name = "./build/", .type = '5', .mode = 0755}) + tar_entry({.name = "./build/report.txt"}, "new") +
          tar_entry({.name = "secret.txt"}, "no") + tar_entry({.name = "build/x.o"}, "no") + tar_end(),
      options_for(checkout.path, {"build/*.txt"}));
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(read(checkout.path / "build/report.txt") == "new");
  CHECK(read(checkout.path / "other-name") == "old and longer");
  CHECK(names_below(checkout.path) == std::vector<std::string>{"build", "build/report.txt", "other-name"});
  CHECK(report->files == 1);
  CHECK(report->rejected.size() == 2);
  CHECK(was_rejected(*report, "no output pattern matches it"));
}

TEST_CASE("WSP-01 links from the guest are refused, links in the checkout are never followed") {
  Directory outside, checkout;
  write(outside.path / "victim", "untouched");
  fs::create_directory_symlink(outside.path, checkout.path / "linkdir");
  fs::create_symlink(outside.path / "victim", checkout.path / "linkfile");
  fs::create_directory(checkout.path / "dir");
  write(checkout.path / "plain", "plain");
  const std::string stream =
      tar_entry({.name = "abs", .type = '2', .link = "/etc/passwd"}) +
      tar_entry({.name = "up", .type = '2', .link = "../../x"}) +
      tar_entry({.name = "sub", .type = '2', .link = outside.path.native()}) +
      tar_entry({.name = "sub/victim"}, "through the link") +
      tar_entry({.name = "hard", .type = '1', .link = outside.path.native() + "/victim"}, "") +
      tar_entry({.name = "linkdir/victim"}, "through a host link") +
      tar_entry({.name = "linkfile"}, "over a host link") + tar_entry({.name = "dir"}, "over a directory") +
      tar_entry({.name = "plain/below"}, "below a file") + tar_entry({.name = "linkdir", .type = '5'}) +
      tar_entry({.name = "good"}, "good") + tar_end();
  const auto report = receive(stream, options_for(checkout.path));
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(names_below(outside.path) == std::vector<std::string>{"victim"});
  CHECK(read(outside.path / "victim") == "untouched");
  CHECK(fs::is_symlink(checkout.path / "linkdir"));
  CHECK(fs::is_symlink(checkout.path / "linkfile"));
  CHECK(fs::is_directory(checkout.path / "dir"));
  CHECK(read(checkout.path / "plain") == "plain");
  CHECK(read(checkout.path / "good") == "good");
  CHECK(read(checkout.path / "sub/victim") == "through the link");  // "sub" became a directory of ours
  CHECK_FALSE(fs::is_symlink(checkout.path / "sub"));
  CHECK(report->files == 2);
  CHECK(report->rejected.size() == 9);
  CHECK(was_rejected(*report, "is a symbolic link"));
  CHECK(was_rejected(*report, "is a hard link"));
  CHECK(was_rejected(*report, "a link or a file stands where"));
  CHECK(was_rejected(*report, "a symbolic link of that name"));
  CHECK(was_rejected(*report, "a directory of that name"));
}

TEST_CASE("WSP-02 hostile names are refused and shown escaped") {
  const std::string bad[] = {"/abs",
                             "../up",
                             "a/../b",
                             "a//b",
                             "a/./b",
                             "..",
                             "a\nb",
                             "a\rb",
                             "a\tb",
                             "\x1b]0;t\x07",
                             "a\x7f",
                             "\xff\xfe",
                             "\xc0\xaf",
                             "\xed\xa0\x80",
                             "\xe2\x80\xae"
                             "gpj.exe",
                             "\xe2\x80\x8b",
                             "\xc2\x9b"
                             "m",
                             std::string(256, 'n'),
                             std::string(2000, 'p')};
  std::string stream;
  for (const auto& name : bad) {
    CAPTURE(name);
    CHECK_FALSE(judge_output_name(name, 64, 1024).refused.empty());
    stream += pax_entry(pax_record("path", name), {.name = "short"}, "x");
  }
  stream += pax_entry(pax_record("path", std::string_view("nul\0hidden", 10)), {.name = "short"}, "x");
  stream += tar_entry({.name = "-rf"}, "dash") + tar_entry({.name = "./a b/c"}, "blank") + tar_end();
  Directory checkout;
  const auto report = receive(stream, options_for(checkout.path));
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(report->rejected.size() == std::size(bad));
  for (const auto& rejected : report->rejected) {
    CHECK(std::none_of(rejected.path.begin(), rejected.path.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
    CHECK(rejected.path.size() < 1000);
  }
  // libarchive ends a name at NUL: what was judged is what was written.
  CHECK(names_below(checkout.path) == std::vector<std::string>{"-rf", "a b", "a b/c", "nul"});
}

TEST_CASE("WSP-03 special files are refused, set-id, owner, xattrs, ACLs and future times are stripped") {
  std::string stream;
  for (const char type : {'3', '4', '6'})
    stream += tar_entry({.name = fmt::format("special{}", type), .type = type});
  const std::string records = pax_record("SCHILY.xattr.user.evil", "1") +
                              pax_record("SCHILY.acl.access", "user::rwx,user:0:rwx,group::r-x,mask::rwx,other::r-x") +
                              pax_record("uid", "12345") + pax_record("mtime", "99999999999");
  stream += pax_entry(records, {.name = "program", .mode = 07777}, "#!/bin/sh\n");
  stream += tar_entry({.name = "old", .mode = 0, .mtime = 1'000'000'000}, "x") + tar_end();
  Directory checkout;
  const auto before = ::time(nullptr);
  const auto report = receive(stream, options_for(checkout.path));
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(report->rejected.size() == 3);
  CHECK(names_below(checkout.path) == std::vector<std::string>{"old", "program"});
  struct ::stat status {};
  REQUIRE(::lstat((checkout.path / "program").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0755);
  CHECK(status.st_uid == ::geteuid());
  CHECK(status.st_mtime >= before);
  CHECK(status.st_mtime <= ::time(nullptr));
  CHECK(::llistxattr((checkout.path / "program").c_str(), nullptr, 0) == 0);
  REQUIRE(::lstat((checkout.path / "old").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK(status.st_mtime == 1'000'000'000);
}

TEST_CASE("WSP-04 limits end the stream and leave nothing behind") {
  const std::string first = tar_entry({.name = "first"}, "kept back");
  std::string many, names;
  for (int i = 0; i < 50; ++i)
    many += tar_entry({.name = fmt::format("f{}", i)}, "x");
  const std::string megabyte(1 << 20, 'm');
  struct {
    const char* what;
    std::string stream;
  } const cases[] = {
      {"entries", many + tar_end()},
      {"total bytes", tar_entry({.name = "a"}, megabyte) + tar_entry({.name = "b"}, megabyte) + tar_end()},
      {"stream bytes", tar_entry({.name = "a"}, "x") + tar_end() + std::string(8 << 20, '\0')},
      {"cut in content", tar_header({.name = "a"}, 100'000) + std::string(50'000, 'x')},
      {"cut between entries", ""},
      {"cut in a header", tar_header({.name = "a"}, 0).substr(0, 200)},
      {"not a tar", std::string(4096, 'z')},
      {"damaged header", tar_entry({.name = "a"}, "x") + std::string(512, '\x55') + tar_end()},
      {"endless long name", tar_header({.name = "././@LongLink", .type = 'L'}, 900u << 20) + std::string(3 << 20, 'n')},
      {"endless pax header", tar_header({.name = "pax", .type = 'x'}, 900u << 20) + std::string(3 << 20, '1')},
  };
  for (const auto& [what, stream] : cases) {
    CAPTURE_BINDING(what);
    Directory checkout;
    auto options = options_for(checkout.path);
    options.limits.entries = 20;
    options.limits.total_bytes = 3u << 19;
    options.limits.stream_bytes = 6u << 20;
    const auto report = receive(first + stream, options);
    REQUIRE_FALSE(report.has_value());
    CHECK(report.error().code == Code::guest_failure);
    CHECK(report.error().reason == "output_rejected");
    CHECK(names_below(checkout.path).empty());
  }
}

TEST_CASE("WSP-04 a sparse map of a million pieces is not taken into memory") {
  // GNU sparse 1.0: the map stands before the content. The header budget ends it.
  std::string map = "9000000\n";
  for (int i = 0; i < 600'000; ++i)
    map += "1\n1\n";
  const std::string records = pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
                              pax_record("GNU.sparse.name", "bomb") +
                              pax_record("GNU.sparse.realsize", "1099511627776");
  Directory checkout;
  const auto report =
      receive(pax_entry(records, {.name = "GNUSparseFile.0/bomb"}, map) + tar_end(), options_for(checkout.path));
  REQUIRE_FALSE(report.has_value());
  CHECK(report.error().reason == "output_rejected");
  CHECK(names_below(checkout.path).empty());
}

TEST_CASE("WSP-04 entries too large, too deep, too long or sparse are refused, the rest is taken") {
  Directory source, checkout;
  std::string deep;
  for (int i = 0; i < 5000; ++i)
    deep += "d/";
  write(source.path / "holes", "");
  fs::resize_file(source.path / "holes", 1ull << 40);
  std::ofstream(source.path / "holes", std::ios::in | std::ios::ate) << "end";
  auto sparse = run({"tar", "--format=pax", "-Scf", "-", "holes"}, source.path);
  sparse.resize(sparse.size() / 512 * 512);
  while (sparse.ends_with(std::string(512, '\0')))
    sparse.resize(sparse.size() - 512);
  auto options = options_for(checkout.path);
  options.limits.file_bytes = 1000;
  options.limits.path_bytes = 20'000;
  const auto report = receive(tar_entry({.name = "large"}, std::string(1001, 'x')) +
                                  tar_entry({.name = "right"}, std::string(1000, 'x')) +
                                  pax_entry(pax_record("path", deep + "f"), {.name = "s"}, "x") + sparse + tar_end(),
                              options);
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(names_below(checkout.path) == std::vector<std::string>{"right"});
  CHECK(report->rejected.size() == 3);
  CHECK(was_rejected(*report, "larger than"));
  CHECK(was_rejected(*report, "too many components"));
  CHECK(was_rejected(*report, "sparse"));
}

TEST_CASE("WSP-05 no spelling of .git or .buildkite reaches the checkout") {
  Directory checkout;
  write(checkout.path / ".git/config", "original");
  write(checkout.path / "sub/.git", "gitdir: ../.git/modules/sub\n");
  const std::vector<std::string> bad{".git/config",
                                     ".git/hooks/pre-commit",
                                     ".git",
                                     "sub/.git",
                                     ".GIT/config",
                                     "x/.Git/config",
                                     ".git./config",
                                     ".git /config",
                                     ".git . /x",
                                     ".git::$INDEX_ALLOCATION/config",
                                     "GIT~1/config",
                                     ".g\xe2\x80\x8cit/config",
                                     ".g\xc4\xb1t/config",
                                     ".git\\config",
                                     ".buildkite/hooks/pre-exit",
                                     ".BuildKite/x",
                                     ".build\xe2\x84\xaaite/x",
                                     "BUILDK~1/x",
                                     "x/.buildkite/hooks/command",
                                     ".cleanroom-outputs-00/1"};
  std::string stream;
  for (const auto& name : bad)
    stream += pax_entry(pax_record("path", name), {.name = "short", .mode = 0755}, "evil");
  stream += tar_entry({.name = ".git/objects/", .type = '5'}) + tar_entry({.name = ".github/x"}, "fine") +
            tar_entry({.name = ".gitignore"}, "fine") + tar_entry({.name = "git"}, "fine") + tar_end();
  const auto report = receive(stream, options_for(checkout.path));
  REQUIRE_MESSAGE(report.has_value(), report.error().describe());
  CHECK(report->rejected.size() == bad.size() + 1);
  CHECK(read(checkout.path / ".git/config") == "original");
  CHECK(names_below(checkout.path) == std::vector<std::string>{".git", ".git/config", ".github", ".github/x",
                                                               ".gitignore", "git", "sub", "sub/.git"});
}

TEST_CASE("a name that comes twice is the later one, and an empty archive is no error") {
  Directory checkout;
  const auto report = receive(tar_entry({.name = "a"}, "one") + tar_entry({.name = "a"}, "two") + tar_end(),
                              options_for(checkout.path));
  REQUIRE(report.has_value());
  CHECK(read(checkout.path / "a") == "two");
  CHECK(report->files == 1);
  Directory empty;
  const auto nothing = receive(tar_end(), options_for(empty.path));
  REQUIRE_MESSAGE(nothing.has_value(), nothing.error().describe());
  CHECK(nothing->files == 0);
}

TEST_CASE("a stream that stalls ends at its deadline, one that is cancelled at once; nothing stays") {
  Directory checkout;
  auto ends = base::make_socket_pair().value();
  REQUIRE(base::write_all(ends.b, tar_entry({.name = "a"}, "x")).has_value());
  auto options = options_for(checkout.path);
  options.deadline = base::deadline_in(std::chrono::milliseconds(50));
  const auto late = receive_outputs(ends.a, options);
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().code == Code::timeout);
  CHECK(names_below(checkout.path).empty());

  std::stop_source source;
  options.deadline = base::deadline_in(std::chrono::seconds(60));
  options.stop = source.get_token();
  auto other = base::make_socket_pair().value();
  std::jthread canceller([&source] { source.request_stop(); });
  const auto cancelled = receive_outputs(other.a, options);
  REQUIRE_FALSE(cancelled.has_value());
  CHECK(cancelled.error().code == Code::cancelled);
  CHECK(cancelled.error().reason == "output_failed");
  CHECK(names_below(checkout.path).empty());
}

TEST_CASE("the staging directory of a killed run is removed, one in use is not") {
  Directory checkout;
  write(checkout.path / ".cleanroom-outputs-dead/0", "left");
  write(checkout.path / ".cleanroom-outputs-live/0", "in use");
  const auto live = base::open_file(checkout.path / ".cleanroom-outputs-live", O_RDONLY | O_DIRECTORY).value();
  REQUIRE(::flock(live.get(), LOCK_EX) == 0);
  REQUIRE(receive(tar_entry({.name = "a"}, "x") + tar_end(), options_for(checkout.path)).has_value());
  CHECK(names_below(checkout.path) ==
        std::vector<std::string>{".cleanroom-outputs-live", ".cleanroom-outputs-live/0", "a"});
}

TEST_CASE("a full disk is said before it is full") {
  Directory checkout;
  auto options = options_for(checkout.path);
  options.limits.disk_reserve_bytes = 1ull << 62;
  const auto report = receive(tar_entry({.name = "a"}, "x") + tar_end(), options);
  REQUIRE_FALSE(report.has_value());
  CHECK(report.error().code == Code::failed_precondition);
  CHECK(report.error().reason == "output_failed");
  CHECK(names_below(checkout.path).empty());
}

}  // namespace
}  // namespace cleanroom::runner
