#!/usr/bin/env python3
"""`cleanroom image pull` from registries that lie, and by way of mirrors: IMG-14, IMG-16, IMG-19, IMG-24.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_pull_attacks_test.py [-v] [TestClass.test_name]
"""
import json
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from pull_case import CONFIGURATION, INDEX, INFRASTRUCTURE, MANIFEST, MIB, ZEROS, PullCase, manifest_of, sha256  # noqa: E402
from registry_rig import BASIC  # noqa: E402


class Hostile(PullCase):
    """IMG-14, IMG-16, IMG-19, IMG-24: a registry that lies."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.rig.open()
        cls.rig.fill(cls.registry, image("busybox"), "org/a:1")
        cls.data, cls.manifest = manifest_of(image("busybox"))
        cls.digest = sha256(cls.data)
        cls.layer, cls.config = cls.manifest["layers"][0], cls.manifest["config"]
        cls.blobs = pathlib.Path(image("busybox").rpartition(":")[0]) / "blobs/sha256"
        cls.proxy = cls.rig.proxy(cls.registry)
        cls.reference = f"{cls.proxy.host}/org/a:1"
        cls.pinned = f"{cls.proxy.host}/org/a@{cls.digest}"

    INVALID = ("image_invalid", "image_pull_failed")

    def setUp(self):
        self.proxy.clear()
        self.mark = self.proxy.mark()

    def changed(self, **keys):
        return json.dumps({**self.manifest, **keys}).encode()

    def serve(self, body, kind=MANIFEST, digest=None):
        """The tag, and its digest, are this from now on. Returns the digest."""
        for reference in ("1", sha256(body)):
            self.proxy.document(f"/v2/org/a/manifests/{reference}", body, kind, digest)
        return sha256(body)

    def serve_blob(self, data):
        self.proxy.document(f"/v2/org/a/blobs/{sha256(data)}", data, "application/octet-stream")
        return {"digest": sha256(data), "size": len(data)}

    def no_layer_asked(self):
        self.assertEqual(self.proxy.seen(self.layer["digest"], since=self.mark), [])

    def test_IMG_14_a_document_or_layer_wrong_in_its_last_byte(self):
        for what, pattern in (("manifest", f"/manifests/{self.digest}"), ("config", self.config["digest"]), ("layer", self.layer["digest"])):
            with self.subTest(what):
                self.proxy.clear()
                rule = self.proxy.fault("flip_last", match=pattern)
                self.refused(self.host(self.proxy), self.pinned, self.INVALID)
                self.assertIn(rule.hits, range(1, 40))
        self.proxy.clear()
        self.same_as_import(self.pull(self.host(self.proxy), self.pinned), image("busybox"))

    def test_IMG_14_sizes_off_by_one(self):
        for key, entry in (("layers", self.layer), ("config", self.config)):
            for step in (-1, 1):
                with self.subTest(key=key, step=step):
                    wrong = {**entry, "size": entry["size"] + step}
                    self.serve(self.changed(**{key: [wrong] if key == "layers" else wrong}))
                    self.refused(self.host(self.proxy), self.reference, self.INVALID)

    def test_IMG_14_a_diff_id_of_something_else(self):
        config = json.loads((self.blobs / self.config["digest"][7:]).read_text())
        for diff_ids in ([ZEROS], [], config["rootfs"]["diff_ids"] * 2):
            with self.subTest(diff_ids):
                data = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
                self.serve(self.changed(config={**self.config, **self.serve_blob(data)}))
                self.refused(self.host(self.proxy), self.reference, "image_invalid", (CONFIGURATION,))

    def test_IMG_14_a_header_that_contradicts_the_manifest(self):
        self.proxy.fault("header", match="/manifests/", method=None, set={"Docker-Content-Digest": ZEROS})
        self.refused(self.host(self.proxy), self.reference, self.INVALID)
        self.no_layer_asked()

    def test_IMG_14_an_index_whose_manifest_is_another(self):
        entry = {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.data), "platform": {"os": "linux", "architecture": "amd64"}}
        for wrong in ({"size": len(self.data) + 1}, {"size": len(self.data) - 1}, {"digest": ZEROS}):
            with self.subTest(wrong):
                self.serve(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**entry, **wrong}]}).encode(), INDEX)
                self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_not_found"))
                self.no_layer_asked()

    def test_IMG_16_types_that_disagree(self):
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
        both = self.changed(manifests=[])
        for what, body, kind in (("text", self.data, "text/html"), ("an index's type", self.data, INDEX), ("a manifest's type", index, MANIFEST),
                                 ("both", both, MANIFEST), ("both", both, INDEX), ("no type within", self.changed(mediaType=INDEX), MANIFEST)):
            with self.subTest(what, kind=kind):
                self.serve(body, kind)
                self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_not_found"))
                self.no_layer_asked()

    def test_IMG_16_an_index_where_a_manifest_was_promised(self):
        inner = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.data), "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()
        self.proxy.document(f"/v2/org/a/manifests/{sha256(inner)}", inner, INDEX)
        for promised in (MANIFEST, INDEX):
            with self.subTest(promised):
                entry = {"mediaType": promised, "digest": sha256(inner), "size": len(inner), "platform": {"os": "linux", "architecture": "amd64"}}
                self.serve(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode(), INDEX)
                self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_not_found"))
                self.no_layer_asked()

    def test_IMG_16_schema_1(self):
        old = json.dumps({"schemaVersion": 1, "name": "org/a", "tag": "1", "architecture": "amd64", "fsLayers": [{"blobSum": self.layer["digest"]}],
                          "history": [{"v1Compatibility": "{}"}]}).encode()
        for kind in ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws", MANIFEST):
            with self.subTest(kind):
                self.serve(old, kind)
                self.refused(self.host(self.proxy), self.reference, self.INVALID)
                self.no_layer_asked()

    def test_IMG_16_documents_without_measure(self):
        self.proxy.fault("oversize", match="/manifests/", size=64 * MIB, times=1)
        self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_limit"))
        self.proxy.clear()
        rule = self.proxy.fault("endless", match="/manifests/", media_type=MANIFEST)
        self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_limit"))
        self.assertLess(max(one["sent"] for one in self.proxy.seen("/manifests/", "GET", self.mark)), 32 * MIB)
        self.assertGreater(rule.hits, 0)
        many = [{"mediaType": MANIFEST, "digest": sha256(str(n).encode()), "size": 2, "platform": {"os": "linux", "architecture": "arm"}} for n in range(50_000)]
        self.proxy.clear()
        self.serve(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}).encode(), INDEX)
        self.refused(self.host(self.proxy), self.reference, (*self.INVALID, "image_limit", "image_not_found"))

    def test_IMG_19_a_credential_does_not_follow_a_redirect(self):
        registry = self.rig.basic()
        self.rig.fill(registry, image("busybox"), "org/a:1", True)
        proxy, other = self.rig.proxy(registry), self.rig.blob_host(registry)
        proxy.fault("redirect", to=f"https://{other.host}/blob/{{hex}}?signature=x")
        host = self.host(proxy, other)
        host.login(proxy)
        self.same_as_import(self.pull(host, f"{proxy.host}/org/a:1"), image("busybox"))
        self.assertIn(BASIC, {one["headers"].get("authorization") for one in proxy.seen()})
        self.assertTrue(other.seen("/blob/"))
        for one in other.seen():
            self.assertFalse({"authorization", "cookie", "proxy-authorization"} & one["headers"].keys(), one)

    def test_IMG_19_a_token_does_not_follow_a_redirect_to_another_port(self):
        registry = self.rig.token()
        self.rig.fill(registry, image("busybox"), "org/a:1", True)
        proxy, other = self.rig.proxy(registry), self.rig.blob_host(registry, "127.0.0.1")
        proxy.fault("redirect", to=f"https://{other.host}/blob/{{hex}}")
        host = self.host(proxy, other)
        host.login(proxy)
        self.pull(host, f"{proxy.host}/org/a:1")
        self.assertTrue(other.seen("/blob/"))
        self.assertEqual({one["headers"].get("authorization") for one in other.seen()}, {None})

    def test_IMG_19_redirects_that_are_not_followed(self):
        plain, other = self.rig.blob_host(self.registry, tls=False), self.rig.blob_host(self.registry)
        for to in ("http://169.254.169.254/latest/meta-data/{hex}", "https://169.254.169.254/{hex}", "https://[fd00:ec2::254]/{hex}",
                   "https://metadata.google.internal/{hex}", f"http://{plain.host}/blob/{{hex}}", "file:///etc/passwd", "ftp://127.0.0.1/x",
                   "gopher://127.0.0.1/x", f"https://user:pw@{other.host}/blob/{{hex}}", f"//{other.host}/blob/{{hex}}", ""):
            with self.subTest(to):
                self.proxy.clear()
                rule = self.proxy.fault("redirect", to=to)
                self.refused(self.host(self.proxy), self.reference, ("image_pull_failed", "redirect_denied", "ip_denied", "image_invalid"))
                self.assertIn(rule.hits, range(1, 20))
        self.assertEqual((plain.seen(), other.seen()), ([], []))

    def test_IMG_19_a_redirect_loop_ends(self):
        rule = self.proxy.fault("redirect", to="{path}")
        self.refused(self.host(self.proxy), self.reference, ("image_pull_failed", "redirect_denied"), (INFRASTRUCTURE, CONFIGURATION))
        self.assertIn(rule.hits, range(2, 80))

    def test_IMG_19_urls_of_foreign_layers_are_not_asked(self):
        canary = self.rig.blob_host(self.registry)
        data = b"nowhere"
        for kind in ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                     self.layer["mediaType"]):
            with self.subTest(kind):
                foreign = {"mediaType": kind, "digest": sha256(data), "size": len(data), "urls": [f"https://{canary.host}/blob/{self.layer['digest'][7:]}"]}
                self.serve(self.changed(layers=[foreign]))
                self.refused(self.host(self.proxy, canary), self.reference, (*self.INVALID, "image_not_found"))
        self.assertEqual((canary.seen(), canary.connections), ([], 0))

    def test_IMG_24_a_tag_that_moves(self):
        other, _ = manifest_of(image("index"))
        self.rig.fill(self.registry, "".join(image("index").rpartition(":")[:2]) + "amd64", "org/moving:1")
        reference = f"{self.proxy.host}/org/moving:1"
        # The registry answers the first question for the tag with one image, all later ones with another.
        self.rig.fill(self.registry, image("busybox"), "org/moving:old")
        self.proxy.fault("status", match="/manifests/1$", method=None, times=1, status=200, body=self.data,
                         headers=[["Content-Type", MANIFEST], ["Docker-Content-Digest", self.digest]])
        host = self.host(self.proxy)
        told = self.pull(host, reference)
        self.assertEqual(told["reference"], f"{self.proxy.host}/org/moving@{told['digest']}")
        self.assertEqual(host.images(), {told["digest"]})
        self.assertIn(told["digest"], (self.digest, sha256(other)))
        if told["digest"] == self.digest:
            self.same_as_import(told, image("busybox"))

    def test_IMG_24_a_digest_never_follows_a_tag(self):
        self.rig.fill(self.registry, image("busybox"), "org/both:1")
        self.rig.fill(self.registry, image("layers"), "org/both:1")
        told = self.pull(self.host(self.proxy), f"{self.proxy.host}/org/both:1@{self.digest}")
        self.same_as_import(told, image("busybox"))
        self.assertEqual({one["path"] for one in self.proxy.seen("/manifests/", since=self.mark)}, {f"/v2/org/both/manifests/{self.digest}"})
        self.proxy.document(f"/v2/org/both/manifests/{self.digest}", *reversed([MANIFEST, manifest_of(image("layers"))[0]]))
        self.refused(self.host(self.proxy), f"{self.proxy.host}/org/both:1@{self.digest}", self.INVALID)


class Mirrors(PullCase):
    """A mirror is asked first; the origin where it has nothing; it is trusted with no more than its own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.origin_registry, cls.mirror_registry = cls.rig.basic(), cls.rig.open()
        cls.rig.fill(cls.origin_registry, image("layers"), "org/a:1", True)
        cls.origin, cls.mirror = cls.rig.proxy(cls.origin_registry), cls.rig.proxy(cls.mirror_registry, "127.0.0.2")
        cls.reference = f"{cls.origin.host}/org/a:1"

    def setUp(self):
        self.mirror.clear()

    def mirrored(self, *mirrors):
        host = self.host()
        host.registry(self.origin, ca_file=self.rig.ca, mirrors=[mirror.host for mirror in mirrors])
        for mirror in mirrors:
            host.registry(mirror, ca_file=self.rig.ca)
        host.login(self.origin)
        return host

    def test_the_mirror_first_and_the_origin_after_it(self):
        self.rig.fill(self.origin_registry, image("layers"), "org/first:1", True)
        reference = f"{self.origin.host}/org/first:1"
        marks = self.origin.mark(), self.mirror.mark()
        told = self.pull(self.mirrored(self.mirror), reference)
        self.same_as_import(told, image("layers"))
        self.assertEqual(told["reference"], f"{self.origin.host}/org/first@{told['digest']}")
        self.assertTrue(self.mirror.seen("/manifests/", since=marks[1]))
        self.assertTrue(self.origin.seen("/blobs/", since=marks[0]))
        self.rig.fill(self.mirror_registry, image("layers"), "org/first:1")
        marks = self.origin.mark(), self.mirror.mark()
        self.same_as_import(self.pull(self.mirrored(self.mirror), reference), image("layers"))
        self.assertEqual(self.origin.seen(since=marks[0]), [])
        # What is the origin's is not shown to its mirror.
        self.assertEqual({one["headers"].get("authorization") for one in self.mirror.seen()}, {None})

    def test_a_mirror_that_fails_or_lies(self):
        self.rig.fill(self.mirror_registry, image("layers"), "org/a:1")
        gone = self.rig.proxy(self.mirror_registry, "127.0.0.3")
        gone.close()
        self.same_as_import(self.pull(self.mirrored(gone), self.reference), image("layers"))
        self.mirror.fault("status", match="", method=None, status=500)
        self.same_as_import(self.pull(self.mirrored(self.mirror), self.reference), image("layers"))
        self.mirror.clear()
        self.mirror.fault("flip_last", times=None)
        host = self.mirrored(self.mirror)
        done = host.run("pull", "--json", self.reference)
        if done.returncode == 0:
            self.same_as_import(json.loads(done.stdout), image("layers"))
        else:
            self.assertEqual(host.images(), set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
