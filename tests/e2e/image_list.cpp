// image_list FILE.ext4: every entry of an ext4 image as a line of JSON, read with libext2fs alone.
#include "tests/unit/image/ext4_reader.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>

namespace {

std::string hex(const std::string& bytes) {
  std::string out;
  for (const unsigned char c : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    out += kDigits[c >> 4];
    out += kDigits[c & 15];
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  try {
    for (const auto& [path, entry] : cleanroom::image::testing::read_ext4(argv[1])) {
      nlohmann::json line = {{"path", hex(path)},
                             {"inode", entry.inode},
                             {"mode", entry.mode},
                             {"uid", entry.uid},
                             {"gid", entry.gid},
                             {"links", entry.links},
                             {"mtime", entry.mtime},
                             {"ns", entry.mtime_ns},
                             {"size", entry.size},
                             {"target", hex(entry.target)},
                             {"major", entry.device_major},
                             {"minor", entry.device_minor},
                             {"sha256", entry.content_sha256}};
      line["xattrs"] = nlohmann::json::object();
      for (const auto& [name, value] : entry.xattrs)
        line["xattrs"][hex(name)] = hex(value);
      std::printf("%s\n", line.dump().c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
