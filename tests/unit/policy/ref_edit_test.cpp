// sandbox.image.ref changed in place: every other byte of the file stays.
#include "src/policy/ref_edit.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/policy/load.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace cleanroom::policy {
namespace {

namespace fs = std::filesystem;

const std::string kOld = "docker.io/library/debian@sha256:" + std::string(64, 'a');
const std::string kNew = "registry.test:5000/acme/builder:12@sha256:" + std::string(64, 'b');

model::ImageReference reference(const std::string& text = kNew) {
  return model::ImageReference::parse(text).value();
}

// REF stands for a reference in templates.
std::string filled(std::string text, const std::string& value) {
  for (auto at = text.find("REF"); at != std::string::npos; at = text.find("REF", at + value.size()))
    text.replace(at, 3, value);
  return text;
}

std::string edited(const std::string& text, const std::string& value = kNew) {
  const auto result = replace_image_ref(text, reference(value));
  if (result) return *result;
  return result.error().reason + ": " + result.error().message;
}

std::string with_crlf(const std::string& text) {
  std::string out;
  for (const char c : text)
    out += c == '\n' ? "\r\n" : std::string(1, c);
  return out;
}

// Whether `longer` is `shorter` with something put in at one place.
bool is_insertion(std::string_view shorter, std::string_view longer) {
  const auto front = std::mismatch(shorter.begin(), shorter.end(), longer.begin(), longer.end());
  const auto back = std::mismatch(shorter.rbegin(), shorter.rend(), longer.rbegin(), longer.rend());
  return (front.first - shorter.begin()) + (back.first - shorter.rbegin()) >=
         static_cast<std::ptrdiff_t>(shorter.size());
}

TEST_SUITE("policy/ref_edit") {
  TEST_CASE("only the value changes, whatever the layout") {
    for (const std::string& layout : std::initializer_list<std::string>{
             "version: 1\nsandbox:\n  image:\n    ref: REF\n", "version: 1\nsandbox:\n  image:\n    ref: REF",
             "version: 1\nsandbox:\n  image:\n    ref:    REF   # the base image \n  ttl_minutes: 3\n",
             "# head\n---\nversion: 1  # one\n\n\nsandbox:\n        image: # why\n\n         # more\n          ref: "
             "'REF'\n",
             "version: 1\nsandbox: {image: {ref: \"REF\"}}\n",
             "version: 1\nsandbox: {image: {ref: REF}, ttl_minutes: 5}  # x\n",
             "{version: 1, sandbox: {image: {ref: REF}}}",
             "{\n  \"version\": 1,\n  \"sandbox\": {\"image\": {\"ref\":\"REF\"}}\n}\n",
             "version: 1\nsandbox:\n  image:\n    \"ref\":\n      REF\n",
             "version: 1\nsandbox:\n  image:\n    ref: # below\n      'REF'\n",
             "version: 1\nsandbox:\n  image:\n    ref: >-\n      REF\n  ttl_minutes: 3\n",
             "version: 1\nsandbox:\n  image:\n    ref: |-  # block\n        REF\n\n\n  # tail\n  ttl_minutes: 3\n",
             "version: 1\nsandbox:\n  image:\n    ? ref\n    : REF\n",
             "version: 1\nmetadata: {a: \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\", b: z}\nsandbox: {ttl_minutes: 3, "
             "image: {ref: REF}}\n",
             "version: 1\nmetadata: {a: \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}\nsandbox: {\"image\": {\"ref\": "
             "'REF'}} # \xc3\xa9\n",
             "version: 1\nmetadata:\n  image: |-\n    sandbox: {image: {ref: here}}\n  ref: "
             "there\nsandbox:\n"
             "  image: {ref: REF}\n"}) {
      CAPTURE(layout);
      CHECK(edited(filled(layout, kOld)) == filled(layout, kNew));
      CHECK(edited(with_crlf(filled(layout, kOld))) == with_crlf(filled(layout, kNew)));
      CHECK(edited(filled(layout, kNew)) == filled(layout, kNew));
      const auto before = image_ref_of(filled(layout, kOld));
      REQUIRE(before);
      CHECK(*before == reference(kOld));
    }
  }

  TEST_CASE("a tag alone, another spelling and an escaped text are replaced too") {
    const std::string expected = "version: 1\nsandbox: {image: {ref: " + kNew + "}}\n";
    CHECK(edited("version: 1\nsandbox: {image: {ref: debian:12}}\n") == expected);
    CHECK(edited("version: 1\nsandbox: {image: {ref: not A reference}}\n") == expected);
    const std::string quoted = "version: 1\nsandbox: {image: {ref: \"" + kNew + "\"}}\n";
    CHECK(edited("version: 1\nsandbox: {image: {ref: \"deb\\\"\\\\\\x41\\\n   x\"}}\n") == quoted);
    CHECK(edited("version: 1\nsandbox: {image: {ref: \"\"}}\n") == quoted);
    CHECK(edited("version: 1\nsandbox: {image: {ref: 'it''s: \"{'}}\n") ==
          "version: 1\nsandbox: {image: {ref: '" + kNew + "'}}\n");
    CHECK(image_ref_of("version: 1\nsandbox: {image: {ref: debian:12}}\n").value() == reference("debian:12"));
    const std::string v6 = "[::1]:5000/a@sha256:" + std::string(64, 'c');
    CHECK(edited("version: 1\nsandbox: {image: {ref: debian}}\n", v6) ==
          "version: 1\nsandbox: {image: {ref: '" + v6 + "'}}\n");
    CHECK(edited("version: 1\n", v6) == "version: 1\nsandbox:\n  image:\n    ref: '" + v6 + "'\n");
  }

  TEST_CASE("missing keys are put in with the file's indentation and line ends") {
    struct Case {
      std::string before;
      std::string after;
    };
    for (const auto& [before, after] : std::initializer_list<Case>{
             {"version: 1\n", "version: 1\nsandbox:\n  image:\n    ref: REF\n"},
             {"version: 1", "version: 1\nsandbox:\n  image:\n    ref: REF\n"},
             {"version: 1\nproject:\n    name: x\n# end\n",
              "version: 1\nproject:\n    name: x\n# end\nsandbox:\n    image:\n        ref: REF\n"},
             {"version: 1\nsandbox:\n", "version: 1\nsandbox:\n  image:\n    ref: REF\n"},
             {"version: 1\nsandbox:  # the VM\n\nproject: {name: x}\n",
              "version: 1\nsandbox:  # the VM\n  image:\n    ref: REF\n\nproject: {name: x}\n"},
             {"version: 1\nsandbox: ~  # none\n", "version: 1\nsandbox: {image: {ref: REF}}  # none\n"},
             {"version: 1\nsandbox: {}\n", "version: 1\nsandbox: {image: {ref: REF}}\n"},
             {"version: 1\nsandbox: { ttl_minutes: 3 }\n",
              "version: 1\nsandbox: { image: {ref: REF}, ttl_minutes: 3 }\n"},
             {"version: 1\nsandbox:\n   # limits\n   ttl_minutes: 3\n",
              "version: 1\nsandbox:\n   image:\n      ref: REF\n   # limits\n   ttl_minutes: 3\n"},
             {"version: 1\nsandbox:\n  image:\n  ttl_minutes: 3\n",
              "version: 1\nsandbox:\n  image:\n    ref: REF\n  ttl_minutes: 3\n"},
             {"version: 1\nsandbox:\n  image: null\n", "version: 1\nsandbox:\n  image: {ref: REF}\n"},
             {"version: 1\nsandbox: {image: }\n", "version: 1\nsandbox: {image: {ref: REF} }\n"},
             {"version: 1\nsandbox:\n  image: {}\n", "version: 1\nsandbox:\n  image: {ref: REF}\n"},
             {"version: 1\nsandbox:\n  image:\n    ref:   # later\n",
              "version: 1\nsandbox:\n  image:\n    ref: REF   # later\n"},
             {"version: 1\nsandbox:\n  image:\n    \"ref\": ~\n", "version: 1\nsandbox:\n  image:\n    \"ref\": REF\n"},
             {"version: 1\nsandbox: {image: {ref: null}}\n", "version: 1\nsandbox: {image: {ref: REF}}\n"},
             {"{version: 1}\n", "{sandbox: {image: {ref: REF}}, version: 1}\n"},
             {"---\nversion: 1\n...\n", "---\nsandbox:\n  image:\n    ref: REF\nversion: 1\n...\n"},
             {"version: 1\nmetadata: {a: b}\nproject:\n  name: |-\n    x",
              "version: 1\nmetadata: {a: b}\nproject:\n  name: |-\n    x\nsandbox:\n  image:\n    ref: REF\n"}}) {
      CAPTURE_BINDING(before);
      CHECK(edited(before) == filled(after, kNew));
      CHECK(edited(with_crlf(before)).find(kNew) != std::string::npos);
      CHECK(image_ref_of(before).value() == std::nullopt);
    }
    CHECK(edited("version: 1\r\nproject: {name: x}\r\n") ==
          "version: 1\r\nproject: {name: x}\r\n" + with_crlf("sandbox:\n  image:\n    ref: " + kNew + "\n"));
  }

  TEST_CASE("what is beside it stays: signature keys, a ref missing above them") {
    const std::string signed_policy =
        base::read_file(fs::path(CLEANROOM_SOURCE_DIR) / "tests/data/policy/signed.yaml", 1 << 20).value();
    std::string without = signed_policy;
    const auto at = without.find("    ref: ");
    without.erase(at, without.find('\n', at) + 1 - at);
    const auto put_in = edited(without);
    CHECK(is_insertion(without, put_in));
    CHECK(load_policy_text(put_in, "f")->policy.values().image_keys.size() == 2);
  }

  TEST_CASE("property: every policy of the tests and examples, changed and changed back, is what it was") {
    std::size_t files = 0, replaced = 0;
    for (const char* folder : {"tests/data/policy", "examples/policies"}) {
      for (const auto& entry : fs::directory_iterator(fs::path(CLEANROOM_SOURCE_DIR) / folder)) {
        if (entry.path().extension() != ".yaml") continue;
        for (const bool crlf : {false, true}) {
          std::string text = base::read_file(entry.path(), 1 << 20).value();
          if (crlf) text = with_crlf(text);
          const auto old = load_policy_text(text, "f");
          if (!old) continue;
          CAPTURE(entry.path().string());
          const std::string changed = edited(text);
          const auto loaded = load_policy_text(changed, "f");
          REQUIRE(loaded);
          CHECK(loaded->policy.image() == reference());
          auto values = old->policy.values();
          values.image = reference();
          CHECK(CompiledPolicy(values, old->policy.network()).hash() == loaded->policy.hash());
          CHECK(edited(changed) == changed);
          ++files;
          if (old->policy.image()) {
            ++replaced;
            CHECK(edited(changed, old->policy.image()->to_string()) == text);
          } else {
            CHECK(is_insertion(text, changed));
          }
        }
      }
    }
    CHECK(files >= 12);
    CHECK(replaced >= 4);
  }

  TEST_CASE("what cannot be edited is refused with the lines to write") {
    for (const std::string& text :
         {std::string("version: 1\nsandbox: {image: {ref: docker.io/a\n      b}}\n"),
          std::string("version: 1\nsandbox:\n  image:\n    ref: |\n      x\n"),
          std::string("version: 1\nsandbox:\n  image:\n    ref: >-\n      x\n      y\n"),
          std::string("version: 1\nsandbox: [a]\n"), std::string("version: 1\nsandbox: {image: x}\n"),
          std::string("version: 1\nsandbox: {image: {ref: [x]}}\n"), std::string("- a\n"), std::string("text\n")}) {
      CAPTURE(text);
      const auto result = replace_image_ref(text, reference());
      REQUIRE_FALSE(result);
      CHECK(result.error().reason == "policy_invalid");
      CHECK(result.error().hint == "write it by hand:\nsandbox:\n  image:\n    ref: " + kNew);
    }
  }

  TEST_CASE("a policy with other errors, or that is not our YAML, is refused with its places") {
    for (const std::string& text :
         {std::string("version: 2\nsandbox: {image: {ref: x}}\n"), std::string("# nothing\n"),
          std::string("version: 1\nfoo: 1\n"), std::string("sandbox: {image: {ref: x}}\n"),
          std::string("version: 1\nsandbox: {image: {ref: &a x}}\n"),
          std::string("version: 1\nsandbox: {image: {ref: x}}\nsandbox: {}\n"), std::string("version: 1\n\tx: 1\n"),
          std::string("\xef\xbb\xbfversion: 1\n"), std::string("version: 1\n---\nversion: 1\n"), std::string()}) {
      CAPTURE(text);
      const auto result = replace_image_ref(text, reference());
      REQUIRE_FALSE(result);
      CHECK(result.error().reason == "policy_invalid");
      CHECK(result.error().message.find("cleanroom.yaml") != std::string::npos);
    }
    CHECK(image_ref_of("version: 1\nsandbox: [a]\n").error().reason == "policy_invalid");
    CHECK(image_ref_of("version: 1\nsandbox: {image: {ref: [a]}}\n").error().reason == "policy_invalid");
    CHECK(image_ref_of("a: &b c\n").error().reason == "policy_invalid");
    CHECK(image_ref_of("version: 1\nsandbox: {image: {ref: 'A B'}}\n").error().reason == "image_ref_invalid");
    CHECK(edited("version: 1\n", "docker.io/library/debian:12").find("image_ref_invalid: ") == 0);
  }
}

struct Folder {
  base::TempDir dir = *base::TempDir::create(fs::temp_directory_path(), "ref-edit");
  fs::path write(const fs::path& name, const std::string& text) {
    const auto path = dir.path() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()));
  }
};

const std::string kPolicy = "version: 1\nsandbox: {image: {ref: REF}}  # keep\n";

TEST_SUITE("policy/ref_edit_file") {
  TEST_CASE("the file is replaced with its mode, and left alone when nothing changes") {
    Folder f;
    const auto path = f.write("cleanroom.yaml", filled(kPolicy, kOld));
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    if (::geteuid() == 0) REQUIRE(::chown(path.c_str(), 12345, 23456) == 0);
    REQUIRE(write_image_ref(path, reference()) == RefChange::written);
    CHECK(read_policy_text(path).value() == filled(kPolicy, kNew));
    struct stat first {
    }, second{};
    REQUIRE(::stat(path.c_str(), &first) == 0);
    CHECK((first.st_mode & 07777U) == 0640);
    if (::geteuid() == 0) CHECK((first.st_uid == 12345 && first.st_gid == 23456));
    CHECK(write_image_ref(path, reference()) == RefChange::unchanged);
    REQUIRE(::stat(path.c_str(), &second) == 0);
    CHECK(first.st_ino == second.st_ino);
    CHECK(f.entries() == 1);
  }

  TEST_CASE("through a link the file behind it is changed, and the link stays") {
    Folder f;
    const auto real = f.write("shared/policy.yaml", filled(kPolicy, kOld));
    const auto link = f.dir.path() / "cleanroom.yaml";
    fs::create_symlink("shared/policy.yaml", link);
    REQUIRE(write_image_ref(link, reference()) == RefChange::written);
    CHECK(fs::is_symlink(link));
    CHECK_FALSE(fs::is_symlink(real));
    CHECK(read_policy_text(real).value() == filled(kPolicy, kNew));
  }

  TEST_CASE("what is no policy file is refused, and stays as it was") {
    Folder f;
    const auto path = f.dir.path() / "cleanroom.yaml";
    std::string reason = "policy_invalid";
    SUBCASE("missing") {
      reason = "policy_missing";
    }
    SUBCASE("a directory") {
      fs::create_directory(path);
    }
    SUBCASE("a FIFO, without waiting for a writer") {
      REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    }
    SUBCASE("a link to itself") {
      fs::create_symlink("cleanroom.yaml", path);
    }
    SUBCASE("a link to nothing") {
      fs::create_symlink("gone.yaml", path);
      reason = "policy_missing";
    }
    SUBCASE("too long") {
      f.write("cleanroom.yaml", std::string(kMaxPolicyBytes + 1, '#'));
    }
    SUBCASE("another error") {
      f.write("cleanroom.yaml", "version: 9\nsandbox: {image: {ref: x}}\n");
    }
    const auto before = f.entries();
    const auto result = write_image_ref(path, reference());
    REQUIRE_FALSE(result);
    CHECK(result.error().reason == reason);
    CHECK(f.entries() == before);
    if (fs::symlink_status(path).type() == fs::file_type::regular && fs::file_size(path) < 100)
      CHECK(read_policy_text(path).value() == "version: 9\nsandbox: {image: {ref: x}}\n");
  }

  TEST_CASE("the file is looked up as a launch does") {
    Folder f;
    CHECK(find_policy_file(f.dir.path()).error().reason == "policy_missing");
    const auto nested = f.write(".buildkite/cleanroom.yaml", "");
    CHECK(find_policy_file(f.dir.path()).value() == nested);
    const auto root = f.write("cleanroom.yaml", "");
    CHECK(find_policy_file(f.dir.path()).value() == root);
    CHECK(find_policy_file("").error().hint != "");
  }
}

}  // namespace
}  // namespace cleanroom::policy
