#!/usr/bin/env python3
"""The rig itself, with clients that are not ours: skopeo fills and reads every kind of registry, requests see every fault.

usage: self_test.py [-v] [TestClass.test_name]
"""
import contextlib
import hashlib
import http.client
import json
import pathlib
import ssl
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "image_factory")]
from image_factory import image  # noqa: E402
from registry_rig import BASIC, PASSWORD, USER, Rig  # noqa: E402

SECONDS = 20


class RigCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="cleanroom-rig-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.rig = Rig(pathlib.Path(cls.temporary.name) / "rig")
        cls.addClassCleanup(cls.rig.close)

    def back(self, registry, name, *options, check=True):
        """skopeo copies an image out again; its layers' digests."""
        out = self.rig._folder("back")
        done = self.rig.skopeo("copy", "-q", "--insecure-policy", "--src-cert-dir", self.rig.certificates, *options,
                               f"docker://{registry.host}/{name}", f"oci:{out}:t", check=check)
        if done.returncode != 0:
            return done
        index = json.loads((out / "index.json").read_text())
        blob = lambda digest: (out / "blobs/sha256" / digest[7:]).read_bytes()
        return [layer["digest"] for layer in json.loads(blob(index["manifests"][0]["digest"]))["layers"]]

    def get(self, server, path, headers=None, method="GET"):
        """One request to a proxy of the rig: (status, headers, body or the exception that ended it)."""
        host, port = server.host.split(":")
        if server.tls:
            connection = http.client.HTTPSConnection(host, int(port), timeout=SECONDS, context=self.rig.trusting)
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        try:
            connection.request(method, path, headers={"Accept": "application/vnd.oci.image.manifest.v1+json", **(headers or {})})
            answer = connection.getresponse()
            try:
                body = answer.read()
            except (http.client.IncompleteRead, OSError) as error:
                body = error
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
        finally:
            connection.close()


class Registries(RigCase):
    def test_open_and_plain(self):
        for registry in (self.rig.open(), self.rig.plain()):
            digest = self.rig.fill(registry, image("busybox"), "org/busybox:1")
            body, kind = self.rig.manifest(registry, "org/busybox:1")
            self.assertEqual(digest, "sha256:" + hashlib.sha256(body).hexdigest())
            self.assertEqual(kind, "application/vnd.oci.image.manifest.v1+json")
        self.assertEqual(len(self.back(registry, "org/busybox:1", "--src-tls-verify=false")), 1)

    def test_an_index_and_docker_schema_2(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("index"), "org/index:1", False, "--all")
        self.assertEqual(self.rig.manifest(registry, "org/index@" + digest)[1], "application/vnd.oci.image.index.v1+json")
        self.rig.fill(registry, image("busybox"), "org/docker:1", False, "--format", "v2s2")
        self.assertEqual(self.rig.manifest(registry, "org/docker:1")[1], "application/vnd.docker.distribution.manifest.v2+json")

    def test_basic_auth(self):
        registry = self.rig.basic()
        self.rig.fill(registry, image("busybox"), "org/busybox:1", True)
        status, fields, _ = self.rig.request(registry, "GET", "/v2/org/busybox/manifests/1")
        self.assertEqual((status, fields["www-authenticate"]), (401, 'Basic realm="test"'))
        self.assertEqual(self.rig.request(registry, "GET", "/v2/", headers={"Authorization": BASIC})[0], 200)
        self.assertNotEqual(self.back(registry, "org/busybox:1", "--src-creds", USER + ":wrong", check=False).returncode, 0)
        self.assertEqual(len(self.back(registry, "org/busybox:1", "--src-creds", f"{USER}:{PASSWORD}")), 1)

    def test_token_auth(self):
        for options in ({"algorithm": "ES256", "public": ("org/public",)}, {"algorithm": "RS256", "field": "access_token"}):
            registry = self.rig.token(**options)
            self.rig.fill(registry, image("busybox"), "org/private:1", True)
            self.assertEqual({one["login"] for one in registry.tokens.requests}, {"basic"})
            status, fields, _ = self.rig.request(registry, "GET", "/v2/org/private/manifests/1")
            self.assertEqual(status, 401)
            self.assertIn(f'Bearer realm="{registry.tokens.realm}",service="{registry.tokens.service}"', fields["www-authenticate"])
            self.assertIn('scope="repository:org/private:pull"', fields["www-authenticate"])
            self.assertNotEqual(self.back(registry, "org/private:1", check=False).returncode, 0)
            self.assertEqual(len(self.back(registry, "org/private:1", "--src-creds", f"{USER}:{PASSWORD}")), 1)

    def test_refresh_tokens_and_refusals(self):
        registry = self.rig.token(public=("org/public",))
        self.rig.fill(registry, image("busybox"), "org/private:1", True)
        self.rig.fill(registry, image("busybox"), "org/public:1", True)

        def ask(method, headers=None, **fields):
            query = urllib.parse.urlencode({"service": registry.tokens.service, **fields})
            connection = http.client.HTTPSConnection(*registry.tokens.host.split(":"), timeout=SECONDS, context=self.rig.trusting)
            connection.request(method, "/token" + ("?" + query if method == "GET" else ""), query if method == "POST" else None, headers or {})
            answer = connection.getresponse()
            with contextlib.closing(connection):
                return answer.status, json.loads(answer.read())

        def pulls(token, repository):
            return self.rig.request(registry, "GET", f"/v2/{repository}/manifests/1", headers={"Authorization": "Bearer " + token})[0]

        scope = "repository:org/private:pull"
        refresh = registry.tokens.refresh_token("robot")
        status, told = ask("POST", grant_type="refresh_token", refresh_token=refresh, client_id="x", scope=scope)
        self.assertEqual((status, pulls(told["access_token"], "org/private"), pulls(told["access_token"], "org/public")), (200, 200, 401))
        self.assertEqual(ask("POST", grant_type="refresh_token", refresh_token="wrong", client_id="x", scope=scope)[0], 401)
        self.assertEqual(ask("POST", grant_type="refresh_token", refresh_token=refresh, scope=scope)[0], 401)
        self.assertEqual(ask("GET", {"Authorization": "Basic eDp5"}, scope=scope)[0], 401)
        for name, expected in (("org/private", 401), ("org/public", 200)):
            told = ask("GET", scope=f"repository:{name}:pull")[1]
            self.assertEqual(pulls(told["token"], name), expected)
        self.assertEqual([one["login"] for one in registry.tokens.requests[-5:]], ["refresh_token", "refresh_token", "basic", None, None])


class Faults(RigCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.rig.open()
        cls.rig.fill(cls.registry, image("busybox"), "org/busybox:1")
        manifest = json.loads(cls.rig.manifest(cls.registry, "org/busybox:1")[0])
        cls.layer = manifest["layers"][0]
        cls.path = "/v2/org/busybox/blobs/" + cls.layer["digest"]
        cls.proxy = cls.rig.proxy(cls.registry)

    def setUp(self):
        self.proxy.clear()

    def test_nothing_changes_without_a_fault(self):
        mark = self.proxy.mark()
        self.assertEqual(self.back(self.proxy, "org/busybox:1"), [self.layer["digest"]])
        self.assertEqual(self.proxy.sent("blobs/" + self.layer["digest"], mark), self.layer["size"])
        status, fields, body = self.get(self.proxy, self.path, {"Range": "bytes=10-19"})
        self.assertEqual((status, len(body), fields["content-range"]), (206, 10, f"bytes 10-19/{self.layer['size']}"))
        self.assertEqual(self.proxy.seen("blobs")[-1]["range"], "bytes=10-19")
        self.assertEqual(self.get(self.proxy, self.path, method="HEAD")[1]["content-length"], str(self.layer["size"]))
        self.assertEqual(self.get(self.proxy, "/v2/org/none/manifests/1")[0], 404)

    def test_bodies_that_break_off(self):
        self.proxy.fault("truncate", after=1000, times=1)
        body = self.get(self.proxy, self.path)[2]
        self.assertIsInstance(body, http.client.IncompleteRead)
        self.assertEqual(len(body.partial), 1000)
        self.proxy.fault("reset", after=70_000, times=1)
        # Python's TLS tells a reset from an early end only where no record was cut.
        self.assertIsInstance(self.get(self.proxy, self.path)[2], (OSError, http.client.IncompleteRead))
        self.assertEqual(self.proxy.seen("blobs")[-1]["sent"], 70_000)
        rule = self.proxy.fault("stall", after=100, times=1)
        found = []
        thread = threading.Thread(target=lambda: found.append(self.get(self.proxy, self.path)[2]))
        thread.start()
        self.assertTrue(rule.reached.wait(SECONDS))
        self.assertEqual(self.proxy.seen("blobs")[-1]["sent"], 100)
        rule.release.set()
        thread.join(SECONDS)
        self.assertEqual(len(found[0]), self.layer["size"])

    def test_wrong_bodies(self):
        good = self.get(self.proxy, self.path)[2]
        self.assertEqual("sha256:" + hashlib.sha256(good).hexdigest(), self.layer["digest"])
        self.proxy.fault("flip_last", times=1)
        bad = self.get(self.proxy, self.path)[2]
        self.assertEqual((bad[:-1], len(bad), bad == good), (good[:-1], len(good), False))
        self.proxy.fault("oversize", match="manifests", times=1, size=1 << 20)
        self.assertGreater(len(self.get(self.proxy, "/v2/org/busybox/manifests/1")[2]), 1 << 20)
        self.proxy.fault("slow", rate=4 * self.layer["size"], times=1)
        start = time.monotonic()
        self.assertEqual(self.get(self.proxy, self.path)[2], good)
        self.assertGreater(time.monotonic() - start, 0.1)

    def test_statuses_headers_and_ranges(self):
        self.proxy.fault("status", status=503, times=2)
        self.proxy.fault("status", status=429, headers=[["Retry-After", "1"]], times=1)
        self.assertEqual([self.get(self.proxy, self.path)[0] for _ in range(4)], [503, 503, 429, 200])
        self.proxy.fault("ignore_range", times=1)
        status, fields, body = self.get(self.proxy, self.path, {"Range": "bytes=10-19"})
        self.assertEqual((status, len(body), "content-range" in fields), (200, self.layer["size"], False))
        self.proxy.fault("header", match="manifests", set={"Content-Type": "text/html", "Docker-Content-Digest": "sha256:" + "0" * 64}, times=1)
        fields = self.get(self.proxy, "/v2/org/busybox/manifests/1")[1]
        self.assertEqual((fields["content-type"], fields["docker-content-digest"]), ("text/html", "sha256:" + "0" * 64))

    def test_redirects_to_another_host(self):
        other = self.rig.blob_host(self.registry)
        rule = self.proxy.fault("redirect", to=f"{other.scheme}://{other.host}/blob/{{hex}}?sig=1")
        self.assertEqual(self.back(self.proxy, "org/busybox:1"), [self.layer["digest"]])
        self.assertGreaterEqual(rule.hits, 1)
        self.assertEqual(other.sent(self.layer["digest"][7:]), self.layer["size"])
        self.assertNotIn("authorization", other.seen()[-1]["headers"])
        status, fields, body = self.get(other, "/blob/" + self.layer["digest"][7:], {"Range": "bytes=5-"})
        self.assertEqual((status, len(body)), (206, self.layer["size"] - 5))

    def test_documents(self):
        self.proxy.document("/v2/a/manifests/1", b"{}", "application/json", digest="sha256:" + "1" * 64)
        status, fields, body = self.get(self.proxy, "/v2/a/manifests/1")
        self.assertEqual((status, fields["content-type"], fields["docker-content-digest"], body), (200, "application/json", "sha256:" + "1" * 64, b"{}"))

    def test_a_proxy_of_the_host(self):
        proxy = self.rig.connect_proxy()
        connection = http.client.HTTPSConnection(*proxy.host.split(":"), timeout=SECONDS, context=self.rig.trusting)
        connection.set_tunnel("127.0.0.1", self.registry.port)
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read()), (200, b"{}"))
        connection.close()
        self.assertEqual([one["path"] for one in proxy.seen(method="CONNECT")], [f"127.0.0.1:{self.registry.port}"])

    def test_what_is_not_trusted(self):
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.registry.port, timeout=SECONDS, context=context)
        self.assertRaises(ssl.SSLCertVerificationError, connection.request, "GET", "/v2/")


if __name__ == "__main__":
    unittest.main(verbosity=2)
