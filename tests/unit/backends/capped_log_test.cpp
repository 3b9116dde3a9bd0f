#include "src/backends/capped_log.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

#include <thread>

using namespace cleanroom;
using namespace std::chrono_literals;

TEST_SUITE("backends/capped_log") {
  TEST_CASE("LOG-07 a flood is drained to the last byte, the file stays small, the tail is printable") {
    const auto directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
    base::asio::io_context context;
    auto log = backends::CappedLog::create(directory.path() / "console.log").value();
    auto pipe = base::make_pipe().value();
    log->drain(context.get_executor(), std::move(pipe.read));
    std::thread flood([&pipe] {
      const std::string block(64 * 1024, 'x');
      for (int i = 0; i < 64; ++i)
        CHECK(base::write_all(pipe.write, block).has_value());
      CHECK(base::write_all(pipe.write, "\nKernel panic\x1b[2J\x07\n").has_value());
      pipe.write.reset();
    });
    context.run_for(20s);
    flood.join();
    CHECK(std::filesystem::file_size(directory.path() / "console.log") < backends::kMaxConsoleFile + 100);
    const auto tail = log->tail(64);
    CHECK(tail.ends_with("Kernel panic[2J"));
    CHECK(tail.find('\x1b') == std::string::npos);
  }
}
