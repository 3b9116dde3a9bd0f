#include "guest/image_warmup.h"

#include "src/base/os/io.h"

#include <doctest/doctest.h>
#include <elf.h>
#include <fcntl.h>

#include <algorithm>
#include <cstring>

using namespace cleanroom;

namespace {

std::string program(const char* path) {
  return base::read_file(path, 16 << 20).value();
}

}  // namespace

TEST_SUITE("guest/image_warmup") {
  TEST_CASE("a program says what it is linked with, and a library too") {
    const auto shell = program("/bin/sh");
    const auto linked = guest::read_linkage(base::as_bytes(shell)).value();
    CHECK(linked.loader == "/lib64/ld-linux-x86-64.so.2");
    CHECK(std::count(linked.libraries.begin(), linked.libraries.end(), "libc.so.6") == 1);
    const auto library = program("/lib/x86_64-linux-gnu/libc.so.6");
    const auto further = guest::read_linkage(base::as_bytes(library)).value();
    CHECK(std::count(further.libraries.begin(), further.libraries.end(), "ld-linux-x86-64.so.2") == 1);
  }

  TEST_CASE("what is no program is none") {
    for (const auto* text : {"", "#!/bin/sh\n",
                             "\x7f"
                             "ELF"})
      CHECK_FALSE(guest::read_linkage(base::as_bytes(text)).has_value());
  }

  TEST_CASE("an image's program may be cut anywhere and say anything: nothing outside of it is read") {
    const auto shell = program("/bin/sh");
    for (std::size_t size = 0; size < shell.size(); size += 61) {
      // A copy of just that size: the sanitizer sees a byte too many.
      const std::vector<char> cut(shell.begin(), shell.begin() + static_cast<std::ptrdiff_t>(size));
      (void)guest::read_linkage(std::as_bytes(std::span(cut)));
    }
    constexpr std::size_t kHeaders = sizeof(Elf64_Ehdr) + 16 * sizeof(Elf64_Phdr);
    for (std::size_t at = 0; at < kHeaders; ++at) {
      for (const char value : {'\0', '\x01', '\x7f', '\xff'}) {
        std::string changed = shell;
        changed[at] = value;
        const auto linked = guest::read_linkage(base::as_bytes(changed));
        if (linked) CHECK(linked->libraries.size() < 512);
      }
    }
  }

  TEST_CASE("a root without any of it is no error") {
    const auto root = base::open_file("/proc/self/fdinfo", O_PATH | O_DIRECTORY).value();
    guest::warm_image(root);
    const auto real = base::open_file("/", O_PATH | O_DIRECTORY).value();
    guest::warm_image(real);
  }
}
