#include "src/model/image_reference.h"

#include <doctest/doctest.h>

namespace cleanroom::model {
namespace {

TEST_SUITE("model/image_reference") {
  TEST_CASE("references are normalised as docker does") {
    const std::string digest = "@sha256:" + std::string(64, 'a');
    struct Case {
      std::string text;
      std::string expected;
    };
    const Case cases[] = {
        {"debian", "docker.io/library/debian"},
        {"debian:12", "docker.io/library/debian:12"},
        {"acme/web" + digest, "docker.io/acme/web" + digest},
        {"index.docker.io/debian", "docker.io/library/debian"},
        {"docker.io/debian:12" + digest, "docker.io/library/debian:12" + digest},
        {"ghcr.io/a/b/c__d--e.f:v1.2_3-4", "ghcr.io/a/b/c__d--e.f:v1.2_3-4"},
        {"localhost/x", "localhost/x"},
        {"Registry.Example.com:5000/x", "registry.example.com:5000/x"},
        {"host:5000/x:tag", "host:5000/x:tag"},
        {"[::1]:5000/x", "[::1]:5000/x"},
    };
    for (const auto& item : cases) {
      CAPTURE(item.text);
      const auto reference = ImageReference::parse(item.text);
      REQUIRE(reference);
      CHECK(reference->to_string() == item.expected);
      CHECK(ImageReference::parse(reference->to_string()) == *reference);
    }
  }

  TEST_CASE("what is outside the grammar is refused") {
    const std::string digest = "@sha256:" + std::string(64, 'a');
    for (const std::string& text : std::initializer_list<std::string>{"",
                                                                      " debian",
                                                                      "debian ",
                                                                      "https://ghcr.io/a",
                                                                      "Debian",
                                                                      "a//b",
                                                                      "/a",
                                                                      "a/",
                                                                      "ghcr.io/../a",
                                                                      "a/./b",
                                                                      "a:",
                                                                      "a:-x",
                                                                      "a:" + std::string(129, 'x'),
                                                                      "a@",
                                                                      "a@sha256:12",
                                                                      "a@md5:" + std::string(32, 'a'),
                                                                      "a" + digest + digest,
                                                                      "a@sha256:" + std::string(64, 'A'),
                                                                      "a_b_",
                                                                      "-a",
                                                                      "a___b",
                                                                      "a..b",
                                                                      "host:0/x",
                                                                      "host:99999/x",
                                                                      "host:/x",
                                                                      "host:05/x",
                                                                      "a b",
                                                                      "a\nb",
                                                                      "a%2fb",
                                                                      "ghcr.io/",
                                                                      "ghcr.io:443",
                                                                      "[::1/x",
                                                                      "[]/x",
                                                                      "user@host/x",
                                                                      std::string(2000, 'a'),
                                                                      "ghcr.io/" + std::string(256, 'a'),
                                                                      "-host.test/x",
                                                                      "ho_st.test/x"}) {
      CAPTURE(text);
      const auto reference = ImageReference::parse(text);
      // `ghcr.io:443` is a repository with a dot and a tag, which docker accepts too.
      if (text == "ghcr.io:443") {
        CHECK(reference);
        continue;
      }
      REQUIRE_FALSE(reference);
      CHECK(reference.error().reason == "image_ref_invalid");
    }
  }
}

}  // namespace
}  // namespace cleanroom::model
