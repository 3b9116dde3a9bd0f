// sandbox.image.verify of a policy, images.verify of the ceiling.
#include "src/policy/image_signatures.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/policy/load.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace cleanroom::policy {
namespace {

namespace fs = std::filesystem;

std::string key(const std::string& name) {
  auto text = base::read_file(fs::path(CLEANROOM_SOURCE_DIR) / "tests/data/signatures" / (name + ".pub"), 64 * 1024);
  if (!text) FAIL(text.error().message);
  return *text;
}

// In double quotes, for a flow mapping.
std::string quoted(const std::string& pem) {
  std::string out = "\"";
  for (const char c : pem)
    out += c == '\n' ? "\\n" : std::string(1, c);
  return out + "\"";
}

std::string policy_with(const std::string& keys) {
  return "version: 1\nsandbox:\n  image:\n    ref: registry.test/acme/a@sha256:" + std::string(64, 'a') +
         "\n    verify: {public_keys: [" + keys + "]}\n";
}

std::vector<std::string> errors_of(const std::string& text) {
  base::Diagnostics diagnostics("f", "policy_invalid");
  const auto loaded = load_policy_text(text, "f", &diagnostics);
  CHECK(loaded.has_value() != diagnostics.has_errors());
  return diagnostics.lines();
}

struct Fixture {
  base::TempDir dir = *base::TempDir::create(fs::temp_directory_path(), "signers");
  OperatorPaths paths{.directories = {dir.path() / "etc"},
                      .from_variable = false,
                      .untrusted_roots = {dir.path() / "build"},
                      .user = ::geteuid()};

  fs::path write(const fs::path& name, std::string_view text) {
    const auto path = dir.path() / name;
    fs::create_directories(path.parent_path());
    fs::permissions(path.parent_path(), fs::perms::owner_all);
    std::ofstream(path) << text;
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    return path;
  }
  base::Result<Ceiling> ceiling(const std::string& entries, const std::string& rest = "") {
    write("etc/ceiling.yaml", "images: {verify: [" + entries + "]}\n" + rest);
    return load_ceiling(paths);
  }
  std::string refusal(const std::string& entries) {
    const auto loaded = ceiling(entries);
    if (loaded) return "";
    CHECK(loaded.error().reason == "config_invalid");
    return loaded.error().message;
  }
};

model::ImageReference image(std::string_view text) {
  return model::ImageReference::parse(text).value();
}

TEST_SUITE("policy/image_signatures") {
  TEST_CASE("keys of a policy: sorted, and the hash follows the keys, not how they are written") {
    const auto one = load_policy_text(policy_with(quoted(key("p256")) + ", " + quoted(key("rsa2048"))), "f");
    const auto two = load_policy_text(policy_with(quoted(key("rsa2048") + "\n") + ", " + quoted(key("p256"))), "f");
    REQUIRE(one);
    REQUIRE(two);
    CHECK(one->policy.values().image_keys.size() == 2);
    CHECK(one->policy.hash() == two->policy.hash());
    const auto three = load_policy_text(policy_with(quoted(key("p256"))), "f");
    REQUIRE(three);
    CHECK(one->policy.hash() != three->policy.hash());
    const auto& fingerprint = three->policy.values().image_keys[0].fingerprint();
    CHECK(three->policy.canonical_json().find("\"verify\":{\"public_keys\":[\"sha256:" + fingerprint + "\"]}") !=
          std::string::npos);
  }

  TEST_CASE("a bad key of a policy is an error with its place") {
    const auto bad = errors_of(policy_with(quoted(key("p256")) + ", " + quoted(key("p521"))));
    REQUIRE(bad.size() == 1);
    CHECK(bad[0].find("f:5:") == 0);
    CHECK(bad[0].find("sandbox.image.verify.public_keys[1]: cannot use public key: its curve is secp521r1") !=
          std::string::npos);
    for (const std::string& keys :
         {quoted(key("rsa1024")), std::string("abc"), quoted(key("p256")) + ", " + quoted(key("p256")), std::string(),
          std::string("\"-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\\n-----END PRIVATE KEY-----\"")}) {
      CAPTURE(keys);
      const auto lines = errors_of(policy_with(keys));
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].find("f:5:") == 0);
      CHECK(lines[0].find("c2VjcmV0") == std::string::npos);
    }
    std::string nine;
    for (int i = 0; i < 9; ++i)
      nine += quoted(key("p256")) + ",";
    CHECK(errors_of(policy_with(nine)).size() >= 1);
    CHECK(errors_of("version: 1\nsandbox: {image: {verify: {public_keys: [" + quoted(key("p256")) + "]}}}\n").size() ==
          1);
    CHECK(
        errors_of("version: 1\nsandbox: {image: {ref: a@sha256:" + std::string(64, 'a') + ", verify: {}}}\n").size() ==
        1);
  }

  TEST_CASE("a launch refuses a demand for signatures until they are checked") {
    const auto loaded = load_policy_text(policy_with(quoted(key("p256"))), "f");
    REQUIRE(loaded);
    CHECK(features_not_enforced(loaded->policy).empty() == kSignaturesEnforced);
    Fixture f;
    const auto ceiling = f.ceiling("{registry: registry.test/acme, public_keys: [" + quoted(key("other")) + "]}");
    REQUIRE(ceiling);
    const std::string pinned = "@sha256:" + std::string(64, 'a');
    CHECK(ceiling_conflicts(image("registry.test/acme/a" + pinned), ceiling->limits_for("")).empty() ==
          kSignaturesEnforced);
    CHECK(ceiling_conflicts(image("registry.test/acmes/a" + pinned), ceiling->limits_for("")).empty());
  }

  TEST_CASE("both demands count; a ceiling's only for images within its entry") {
    Fixture f;
    const auto file = f.write("etc/cosign.pub", key("ed25519") + key("p384"));
    const auto ceiling =
        f.ceiling("{registry: registry.test/acme, public_keys: [" + quoted(key("other")) +
                      "]}, {registry: \"registry.test\", key_file: " + file.string() + "}",
                  "pipelines: [{match: acme/free, images: {verify: []}}, {match: acme/web, resources: {vcpus: 2}}]\n");
    if (!ceiling) FAIL(ceiling.error().message);
    const auto policy = load_policy_text(policy_with(quoted(key("p256"))), "f");
    REQUIRE(policy);
    const auto& keys = policy->policy.values().image_keys;
    const auto names = [&](const std::vector<base::PublicKey>& own, std::string_view slug, std::string_view reference) {
      std::string out;
      for (const auto& demand : image_signature_demands(own, ceiling->limits_for(slug), image(reference)))
        out += demand.key_path + " " + std::to_string(demand.keys.size()) + ";";
      return out;
    };
    const std::string wide = "images.verify (registry.test) 2;";
    const std::string narrow = "images.verify (registry.test/acme) 1;";
    CHECK(names(keys, "", "registry.test/acme/a") == "sandbox.image.verify 1;" + narrow + wide);
    CHECK(names({}, "", "registry.test/acme/a:tag") == narrow + wide);
    CHECK(names({}, "", "registry.test/acme") == narrow + wide);
    CHECK(names({}, "acme/web", "registry.test/acme") == narrow + wide);
    CHECK(names({}, "", "registry.test/acmes/a") == wide);
    CHECK(names({}, "acme/free", "registry.test/acme/a") == "");
    for (const char* other : {"registry.test:5000/acme/a", "evil.test/registry.test/acme/a", "acme/a"}) {
      CHECK(names({}, "", other) == "");
      CHECK(names(keys, "", other) == "sandbox.image.verify 1;");
    }
  }

  TEST_CASE("entries of a ceiling that could never match, or whose keys are no keys, are refused") {
    Fixture f;
    const std::string good = quoted(key("p256"));
    for (const char* registry : {"https://registry.test", "registry.test/", "Registry.Test", "acme", "\"*\"",
                                 "registry.test/acme:tag", "index.docker.io/acme", "registry.test/Acme", "\"\""}) {
      CAPTURE(registry);
      CHECK(f.refusal("{registry: " + std::string(registry) + ", public_keys: [" + good + "]}") != "");
    }
    CHECK(f.refusal("{registry: index.docker.io/acme, public_keys: [" + good + "]}").find("write 'docker.io/acme'") !=
          std::string::npos);
    for (const char* registry : {"registry.test", "localhost:5000", "docker.io/library/debian", "docker.io"}) {
      CAPTURE(registry);
      CHECK(f.refusal("{registry: \"" + std::string(registry) + "\", public_keys: [" + good + "]}") == "");
    }
    for (const std::string& rest :
         {std::string("public_keys: []"), std::string("public_keys: [x]"), "public_keys: [" + quoted(key("p521")) + "]",
          std::string("x: 1"), std::string("key_file: a.pub"), std::string("key_file: /does/not/exist")}) {
      CAPTURE(rest);
      CHECK(f.refusal("{registry: registry.test, " + rest + "}") != "");
    }
    const auto file = f.write("etc/cosign.pub", key("p256")).string();
    CHECK(f.refusal("{registry: registry.test, key_file: " + file + "}") == "");
    CHECK(f.refusal("{registry: registry.test, key_file: " + file + ", public_keys: [" + good + "]}")
              .find("either `public_keys` or `key_file`") != std::string::npos);
    CHECK(f.refusal("{registry: registry.test}").find("either") != std::string::npos);
  }

  TEST_CASE("a key file that others may write, that a build may write, or that is no file is refused") {
    Fixture f;
    auto file = f.write("etc/cosign.pub", key("p256"));
    std::string expected = "cannot trust";
    SUBCASE("world-writable") {
      fs::permissions(file, fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("in a world-writable directory") {
      file = f.write("keys/cosign.pub", key("p256"));
      fs::permissions(file.parent_path(), fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("below a place where a build writes") {
      file = f.write("build/cosign.pub", key("p256"));
    }
    SUBCASE("a FIFO, without waiting for a writer") {
      fs::remove(file);
      REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
      expected = "not a regular file";
    }
    SUBCASE("too long") {
      f.write("etc/cosign.pub", std::string(kMaxImageKeys * base::PublicKey::kMaxPemBytes + 1, '\n'));
      expected = "larger than";
    }
    SUBCASE("empty") {
      f.write("etc/cosign.pub", "");
      expected = "it is empty";
    }
    const auto refusal = f.refusal("{registry: registry.test, key_file: " + file.string() + "}");
    CAPTURE(refusal);
    CHECK(refusal.find(expected) != std::string::npos);
    CHECK(refusal.find("images.verify[0].key_file") != std::string::npos);
  }
}

}  // namespace
}  // namespace cleanroom::policy
