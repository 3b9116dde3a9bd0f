// Signatures of images: those that openssl(1) made (tests/data/signatures), and payloads signed here that no one should
// sign.
#include "src/registry/cosign.h"

#include "src/base/net/base64.h"
#include "src/base/net/sha256.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"
#include "src/base/text/json.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <filesystem>
#include <memory>

namespace cleanroom::registry {
namespace {

using base::Json;

const std::string kHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kRepository = "registry.example.com/acme/builder";
constexpr const char* kLayerType = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr const char* kAnnotation = "dev.cosignproject.cosign/signature";

std::string data(const std::string& name) {
  auto text = base::read_file(std::filesystem::path(CLEANROOM_SOURCE_DIR) / "tests/data/signatures" / name, 64 * 1024);
  if (!text) FAIL(text.error().message);
  return *text;
}

base::PublicKey key(const std::string& name) {
  auto parsed = base::PublicKey::parse_pem(data(name + ".pub"));
  if (!parsed) FAIL(parsed.error().message);
  return *parsed;
}

std::string base64(std::string_view bytes) {
  std::string out;
  base::append_base64(out, bytes);
  return out;
}

model::ImageReference image(const std::string& repository = kRepository, const std::string& hex = kHex) {
  return model::ImageReference::parse(repository + "@sha256:" + hex).value();
}

// An Ed25519 key of this run.
class Signer {
 public:
  Signer() : key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free) { REQUIRE(key_); }
  base::PublicKey public_key() const {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    REQUIRE(PEM_write_bio_PUBKEY(bio.get(), key_.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return base::PublicKey::parse_pem(std::string_view(text, static_cast<std::size_t>(size))).value();
  }
  std::string sign(std::string_view payload) const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::string out(64, '\0');
    std::size_t size = out.size();
    REQUIRE(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1);
    REQUIRE(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size,
                           reinterpret_cast<const unsigned char*>(payload.data()), payload.size()) == 1);
    REQUIRE(size == out.size());
    return out;
  }

 private:
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
};

std::string payload_for(const std::string& name, const std::string& digest,
                        const std::string& type = "cosign container image signature") {
  return Json{
      {"critical",
       {{"identity", {{"docker-reference", name}}}, {"image", {{"docker-manifest-digest", digest}}}, {"type", type}}},
      {"optional", nullptr}}
      .dump();
}

Json layer_of(std::string_view payload, std::string_view signature) {
  return {{"mediaType", kLayerType},
          {"size", payload.size()},
          {"digest", "sha256:" + base::sha256_hex(payload)},
          {"annotations", {{kAnnotation, base64(signature)}}}};
}

Json manifest_of(std::vector<Json> layers) {
  return {{"schemaVersion", 2},
          {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
          {"config",
           {{"mediaType", "application/vnd.oci.image.config.v1+json"}, {"size", 2}, {"digest", "sha256:" + kHex}}},
          {"layers", std::move(layers)}};
}

std::string refusal_of_manifest(const std::string& text) {
  const auto parsed = parse_signature_manifest(text);
  if (parsed) return "";
  CHECK(parsed.error().reason == "image_not_trusted");
  CHECK(parsed.error().hint != "");
  return parsed.error().message;
}

std::string refusal_of_payload(const Signer& signer, const std::string& payload,
                               const model::ImageReference& reference = image()) {
  const std::vector<base::PublicKey> keys = {signer.public_key()};
  const auto verified = verify_signature(payload, signer.sign(payload), keys, reference);
  if (verified) return "";
  CHECK(verified.error().reason == "image_not_trusted");
  return verified.error().message;
}

TEST_SUITE("registry/cosign") {
  TEST_CASE("the tag of signatures") {
    CHECK(signature_tag(*image().digest()) == "sha256-" + kHex + ".sig");
  }

  TEST_CASE("a signature by one of the keys is found, whichever algorithm; by another key it is not") {
    const std::string payload = data("payload.json");
    const std::vector<base::PublicKey> keys = {key("p384"), key("rsa2048"), key("ed25519"), key("rsa3072"),
                                               key("p256")};
    for (const char* name : {"p256", "p384", "rsa2048", "rsa3072", "ed25519"}) {
      CAPTURE(name);
      const auto decoded = base::decode_base64(data(std::string(name) + ".sig"));
      REQUIRE(decoded);
      const std::string signature(decoded->reveal());
      const auto signer = verify_signature(payload, signature, keys, image());
      REQUIRE(signer);
      CHECK(**signer == key(name));
      CHECK_FALSE(verify_signature(payload, signature, {key("other")}, image()));
      CHECK_FALSE(verify_signature(payload, signature, {}, image()));
      CHECK_FALSE(verify_signature(payload, signature.substr(1), keys, image()));
      CHECK_FALSE(verify_signature(payload, "", keys, image()));
      for (std::size_t at = 0; at < payload.size(); at += 7) {
        std::string changed = payload;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        CHECK_FALSE(verify_signature(changed, signature, keys, image()));
      }
    }
    for (const char* name : {"other", "p521", "rsa1024"}) {
      const auto decoded = base::decode_base64(data(std::string(name) + ".sig"));
      REQUIRE(decoded);
      CHECK_FALSE(verify_signature(payload, decoded->reveal(), keys, image()));
    }
  }

  TEST_CASE("IMG-24 a good signature of another image, repository or kind is none of this image") {
    const Signer signer;
    const std::string digest = "sha256:" + kHex;
    CHECK(refusal_of_payload(signer, payload_for(kRepository, digest)) == "");
    CHECK(refusal_of_payload(signer, payload_for(kRepository + ":v1", digest)) == "");
    CHECK(refusal_of_payload(signer, payload_for(kRepository + "@" + digest, digest)) == "");
    const std::string other = "sha256:" + std::string(64, 'b');
    CHECK(refusal_of_payload(signer, payload_for(kRepository, other)).find("it is for the image") != std::string::npos);
    for (const std::string& bad : {std::string(), kHex, "SHA256:" + kHex, digest + " ", "sha512:" + kHex + kHex}) {
      CHECK(refusal_of_payload(signer, payload_for(kRepository, bad)) != "");
    }
    for (const std::string& name :
         {std::string("mirror.example.com/acme/builder"), std::string("registry.example.com:5000/acme/builder"),
          std::string("registry.example.com/acme/builder2"), std::string("registry.example.com/acme"),
          std::string("acme/builder"), kRepository + "@" + other, std::string(), "https://" + kRepository}) {
      CAPTURE(name);
      CHECK(refusal_of_payload(signer, payload_for(name, digest)).find("it is for the repository") !=
            std::string::npos);
    }
    for (const char* type : {"", "atomic container signature", "Cosign container image signature"}) {
      CHECK(refusal_of_payload(signer, payload_for(kRepository, digest, type)).find("its type is") !=
            std::string::npos);
    }
    // As go-containerregistry, and so cosign, names Docker Hub.
    CHECK(refusal_of_payload(signer, payload_for("index.docker.io/library/debian", digest),
                             image("docker.io/library/debian")) == "");
    const auto tagged = model::ImageReference::parse(kRepository + ":v1").value();
    CHECK(refusal_of_payload(signer, payload_for(kRepository, digest), tagged).find("no digest") != std::string::npos);
  }

  TEST_CASE("signed bytes that are not the one JSON object are refused") {
    const Signer signer;
    const std::string good = payload_for(kRepository, "sha256:" + kHex);
    const auto replaced = [&](std::string_view what, std::string_view by) {
      std::string text = good;
      const auto at = text.find(what);
      REQUIRE(at != std::string::npos);
      return text.replace(at, what.size(), by);
    };
    for (const std::string& bad :
         {std::string(), std::string("[]"), std::string("null"), std::string("{}"), good + "x", good + good,
          good.substr(0, good.size() - 1), replaced("critical", "Critical"), replaced("\"image\"", "\"images\""),
          replaced("docker-manifest-digest", "Docker-manifest-digest"), replaced("\"optional\":null", "\"a\":\"\xff\""),
          // Two answers to one question: readers differ in which one counts.
          replaced("\"optional\":null", "\"critical\":{}"),
          replaced("\"docker-manifest-digest\":", "\"docker-manifest-digest\":\"sha256:\",\"docker-manifest-digest\":"),
          replaced("\"sha256:" + kHex + "\"", "[\"sha256:" + kHex + "\"]"),
          replaced("null", "\"" + std::string(kMaxSignaturePayloadBytes, 'x') + "\"")}) {
      CAPTURE(bad.substr(0, 300));
      CHECK(refusal_of_payload(signer, bad) != "");
    }
    CHECK(refusal_of_payload(signer, replaced("null", "{\"creator\":\"ci\",\"timestamp\":1}")) == "");
  }

  TEST_CASE("the manifest of signatures: the newest first, other layers passed over") {
    const Json one = layer_of("one", "1"), two = layer_of("two", "2");
    Json attestation = layer_of("three", "3");
    attestation["mediaType"] = "application/vnd.dsse.envelope.v1+json";
    const auto layers = parse_signature_manifest(manifest_of({one, attestation, two}).dump());
    REQUIRE(layers);
    REQUIRE(layers->size() == 2);
    CHECK((*layers)[0].signature == "2");
    CHECK((*layers)[1].signature == "1");
    CHECK((*layers)[1].size == 3);
    CHECK((*layers)[1].digest.hex() == base::sha256_hex("one"));
    CHECK(parse_signature_manifest(manifest_of({}).dump())->empty());
    Json plain = manifest_of({one});
    plain.erase("mediaType");
    CHECK(parse_signature_manifest(plain.dump()));
    plain["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json";
    CHECK(parse_signature_manifest(plain.dump()));
  }

  TEST_CASE("1000 signatures: the newest 32 are looked at") {
    std::vector<Json> layers;
    for (int i = 0; i < 1000; ++i)
      layers.push_back(layer_of("payload", std::to_string(i)));
    const auto parsed = parse_signature_manifest(manifest_of(layers).dump());
    REQUIRE(parsed);
    CHECK(parsed->size() == kMaxSignatures);
    CHECK(parsed->front().signature == "999");
    SignatureCheck check(image(), {{"sandbox.image.verify", {key("p256")}}});
    for (int i = 0; i < 1000; ++i)
      check.add(parsed->front(), "payload");
    const auto finished = check.finish();
    REQUIRE_FALSE(finished);
    CHECK(finished.error().message.find("none of its 32 signatures will do") != std::string::npos);
  }

  TEST_CASE("IMG-16 a manifest that is something else, or whose signatures are malformed, is refused") {
    const Json good = layer_of("payload", "signature");
    const auto with = [&](const char* name, const Json& value) {
      Json manifest = manifest_of({good});
      manifest[name] = value;
      return manifest.dump();
    };
    CHECK(refusal_of_manifest(with("annotations", Json::object())) == "");
    for (const std::string& text :
         {std::string(), std::string("{}"), std::string("[]"), with("schemaVersion", 1), with("schemaVersion", "2"),
          with("mediaType", "application/vnd.oci.image.index.v1+json"), with("mediaType", 1), with("layers", nullptr),
          with("layers", Json::object()), with("manifests", Json::array()), with("x", 1) + "x",
          "{\"layers\":[]," + with("x", 1).substr(1), std::string(kMaxSignatureManifestBytes + 1, ' ')}) {
      CAPTURE(text.substr(0, 200));
      CHECK(refusal_of_manifest(text) != "");
    }
    const auto layer = [&](const char* name, const Json& value) {
      Json changed = good;
      changed[name] = value;
      return manifest_of({good, changed}).dump();
    };
    CHECK(refusal_of_manifest(layer("urls", Json::array())) == "");
    const std::string hex = base::sha256_hex("x");
    for (const std::string& text :
         {layer("digest", "sha256:../../x"), layer("digest", "sha512:" + hex + hex), layer("digest", nullptr),
          layer("size", 0), layer("size", -1), layer("size", 1.5), layer("size", "1"),
          layer("size", kMaxSignaturePayloadBytes + 1), layer("annotations", nullptr),
          layer("annotations", Json::object()), layer("annotations", {{kAnnotation, 1}}),
          layer("annotations", {{kAnnotation, ""}}), layer("annotations", {{kAnnotation, "c2ln*"}}),
          layer("annotations", {{kAnnotation, base64("signature").substr(0, 11)}}),
          layer("annotations", {{kAnnotation, base64("signature") + "\n"}}),
          layer("annotations", {{kAnnotation, base64(std::string(20'000, 'x'))}})}) {
      CAPTURE(text);
      CHECK(refusal_of_manifest(text) != "");
    }
  }

  TEST_CASE("both demands must be met, by one signature or by two") {
    const Signer repository, operator_;
    const std::string payload = payload_for(kRepository, "sha256:" + kHex);
    const auto layer = [&](const Signer& signer) {
      return SignatureLayer{model::Digest::from_sha256_hex(base::sha256_hex(payload)), payload.size(),
                            signer.sign(payload)};
    };
    const std::vector<policy::SignatureDemand> demands = {
        {"sandbox.image.verify", {key("p256"), repository.public_key()}},
        {"images.verify (registry.example.com)", {operator_.public_key()}}};
    SignatureCheck check(image(), demands);
    CHECK_FALSE(check.met());
    check.add(layer(repository), payload);
    CHECK_FALSE(check.met());
    const auto half = check.finish();
    REQUIRE_FALSE(half);
    CHECK(half.error().reason == "image_not_trusted");
    CHECK(half.error().code == base::Code::policy_denied);
    CHECK(half.error().message.find("images.verify (registry.example.com)") != std::string::npos);
    CHECK(half.error().message.find("sandbox.image.verify") == std::string::npos);
    check.add(layer(operator_), payload);
    CHECK(check.met());
    CHECK(check.finish() ==
          std::vector<std::string>{repository.public_key().fingerprint(), operator_.public_key().fingerprint()});

    SignatureCheck both(image(), {{"a", {repository.public_key()}}, {"b", {repository.public_key(), key("p256")}}});
    both.add(layer(repository), payload);
    CHECK(both.met());
    CHECK(SignatureCheck(image(), {}).met());
    CHECK(SignatureCheck(image(), {}).finish()->empty());
  }

  TEST_CASE("what tests/support/registry_rig/sign_image.py makes is accepted") {
    const auto dir = base::TempDir::create(std::filesystem::temp_directory_path(), "sign").value();
    const auto run = [&](std::vector<std::string> argv) {
      const auto done = base::run_process({.argv = std::move(argv), .environment = {"PATH=/usr/bin:/bin"}},
                                          base::deadline_in(std::chrono::seconds(60)));
      if (!done) FAIL(done.error().message);
      if (!done->status.success()) FAIL(done->errors);
      return done->output;
    };
    const auto read = [&](const std::string& name) { return base::read_file(dir.path() / name, 1 << 20).value(); };
    std::vector<std::string> argv = {CLEANROOM_SOURCE_DIR "/tests/support/registry_rig/sign_image.py"};
    std::vector<policy::SignatureDemand> demands;
    for (const auto& [algorithm, option] :
         std::vector<std::pair<std::string, std::string>>{{"EC", "ec_paramgen_curve:P-256"},
                                                          {"EC", "ec_paramgen_curve:P-384"},
                                                          {"RSA", "rsa_keygen_bits:2048"},
                                                          {"ED25519", ""}}) {
      const std::string path = dir.path() / ("key" + std::to_string(demands.size()));
      std::vector<std::string> make = {"openssl", "genpkey", "-algorithm", algorithm, "-out", path};
      if (!option.empty()) make.insert(make.end(), {"-pkeyopt", option});
      run(make);
      argv.insert(argv.end(), {"--key", path});
      const auto pem = run({"openssl", "pkey", "-in", path, "-pubout"});
      demands.push_back({option, {base::PublicKey::parse_pem(pem).value()}});
    }
    const auto reference = image("docker.io/library/debian");
    argv.insert(argv.end(), {reference.to_string(), dir.path() / "layout"});
    CHECK(run(argv) == signature_tag(*reference.digest()) + "\n");

    const auto index = base::parse_json(read("layout/index.json"), "index").value();
    const auto blob = [&](const std::string& digest) {
      return read("layout/blobs/sha256/" + model::Digest::parse(digest).value().hex());
    };
    const auto layers = parse_signature_manifest(blob(index["manifests"][0]["digest"]));
    REQUIRE(layers);
    CHECK(layers->size() == demands.size());
    SignatureCheck check(reference, demands);
    for (const auto& layer : *layers) {
      CHECK_FALSE(check.met());
      check.add(layer, blob(layer.digest.to_string()));
    }
    CHECK(check.met());
  }

  TEST_CASE("no signature, and a payload that its layer does not list, are not trusted") {
    const Signer signer;
    const std::string payload = payload_for(kRepository, "sha256:" + kHex);
    SignatureCheck check(image(), {{"sandbox.image.verify", {signer.public_key()}}});
    const auto none = check.finish();
    REQUIRE_FALSE(none);
    CHECK(none.error().message.find("it has no signature, and sandbox.image.verify (1 key: sha256:") !=
          std::string::npos);
    CHECK(none.error().hint.find("cosign sign --key KEY " + kRepository + "@sha256:" + kHex) != std::string::npos);

    SignatureLayer layer{model::Digest::from_sha256_hex(base::sha256_hex("other")), payload.size(),
                         signer.sign(payload)};
    check.add(layer, payload);
    layer = {model::Digest::from_sha256_hex(base::sha256_hex(payload)), payload.size() + 1, signer.sign(payload)};
    check.add(layer, payload);
    CHECK_FALSE(check.met());
    CHECK(check.finish().error().message.find("its payload is not what the manifest lists") != std::string::npos);
    layer.size = payload.size();
    check.add(layer, payload);
    CHECK(check.met());
  }
}

}  // namespace
}  // namespace cleanroom::registry
