#pragma once
// Small helpers of the runner_io tests: files in a temporary directory, programs of the test host, hand-made tar
// blocks.
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner::test {

namespace fs = std::filesystem;

struct Directory {
  Directory()
      : owner(base::TempDir::create(fs::temp_directory_path(), "cleanroom-test-").value()), path(owner.path()) {}
  base::TempDir owner;
  fs::path path;
};

inline void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}
inline std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text(stream ? fs::file_size(path) : 0, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

// Output of a program of the test host; the test fails when it does.
inline std::string run(std::vector<std::string> argv, const fs::path& directory = {}) {
  const std::string program = argv.front();
  auto done =
      base::run_process({.argv = std::move(argv),
                         .environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8",
                                         "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
                                         "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"},
                         .working_directory = directory},
                        base::deadline_in(std::chrono::seconds(60)), 64u << 20);
  REQUIRE_MESSAGE(done.has_value(), program);
  REQUIRE_MESSAGE(done->status.success(), program << ": " << done->errors << done->output);
  return done->output;
}
inline bool have(std::string_view program) {
  return base::find_program(program).has_value();
}

// One tar header block (ustar) with a checksum, and content padded to whole blocks.
struct TarHeader {
  std::string name;
  char type = '0';
  std::string link;
  unsigned mode = 0644;
  std::uint64_t mtime = 1'600'000'000;
};
inline std::string tar_header(const TarHeader& header, std::uint64_t size) {
  std::string block(512, '\0');
  const auto put = [&block](std::size_t offset, std::string_view text) {
    text.copy(block.data() + offset, text.size());
  };
  REQUIRE(header.name.size() <= 100);
  put(0, header.name);
  put(100, fmt::format("{:07o}", header.mode));
  put(108, "0001750");
  put(116, "0001750");
  put(124, fmt::format("{:011o}", size));
  put(136, fmt::format("{:011o}", header.mtime));
  put(148, "        ");
  block[156] = header.type;
  put(157, header.link);
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : block)
    sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}
inline std::string padded(std::string text) {
  text.resize((text.size() + 511) / 512 * 512, '\0');
  return text;
}
inline std::string tar_entry(const TarHeader& header, const std::string& content = {}) {
  return tar_header(header, content.size()) + padded(content);
}
// A file whose name needs a pax record.
inline std::string pax_entry(const std::string& records, const TarHeader& header, const std::string& content) {
  return tar_entry({.name = "pax", .type = 'x'}, records) + tar_entry(header, content);
}
inline std::string pax_record(std::string_view key, std::string_view value) {
  std::size_t length = key.size() + value.size() + 3;
  length += std::to_string(length + std::to_string(length).size()).size();
  return fmt::format("{} {}={}\n", length, key, value);
}
inline std::string tar_end() {
  return std::string(1024, '\0');
}

}  // namespace cleanroom::runner::test
