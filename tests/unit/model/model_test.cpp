#include "src/base/os/io.h"
#include "src/model/digest.h"
#include "src/model/exit_code.h"
#include "src/model/reason.h"

#include <doctest/doctest.h>

#include <set>
using namespace cleanroom;

TEST_SUITE("model") {
  TEST_CASE("IMG-15 only a well-formed sha256 digest is a digest") {
    const std::string hex(64, 'a');
    CHECK(model::Digest::parse("sha256:" + hex).has_value());
    for (const std::string& bad :
         {std::string(""), "sha256:" + hex.substr(1), "sha256:" + hex + "a", "sha256:" + std::string(64, 'A'),
          "md5:" + hex, std::string("sha256:../../x"), hex, "sha256:" + std::string(63, 'a') + "/"}) {
      CAPTURE(bad);
      CHECK_FALSE(model::Digest::parse(bad).has_value());
    }
  }

  TEST_CASE("a job's status passes through, a signal is 128 + n, and 255 never leaves") {
    CHECK(model::exit_code_of_job(0, 0) == 0);
    CHECK(model::exit_code_of_job(42, 0) == 42);
    CHECK(model::exit_code_of_job(0, 9) == 137);
    CHECK(model::exit_code_of_job(255, 0) == 254);
  }

  TEST_CASE("every reason has a text of its own") {
    std::set<std::string_view> texts;
    for (const auto reason : model::all_reasons())
      texts.insert(model::to_string(reason));
    CHECK(texts.size() == model::all_reasons().size());
  }

  TEST_CASE("docs/reason-codes.md lists every reason, and no other") {
    const auto page = base::read_file(CLEANROOM_SOURCE_DIR "/docs/reason-codes.md", 1 << 20).value();
    std::size_t rows = 0;
    for (std::size_t at = 0; (at = page.find("\n| `", at)) != std::string::npos; ++at)
      ++rows;
    CHECK(rows == model::all_reasons().size());
    for (const auto reason : model::all_reasons()) {
      CAPTURE(model::to_string(reason));
      CHECK(page.find(fmt::format("\n| `{}` | ", model::to_string(reason))) != std::string::npos);
    }
  }
}
