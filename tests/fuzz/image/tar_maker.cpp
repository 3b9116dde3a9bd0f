#include "tests/fuzz/image/tar_maker.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <numeric>

namespace cleanroom::fuzz {
namespace {

constexpr std::size_t kBlock = 512;
constexpr const char* kNames[] = {"a",      "a/b",   "./a/b",          "b", "../x", "/a", "a/",
                                  "a/../b", ".wh.b", "a/.wh..wh..opq", ".", ""};
constexpr char kTypes[] = {'0', '0', '\0', '1', '2', '3', '4', '5', '5', '6',
                           '7', 'x', 'x',  'x', 'g', 'L', 'K', 'S', 'X'};
constexpr const char* kKeys[] = {"path",
                                 "linkpath",
                                 "size",
                                 "uid",
                                 "gid",
                                 "mtime",
                                 "ctime",
                                 "comment",
                                 "uname",
                                 "hdrcharset",
                                 "SCHILY.xattr.user.a",
                                 "SCHILY.xattr.security.capability",
                                 "GNU.sparse.major",
                                 "SCHILY.xattr.user.b"};

std::string padded(std::string text, char with) {
  text.resize((text.size() + kBlock - 1) / kBlock * kBlock, with);
  return text;
}

std::string some_text(FuzzedDataProvider& input, std::size_t longest) {
  if (input.ConsumeIntegralInRange(0, 3) < 3) return input.PickValueInArray(kNames);
  std::string text = input.ConsumeRandomLengthString(longest);
  // A short choice stands for a name as long as its field.
  if (input.ConsumeIntegralInRange(0, 7) == 7) text.resize(longest, 'n');
  return text;
}

std::string some_number(FuzzedDataProvider& input, std::uint64_t value, std::size_t width) {
  switch (input.ConsumeIntegralInRange(0, 15)) {
    case 1:
      return fmt::format("{:0{}o}", value, width);
    case 2:
      return fmt::format("{:>{}o} ", value, width - 1);
    case 3:
      return std::string(1, '\0') + fmt::format("{:0{}o}", value, width - 1);
    case 4: {
      std::string field(width, '\0');
      for (std::size_t i = 0; i < 8 && i + 1 < width; ++i)
        field[width - 1 - i] = static_cast<char>(value >> (8 * i));
      field[0] = static_cast<char>(field[0] | '\x80');
      return field;
    }
    case 5:
      return input.ConsumeBytesAsString(width);
    case 6:
      return fmt::format("{:o} ", value);
    case 7:
      return "";
    default:
      return fmt::format("{:0{}o}", value, width - 1);
  }
}

std::string pax_records(FuzzedDataProvider& input, std::uint64_t next_size) {
  std::string records;
  for (int left = input.ConsumeIntegralInRange(1, 4); left > 0; --left) {
    const std::string key = input.PickValueInArray(kKeys);
    std::string value = some_text(input, 300);
    if (key == "size") value = std::to_string(next_size);
    if (key == "uid" || key == "gid" || key == "mtime") value = std::to_string(input.ConsumeIntegral<std::uint32_t>());
    if (key == "mtime" && input.ConsumeBool()) value += "." + std::to_string(input.ConsumeIntegral<std::uint32_t>());
    if (input.ConsumeIntegralInRange(0, 15) == 15) value = input.ConsumeRandomLengthString(20);
    const std::size_t body = key.size() + value.size() + 3;
    std::size_t length = body + 1;
    while (std::to_string(length).size() + body != length)
      ++length;
    if (input.ConsumeIntegralInRange(0, 31) == 31) length += input.ConsumeIntegralInRange<std::size_t>(0, 4);
    records += fmt::format("{} {}={}\n", length, key, value);
  }
  return records;
}

void put_checksum(std::string& tar, std::size_t at) {
  tar.replace(at + 148, 8, "        ");
  const unsigned sum = std::accumulate(tar.begin() + static_cast<std::ptrdiff_t>(at),
                                       tar.begin() + static_cast<std::ptrdiff_t>(at + kBlock), 0u,
                                       [](unsigned total, char c) { return total + static_cast<unsigned char>(c); });
  tar.replace(at + 148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
}

// A header and its content, which is for the reader of the next header where the type says so.
std::string some_member(FuzzedDataProvider& input, std::uint64_t next_size) {
  const char type = input.PickValueInArray(kTypes);
  std::string content;
  const bool describes = type == 'x' || type == 'g' || type == 'L' || type == 'K';
  if (type == 'x' || type == 'g')
    content = pax_records(input, next_size);
  else if (describes)
    content = some_text(input, 600) + std::string(1, '\0');
  else if (type == '0' || type == '\0' || type == '7' || input.ConsumeIntegralInRange(0, 15) == 15)
    content.assign(next_size, 'c');
  std::string header(kBlock, '\0');
  const auto put = [&](std::size_t at, std::size_t width, std::string text) {
    text.resize(std::min(width, text.size()));
    header.replace(at, text.size(), text);
  };
  put(0, 100, some_text(input, 100));
  put(100, 8, some_number(input, input.ConsumeIntegral<std::uint16_t>(), 8));
  put(108, 8, some_number(input, input.ConsumeIntegral<std::uint16_t>(), 8));
  put(116, 8, some_number(input, input.ConsumeIntegral<std::uint16_t>(), 8));
  put(124, 12, some_number(input, input.ConsumeIntegralInRange(0, 7) == 7 ? 0 : content.size(), 12));
  put(136, 12, some_number(input, input.ConsumeIntegral<std::uint32_t>(), 12));
  header[156] = type;
  if (type == '1' || type == '2' || input.ConsumeIntegralInRange(0, 15) == 15) put(157, 100, some_text(input, 100));
  switch (input.ConsumeIntegralInRange(0, 7)) {
    case 6:
      break;
    case 7:
      put(257, 8, "ustar  ");
      break;
    case 5:
      put(257, 8, input.ConsumeBytesAsString(8));
      break;
    default:
      put(257, 8, std::string("ustar\0", 6) + "00");
  }
  put(329, 8, some_number(input, input.ConsumeIntegral<std::uint8_t>(), 8));
  put(337, 8, some_number(input, input.ConsumeIntegral<std::uint16_t>(), 8));
  if (input.ConsumeIntegralInRange(0, 7) == 7) put(345, 155, some_text(input, 155));
  if (input.ConsumeIntegralInRange(0, 15) == 15)
    put(input.ConsumeIntegralInRange<std::size_t>(0, 500), 8, input.ConsumeBytesAsString(8));
  put_checksum(header, 0);
  return header + padded(content, '\0');
}

}  // namespace

std::string make_tar(FuzzedDataProvider& input) {
  std::string tar;
  for (int left = input.ConsumeIntegralInRange(1, 12); left > 0; --left) {
    const auto size = input.ConsumeIntegralInRange(0, 3) == 3 ? input.ConsumeIntegralInRange(0u, 1500u) : 5u;
    tar += some_member(input, size);
    // What else describes a member says the same size of it.
    if (input.ConsumeBool()) tar += some_member(input, size);
  }
  tar.append(kBlock * input.ConsumeIntegralInRange<std::size_t>(0, 3), '\0');
  if (input.ConsumeIntegralInRange(0, 7) == 7) tar += padded(input.ConsumeRemainingBytesAsString(), 'p');
  if (input.ConsumeIntegralInRange(0, 15) == 15)
    tar.resize(tar.size() - input.ConsumeIntegralInRange<std::size_t>(0, 600) % (tar.size() + 1));
  return tar;
}

void mend_checksums(std::string& tar) {
  for (std::size_t at = 0; at + kBlock <= tar.size();) {
    const std::string_view field = std::string_view(tar).substr(at + 124, 12);
    std::uint64_t size = 0;
    std::from_chars(field.data(), field.data() + field.size(), size, 8);
    const bool has_content = std::string_view("12345").find(tar[at + 156]) == std::string_view::npos;
    if (tar.find_first_not_of('\0', at) >= at + kBlock) return;
    put_checksum(tar, at);
    at += kBlock;
    if (has_content && size <= tar.size()) at += (size + kBlock - 1) / kBlock * kBlock;
  }
}

}  // namespace cleanroom::fuzz
