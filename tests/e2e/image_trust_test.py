#!/usr/bin/env python3
"""Signed images: sandbox.image.verify and the ceiling's images.verify, from real registries, judged before a layer is fetched.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_trust_test.py [-v] [TestClass.test_name]
"""
import pathlib
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from job_case import JobCase  # noqa: E402
from pull_case import CONFIGURATION, SECONDS, ZEROS, manifest_of, sha256  # noqa: E402
from sign_image import MANIFEST_TYPE, payload_of, sign, signature_image, signature_tag, write_layout  # noqa: E402

KINDS = {"ed25519": ["-algorithm", "ED25519"], "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
         "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
         "other": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}
NOT_TRUSTED = "image_not_trusted"


class Trust(JobCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys, cls.public = {}, {}
        for name, options in KINDS.items():
            cls.keys[name] = cls.root / f"{name}.pem"
            subprocess.run(["openssl", "genpkey", *options, "-out", cls.keys[name]], check=True, capture_output=True, timeout=SECONDS)
            cls.public[name] = subprocess.run(["openssl", "pkey", "-in", cls.keys[name], "-pubout"], check=True, capture_output=True, text=True, timeout=SECONDS).stdout
        cls.registry = cls.rig.open()
        cls.digest = sha256(manifest_of(image("busybox"))[0])
        cls.layers = "|".join(layer["digest"] for name in ("busybox", "index") for layer in manifest_of(image(name))[1]["layers"])

    def setUp(self):
        """A repository of its own for each test, behind a proxy of its own."""
        self.repository = f"org/{self.id().rpartition('.')[2]}"
        self.rig.fill(self.registry, image("busybox"), f"{self.repository}:1")
        self.proxy = self.rig.proxy(self.registry)
        self.name = f"{self.proxy.host}/{self.repository}"
        self.pinned = f"{self.name}@{self.digest}"

    def push(self, manifest, blobs, digest):
        layout = self.root / f"signature{len(list(self.root.glob('signature*')))}"
        write_layout(layout, signature_tag(digest), manifest, blobs)
        self.rig.fill(self.registry, f"{layout}:{signature_tag(digest)}", f"{self.repository}:{signature_tag(digest)}")

    def sign(self, *keys, digest=None, payload=None, pushed=None, as_digest=None):
        """Signs `payload`, by default the right one over `digest`, and pushes it (or `pushed` in its place) beside the image."""
        digest = digest or self.digest
        payload = payload or payload_of(self.name, digest)
        signed = [(pushed or payload, sign(self.keys[key], payload, self.root)) for key in keys]
        self.push(*signature_image(signed), as_digest or digest)

    def demanding(self, *keys, ceiling=(), reference=None):
        host = self.host(self.proxy)
        host.policy(reference or self.pinned, *(self.public[key] for key in keys))
        if ceiling:
            host.ceiling(images={"verify": [{"registry": self.name, "public_keys": [self.public[key] for key in ceiling]}]})
        return host

    def not_trusted(self, host):
        """Refused by cleanroom-run, with 78, before a layer or the config was asked for."""
        mark = self.proxy.mark()
        said = self.run_refused(host, CONFIGURATION, NOT_TRUSTED)
        self.assertEqual(self.proxy.seen(self.layers, since=mark), [])
        self.assertEqual(self.proxy.seen(manifest_of(image("busybox"))[1]["config"]["digest"], since=mark), [])
        return said

    def test_keys_of_every_kind(self):
        for kind in ("ed25519", "p256", "p384", "rsa"):
            with self.subTest(kind):
                self.sign(kind)
                told = self.pull(self.demanding(ceiling=[kind]), self.pinned)
                self.assertEqual(told["digest"], self.digest)
                self.refused(self.demanding(ceiling=["other"]), self.pinned, NOT_TRUSTED, (CONFIGURATION,))

    def test_a_job_in_a_signed_image(self):
        self.sign("p256")
        host = self.demanding("p256")
        self.assertEqual(self.succeeds(host, "--", "/bin/echo", "runs"), "runs\n")
        # Found signed once, it needs no registry.
        self.proxy.close()
        self.assertEqual(self.succeeds(host, "--", "/bin/echo", "again"), "again\n")
        self.assertEqual({record["image_digest"] for record in host.records()}, {self.digest})

    def test_what_is_not_signed(self):
        right = payload_of(self.name, self.digest)
        cases = {
            "no signature": None,
            "another key": lambda: self.sign("other"),
            "a signature of another digest": lambda: self.sign("p256", digest=ZEROS, as_digest=self.digest),
            "a payload that was changed": lambda: self.sign("p256", payload=payload_of(self.name, ZEROS), pushed=right),
            "a payload with a bit more": lambda: self.sign("p256", pushed=right + b" "),
            "another repository's": lambda: self.sign("p256", payload=payload_of(f"{self.proxy.host}/org/other", self.digest)),
            "another registry's": lambda: self.sign("p256", payload=payload_of(f"registry.example.com/{self.repository}", self.digest)),
            "another kind of payload": lambda: self.sign("p256", payload=payload_of(self.name, self.digest, kind="something else")),
            "no JSON": lambda: self.sign("p256", payload=b"{"),
        }
        for name, make in cases.items():
            with self.subTest(name):
                if make:
                    make()
                host = self.demanding("p256")
                self.not_trusted(host)
                self.assertEqual(host.images(), set())
                self.assertEqual(host.large_files(), [])
                pulling = self.demanding(ceiling=["p256"])
                mark = self.proxy.mark()
                self.refused(pulling, f"{self.name}:1", NOT_TRUSTED, (CONFIGURATION,))
                self.assertEqual(self.proxy.seen(self.layers, since=mark), [])
        # One that is right beside those that are not suffices.
        self.push(*signature_image([(b"{", b"junk"), (right, sign(self.keys["other"], right, self.root)), (right, sign(self.keys["p256"], right, self.root))]), self.digest)
        self.pull(self.demanding(ceiling=["p256"]), self.pinned)

    def test_a_signature_that_cannot_be_had(self):
        self.sign("p256")
        for status, reason in ((503, "image_pull_failed"), (401, "image_access_denied")):
            self.proxy.clear()
            self.proxy.fault("status", match=r"/manifests/sha256-", method=None, status=status)
            self.refused(self.demanding(ceiling=["p256"]), self.pinned, reason)
        self.proxy.clear()
        # The registry's word alone that there is none does not help.
        self.proxy.fault("status", match=r"/manifests/sha256-", method=None, status=404)
        self.refused(self.demanding(ceiling=["p256"]), self.pinned, NOT_TRUSTED, (CONFIGURATION,))
        self.proxy.clear()
        self.proxy.document(f"/v2/{self.repository}/manifests/{signature_tag(self.digest)}", b'{"layers": 7}', MANIFEST_TYPE)
        done = self.demanding(ceiling=["p256"]).run("pull", self.pinned)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.proxy.seen(self.layers), [])

    def test_an_index(self):
        index = self.rig.fill(self.registry, image("index"), f"{self.repository}:1", False, "--all")
        own = sha256(manifest_of(image("index"))[0])
        self.refused(self.demanding(ceiling=["p256"]), f"{self.name}@{index}", NOT_TRUSTED, (CONFIGURATION,))
        self.sign("p256", digest=index)
        told = self.pull(self.demanding(ceiling=["p256"]), f"{self.name}@{index}")
        self.assertEqual((told["digest"], told["reference"]), (own, f"{self.name}@{index}"))
        # Its signature is not one of each manifest that it lists.
        self.refused(self.demanding(ceiling=["p256"]), f"{self.name}@{own}", NOT_TRUSTED, (CONFIGURATION,))
        self.sign("ed25519", digest=own)
        for digest in (index, own):
            self.assertEqual(self.pull(self.demanding(ceiling=["ed25519"]), f"{self.name}@{digest}")["digest"], own)

    def test_what_was_pulled_without_a_demand(self):
        host = self.demanding("p256")
        self.pull(host, self.pinned)
        self.not_trusted(host)
        host.policy(self.pinned)
        host.ceiling(images={"verify": [{"registry": self.name, "public_keys": [self.public["p256"]]}]})
        self.not_trusted(host)
        done = host.run("pull", self.pinned)
        self.assertEqual((done.returncode, done.stdout), (CONFIGURATION, ""), done.stderr)
        self.assertEqual(host.images(), {self.digest})
        self.sign("p256")
        mark = self.proxy.mark()
        self.assertEqual(self.succeeds(host, "--", "/bin/echo", "runs"), "runs\n")
        self.assertEqual(self.proxy.seen(self.layers, since=mark), [])
        # And no further: another key is another question, and another repository with the same image too.
        host.policy(self.pinned, self.public["other"])
        self.not_trusted(host)

    def test_verified_elsewhere_counts_nowhere_else(self):
        self.sign("p256")
        host = self.demanding(ceiling=["p256"])
        self.pull(host, self.pinned)
        self.rig.fill(self.registry, image("busybox"), f"{self.repository}/copy:1")
        host.policy(f"{self.name}/copy@{self.digest}")
        self.not_trusted(host)

    def test_both_demands(self):
        for signers in (["p256"], ["rsa"], ["other"]):
            with self.subTest(signers):
                self.sign(*signers)
                self.not_trusted(self.demanding("p256", ceiling=["rsa"]))
        self.sign("rsa", "p256")
        self.assertEqual(self.succeeds(self.demanding("p256", ceiling=["rsa"]), "--", "/bin/echo", "runs"), "runs\n")

    def test_one_of_several_keys_suffices(self):
        self.sign("rsa")
        self.pull(self.demanding(ceiling=["p256", "rsa"]), self.pinned)

    def test_an_image_that_has_no_registry(self):
        host = self.demanding("p256")
        local = "oci:" + image("busybox")
        self.assertEqual(host.run("import", f"{self.name}:local", local).returncode, 0)
        host.ceiling(images={"unpinned": True})
        for source in (local, f"{self.name}:local"):
            with self.subTest(source):
                said = self.run_refused(host, CONFIGURATION, NOT_TRUSTED, "--image", source)
                self.assertIn("asks for a signature", said)
        # That it is here already is no reason to believe it.
        self.not_trusted(host)

    def test_a_key_file_of_the_operators(self):
        self.sign("p256")
        file = self.root / "key_file.pub"
        host = self.demanding()
        host.ceiling(images={"verify": [{"registry": self.proxy.host, "key_file": str(file)}]})
        done = host.run("pull", self.pinned)
        self.assertEqual(done.returncode, CONFIGURATION, done.stderr)
        file.write_text(self.public["p256"])
        file.chmod(0o644)
        self.pull(host, self.pinned)
        file.chmod(0o666)
        done = host.run("pull", self.pinned)
        self.assertEqual(done.returncode, CONFIGURATION, done.stderr)
        self.assertRegex(done.stderr, r"(?m)^reason: config_invalid$")
        self.assertIn("everyone may write it", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
