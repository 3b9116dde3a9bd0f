// Public keys against keys and signatures that openssl(1) made: tests/data/signatures, make.sh there.
#include "src/base/net/public_key.h"

#include "src/base/net/base64.h"
#include "src/base/os/io.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

#include <filesystem>

using namespace cleanroom::base;

namespace {

std::string data(const std::string& name) {
  auto text = read_file(std::filesystem::path(CLEANROOM_SOURCE_DIR) / "tests/data/signatures" / name, 64 * 1024);
  if (!text) FAIL(text.error().message);
  return *text;
}

std::string signature_of(const std::string& key) {
  return std::string(decode_base64(data(key + ".sig")).value().reveal());
}

std::string refusal_of(std::string_view pem) {
  const auto key = PublicKey::parse_pem(pem);
  if (key) return "";
  CHECK(key.error().code == Code::invalid_input);
  return key.error().message;
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  const auto at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), by);
}

}  // namespace

TEST_CASE("public keys: each accepted algorithm verifies what openssl(1) signed, and nothing else") {
  struct Case {
    const char* name;
    const char* algorithm;
  };
  const std::string payload = data("payload.json");
  const std::string fingerprints = data("fingerprints");
  for (const auto& [name, algorithm] :
       {Case{"p256", "ECDSA P-256"}, Case{"p384", "ECDSA P-384"}, Case{"rsa2048", "RSA 2048"},
        Case{"rsa3072", "RSA 3072"}, Case{"ed25519", "Ed25519"}}) {
    CAPTURE_BINDING(name);
    const auto key = PublicKey::parse_pem(data(std::string(name) + ".pub"));
    REQUIRE(key);
    CHECK(key->algorithm() == algorithm);
    CHECK(fingerprints.find(key->fingerprint() + " " + name + "\n") != std::string::npos);
    const std::string signature = signature_of(name);
    CHECK(key->verify_sha256(payload, signature));
    for (const std::size_t at : {std::size_t{0}, payload.size() / 2, payload.size() - 1}) {
      std::string changed = payload;
      changed[at] = static_cast<char>(changed[at] ^ 1);
      CHECK_FALSE(key->verify_sha256(changed, signature));
    }
    CHECK_FALSE(key->verify_sha256(payload + "\n", signature));
    CHECK_FALSE(key->verify_sha256("", signature));
    for (std::size_t at = 0; at < signature.size(); ++at) {
      std::string changed = signature;
      changed[at] = static_cast<char>(changed[at] ^ 0x40);
      CHECK_FALSE(key->verify_sha256(payload, changed));
    }
    CHECK_FALSE(key->verify_sha256(payload, ""));
    CHECK_FALSE(key->verify_sha256(payload, signature.substr(0, signature.size() - 1)));
    CHECK_FALSE(key->verify_sha256(payload, signature + '\0'));
    for (const char* other : {"p256", "other", "p384", "rsa2048", "rsa3072", "ed25519"}) {
      if (std::string_view(other) != name) CHECK_FALSE(key->verify_sha256(payload, signature_of(other)));
    }
  }
}

TEST_CASE("public keys: other algorithms, curves and lengths are refused") {
  CHECK(refusal_of(data("p521.pub")).find("secp521r1") != std::string::npos);
  CHECK(refusal_of(data("rsa1024.pub")).find("1024 bits") != std::string::npos);
  CHECK(refusal_of(data("explicit.pub")).find("spells out its curve") != std::string::npos);
  CHECK(refusal_of(data("rsapss.pub")).find("none of ECDSA") != std::string::npos);
  CHECK(refusal_of(data("ed448.pub")).find("none of ECDSA") != std::string::npos);
}

TEST_CASE("public keys: layout does not matter, the numbers do") {
  const std::string pem = data("p256.pub");
  const auto key = PublicKey::parse_pem(pem);
  REQUIRE(key);
  std::string crlf, folded;
  for (const char c : pem) {
    crlf += c == '\n' ? "\r\n" : std::string(1, c);
    folded += c == '\n' ? ' ' : c;
  }
  for (const std::string& text : {"\n  " + pem + " \n\n", crlf, folded, pem.substr(0, pem.size() - 1)}) {
    const auto same = PublicKey::parse_pem(text);
    REQUIRE(same);
    CHECK(*same == *key);
  }
  const auto other = PublicKey::parse_pem(data("other.pub"));
  REQUIRE(other);
  CHECK_FALSE(*other == *key);
}

TEST_CASE("public keys: anything but one whole PEM block is refused, and never repeated in the message") {
  const std::string pem = data("p256.pub");
  for (const std::string& text :
       {std::string(), std::string(" \n"), std::string("ssh-ed25519 AAAAC3"), "x" + pem, pem + "x", pem + pem,
        pem.substr(0, pem.size() / 2), replaced(pem, "-----END PUBLIC KEY-----", "-----END PUBLIC KEY----"),
        replaced(pem, "PUBLIC KEY", "RSA PUBLIC KEY"), replaced(pem, "M", "*"), replaced(pem, "=", ""),
        std::string("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"),
        std::string("-----BEGIN PUBLIC KEY-----END PUBLIC KEY-----\n"),
        std::string("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        std::string("-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PUBLIC KEY-----\n"),
        "-----BEGIN PUBLIC KEY-----\n" + std::string(PublicKey::kMaxPemBytes, 'A') + "\n-----END PUBLIC KEY-----\n"}) {
    CAPTURE(text);
    CHECK(refusal_of(text) != "");
  }
  const std::string secret = refusal_of("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2VjcmV0\n-----END ...");
  CHECK(secret.find("private key") != std::string::npos);
  CHECK(secret.find("c2VjcmV0") == std::string::npos);
  CHECK(refusal_of("-----BEGIN CERTIFICATE-----\nAAAA").find("certificate") != std::string::npos);
}

TEST_CASE("public keys: a point off its curve, and bytes after the key") {
  const std::string pem = data("p256.pub");
  const std::size_t begin = pem.find('\n') + 1;
  std::string base64;
  for (const char c : pem.substr(begin, pem.find("\n-----END") - begin)) {
    if (c != '\n') base64 += c;
  }
  const auto decoded = decode_base64(base64);
  REQUIRE(decoded);
  const std::string der(decoded->reveal());
  const auto wrap = [](std::string_view bytes) {
    std::string text = "-----BEGIN PUBLIC KEY-----\n";
    append_base64(text, bytes);
    return text + "\n-----END PUBLIC KEY-----\n";
  };
  CHECK(refusal_of(wrap(der)) == "");
  std::string off = der;
  off.back() = static_cast<char>(off.back() ^ 1);
  CHECK(refusal_of(wrap(off)) != "");
  CHECK(refusal_of(wrap(der + '\0')).find("bytes follow") != std::string::npos);
  for (std::size_t size = 0; size < der.size(); ++size)
    CHECK(refusal_of(wrap(der.substr(0, size))) != "");
}

TEST_CASE("public keys: a list of PEM blocks") {
  const std::string both = data("p256.pub") + "\n" + data("ed25519.pub");
  const auto keys = PublicKey::parse_pem_list(both, 2);
  REQUIRE(keys);
  REQUIRE(keys->size() == 2);
  CHECK((*keys)[1].algorithm() == "Ed25519");
  CHECK_FALSE(PublicKey::parse_pem_list(both, 1));
  CHECK_FALSE(PublicKey::parse_pem_list("", 2));
  CHECK_FALSE(PublicKey::parse_pem_list(both + "# comment\n", 3));
  CHECK_FALSE(PublicKey::parse_pem_list(data("p256.pub") + data("rsa1024.pub"), 2));
}

TEST_CASE("base64 is decoded strictly") {
  CHECK(decode_base64("").value().reveal() == "");
  CHECK(decode_base64("Zg==").value().reveal() == "f");
  CHECK(decode_base64("Zm8=").value().reveal() == "fo");
  CHECK(decode_base64("Zm9vYmFy").value().reveal() == "foobar");
  for (const char* text : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v\n", " Zm9v", "Zm9v Zm9v", "Zm-_",
                           "Z===", "====", "Zg==Zg==", "Zm9vZ", "=Zm9"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_base64(text));
  }
}
