#!/usr/bin/env python3
"""`cleanroom image pull` from real registries (docker-registry, filled by skopeo), in good order and through failures.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_pull_test.py [-v] [TestClass.test_name]
"""
import base64
import hashlib
import itertools
import json
import os
import pathlib
import pty
import subprocess
import sys
import tarfile
import threading
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from pull_case import BIN, CONFIGURATION, INFRASTRUCTURE, MANIFEST, MIB, SECONDS, ZEROS, PullCase, manifest_of, sha256  # noqa: E402
from registry_rig import BASIC, PASSWORD, USER  # noqa: E402


class Registries(PullCase):
    """From every kind of registry, by tag and by digest, in every form that images have."""

    def test_open_by_tag_and_by_digest(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("busybox"), "org/busybox:1")
        host = self.host(registry)
        done = host.run("pull", f"{registry.host}/org/busybox:1")
        self.assertEqual((done.returncode, done.stdout), (0, f"{registry.host}/org/busybox@{digest}\n"), done.stderr)
        told = self.pull(self.host(registry), f"{registry.host}/org/busybox@{digest}")
        self.assertEqual((told["digest"], told["reference"]), (digest, f"{registry.host}/org/busybox@{digest}"))
        self.same_as_import(told, image("busybox"))
        self.assertEqual(told["config"]["env"], ["PATH=/bin"])
        self.assertEqual(host.images(), {digest})
        self.assertEqual(json.loads(host.run("inspect", digest).stdout)["digest"], digest)

    def test_an_index_gives_the_platforms_manifest(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("index"), "org/index:1", False, "--all")
        own = sha256(manifest_of(image("index"))[0])
        for reference in (f"{registry.host}/org/index:1", f"{registry.host}/org/index@{digest}"):
            told = self.pull(self.host(registry), reference)
            self.assertEqual((told["digest"], told["reference"]), (own, f"{registry.host}/org/index@{digest}"))
        told = self.pull(self.host(registry), f"{registry.host}/org/index@{own}")
        self.assertEqual((told["digest"], told["reference"]), (own, f"{registry.host}/org/index@{own}"))

    def test_docker_schema_2(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("everything"), "org/docker:1", False, "--format", "v2s2")
        self.assertEqual(self.rig.manifest(registry, "org/docker:1")[1], "application/vnd.docker.distribution.manifest.v2+json")
        told = self.pull(self.host(registry), f"{registry.host}/org/docker:1")
        self.assertEqual(told["digest"], digest)
        oci = self.rig.fill(registry, image("everything"), "org/oci:1")
        other = self.pull(self.host(registry), f"{registry.host}/org/oci@{oci}")
        listed = [subprocess.run([BIN / "image_list", one["rootfs"]], capture_output=True, timeout=SECONDS, check=True).stdout for one in (told, other)]
        self.assertGreater(len(listed[0]), 100_000)
        self.assertEqual(listed[0], listed[1])
        several = self.rig.fill(registry, image("index"), "org/list:1", False, "--all", "--format", "v2s2")
        self.assertEqual(self.rig.manifest(registry, "org/list:1")[1], "application/vnd.docker.distribution.manifest.list.v2+json")
        told = self.pull(self.host(registry), f"{registry.host}/org/list:1")
        self.assertEqual(told["reference"], f"{registry.host}/org/list@{several}")
        listed = subprocess.run([BIN / "image_list", told["rootfs"]], capture_output=True, timeout=SECONDS, check=True, text=True).stdout
        [platform] = [one for one in map(json.loads, listed.splitlines()) if bytes.fromhex(one["path"]) == b"platform"]
        self.assertEqual(platform["sha256"], hashlib.sha256(b"amd64").hexdigest())

    def test_gzip_zstd_and_plain_layers_and_many(self):
        registry = self.rig.open()
        host = self.host(registry)
        for name in ("everything", "zstd", "plain", "layers", "odd", "hardlinks", "sparse"):
            with self.subTest(name):
                digest = self.rig.fill(registry, image(name), f"org/{name}:1")
                told = self.pull(host, f"{registry.host}/org/{name}:1")
                self.assertEqual(told["digest"], digest)
                self.same_as_import(told, image(name))

    def test_plain_http_only_when_the_operator_says_so(self):
        registry = self.rig.plain()
        self.rig.fill(registry, image("busybox"), "org/busybox:1")
        proxy = self.rig.proxy(registry, tls=False)
        reference = f"{proxy.host}/org/busybox:1"
        for host in (self.host(), self.host(proxy)):
            self.refused(host, reference, "image_pull_failed", (INFRASTRUCTURE,))
        self.assertEqual(proxy.seen(), [])
        host = self.host()
        host.registry(proxy, insecure=True)
        self.same_as_import(self.pull(host, reference), image("busybox"))

    def test_a_certificate_that_nobody_vouches_for(self):
        registry = self.rig.open()
        self.rig.fill(registry, image("busybox"), "org/busybox:1")
        self.refused(self.host(), f"{registry.host}/org/busybox:1", ("image_pull_failed", "upstream_untrusted"), (INFRASTRUCTURE,))
        # A pipeline's variables do not choose authorities.
        self.refused(self.host(), f"{registry.host}/org/busybox:1", ("image_pull_failed", "upstream_untrusted"), (INFRASTRUCTURE,),
                     SSL_CERT_FILE=str(self.rig.ca), CURL_CA_BUNDLE=str(self.rig.ca))

    def test_what_is_there_is_not_pulled_again(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("busybox"), "org/busybox:1")
        proxy = self.rig.proxy(registry)
        host = self.host(proxy)
        self.pull(host, f"{proxy.host}/org/busybox:1")
        mark = proxy.mark()
        self.pull(host, f"{proxy.host}/org/busybox:1")
        self.assertEqual(proxy.seen("/blobs/", since=mark), [])
        mark = proxy.mark()
        self.assertEqual(self.pull(host, f"{proxy.host}/org/busybox@{digest}")["digest"], digest)
        self.assertEqual(proxy.seen("/blobs/", since=mark), [])
        self.assertLessEqual(len(proxy.seen(since=mark)), 1)


class Logins(PullCase):
    """Basic and token, by the operator's bindings and by Docker's file; a login goes where it belongs and nowhere else."""

    def test_basic(self):
        registry = self.rig.basic()
        self.rig.fill(registry, image("busybox"), "org/busybox:1", True)
        proxy = self.rig.proxy(registry)
        reference = f"{proxy.host}/org/busybox:1"
        self.refused(self.host(proxy), reference, "image_access_denied")
        host = self.host(proxy)
        host.login(proxy)
        self.same_as_import(self.pull(host, reference), image("busybox"))
        host = self.host(proxy)
        host.docker_login(proxy, auth=base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        self.pull(host, reference)
        host = self.host(proxy)
        host.login(proxy, password="wrong")
        mark = proxy.mark()
        self.refused(host, reference, "image_access_denied")
        self.assertLess(len(proxy.seen(since=mark)), 5)
        host = self.host(proxy)
        host.login(proxy, paths=["other/*"])
        mark = proxy.mark()
        self.refused(host, reference, ("image_access_denied", "secret_scope_violation"))
        self.assertEqual({one["headers"].get("authorization") for one in proxy.seen(since=mark)}, {None})

    def test_a_credential_helper(self):
        """Docker's programs for credentials: which one config.json names, and what it is asked."""
        registry = self.rig.basic()
        self.rig.fill(registry, image("busybox"), "org/busybox:1", True)
        proxy = self.rig.proxy(registry)
        reference = f"{proxy.host}/org/busybox:1"
        programs = self.root / "programs"
        programs.mkdir()
        asked = programs / "asked"
        for name, secret in (("good", PASSWORD), ("bad", "wrong")):
            helper = programs / f"docker-credential-{name}"
            answer = json.dumps({"ServerURL": proxy.host, "Username": USER, "Secret": secret})
            helper.write_text(f"#!/bin/sh\necho \"{name} $* $(cat)\" >>'{asked}'\necho '{answer}'\n")
            helper.chmod(0o755)
        for config, reason in (({"credHelpers": {proxy.host: "good"}}, None), ({"credsStore": "good"}, None), ({"credsStore": "bad", "credHelpers": {proxy.host: "good"}}, None),
                               ({"credHelpers": {proxy.host: "bad"}}, "image_access_denied"), ({"credHelpers": {proxy.host: "missing"}}, "credential_unavailable")):
            with self.subTest(config):
                host = self.host(proxy)
                host.environment["PATH"] = f"{programs}:{host.environment['PATH']}"
                (host.folder / "docker/config.json").write_text(json.dumps(config))
                asked.write_text("")
                if reason:
                    self.refused(host, reference, reason)
                else:
                    self.same_as_import(self.pull(host, reference), image("busybox"))
                    self.assertEqual(asked.read_text(), f"good get {proxy.host}\n")

    def test_token(self):
        for options in ({"algorithm": "ES256"}, {"algorithm": "RS256", "field": "access_token"}):
            registry = self.rig.token(**options)
            self.rig.fill(registry, image("layers"), "org/layers:1", True)
            proxy = self.rig.proxy(registry)
            host = self.host(proxy)
            host.login(proxy)
            before = len(registry.tokens.requests)
            self.same_as_import(self.pull(host, f"{proxy.host}/org/layers:1"), image("layers"))
            asked = registry.tokens.requests[before:]
            self.assertEqual({(one["login"], tuple(one["scopes"])) for one in asked}, {("basic", ("repository:org/layers:pull",))})
            self.assertLessEqual(len(asked), 2)
            # The password goes to the token service, never to the registry.
            self.assertNotIn(BASIC, {one["headers"].get("authorization") for one in proxy.seen()})
            self.refused(self.host(proxy), f"{proxy.host}/org/layers:1", "image_access_denied")

    def test_an_anonymous_token(self):
        registry = self.rig.token(public=("org/public",))
        self.rig.fill(registry, image("busybox"), "org/public:1", True)
        before = len(registry.tokens.requests)
        self.same_as_import(self.pull(self.host(registry), f"{registry.host}/org/public:1"), image("busybox"))
        self.assertEqual({one["login"] for one in registry.tokens.requests[before:]}, {None})

    def test_a_refresh_token(self):
        registry = self.rig.token()
        self.rig.fill(registry, image("busybox"), "org/busybox:1", True)
        host = self.host(registry)
        refresh = registry.tokens.refresh_token(USER)
        host.docker_login(registry, identitytoken=refresh, auth=base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode())
        before = len(registry.tokens.requests)
        self.pull(host, f"{registry.host}/org/busybox:1")
        self.assertEqual({(one["method"], one["login"]) for one in registry.tokens.requests[before:]}, {("POST", "refresh_token")})

    def test_a_token_that_expires_on_the_way(self):
        registry = self.rig.token()
        self.rig.fill(registry, image("layers"), "org/layers:1", True)
        proxy = self.rig.proxy(registry)
        host = self.host(proxy)
        host.login(proxy)
        challenge = f'Bearer realm="{registry.tokens.realm}",service="{registry.tokens.service}",scope="repository:org/layers:pull",error="invalid_token"'
        rule = proxy.fault("status", times=1, status=401, headers=[["WWW-Authenticate", challenge]])
        before = len(registry.tokens.requests)
        self.same_as_import(self.pull(host, f"{proxy.host}/org/layers:1"), image("layers"))
        self.assertEqual(rule.hits, 1)
        self.assertIn(len(registry.tokens.requests) - before, (2, 3))

    def test_a_token_service_elsewhere_is_the_operators_to_allow(self):
        registry = self.rig.token(address="127.0.0.2")
        self.rig.fill(registry, image("busybox"), "org/busybox:1", True)
        before = len(registry.tokens.requests)
        host = self.host(registry)
        host.login(registry)
        self.refused(host, f"{registry.host}/org/busybox:1", "image_access_denied")
        self.assertEqual([one for one in registry.tokens.requests[before:] if one["login"]], [])
        host = self.host(registry, token_realm=registry.tokens.host)
        host.login(registry)
        self.pull(host, f"{registry.host}/org/busybox:1")


class Noise(PullCase):
    """One image with a large layer behind a proxy."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.rig.open()
        cls.rig.fill(cls.registry, image("noise"), "org/noise:1")
        cls.digest = sha256(manifest_of(image("noise"))[0])
        cls.large, cls.small = manifest_of(image("noise"))[1]["layers"]
        cls.proxy = cls.rig.proxy(cls.registry)
        cls.reference = f"{cls.proxy.host}/org/noise:1"

    def setUp(self):
        self.proxy.clear()
        self.mark = self.proxy.mark()

    def good(self, host=None, **environment):
        told = self.pull(host or self.host(self.proxy), self.reference, **environment)
        self.same_as_import(told, image("noise"))
        return told

    def bytes_sent(self):
        return self.proxy.sent(self.large["digest"], self.mark)


class Downloads(Noise):
    def test_ranges_in_parallel(self):
        self.proxy.most_blobs = 0
        self.good()
        ranges = {one["range"] for one in self.proxy.seen(self.large["digest"], "GET", self.mark)}
        self.assertGreater(len(ranges - {None}), 1)
        self.assertGreater(self.proxy.most_blobs, 1)
        self.assertLess(self.bytes_sent(), self.large["size"] + MIB)

    def test_a_registry_without_ranges(self):
        rule = self.proxy.fault("ignore_range")
        self.good()
        self.assertGreater(rule.hits, 0)

    def test_resumed_after_a_reset(self):
        for fault in ("reset", "truncate"):
            with self.subTest(fault):
                self.proxy.clear()
                self.mark = self.proxy.mark()
                rule = self.proxy.fault(fault, match=self.large["digest"], after=3 * MIB, times=2)
                self.good()
                self.assertGreater(rule.hits, 0)
                self.assertLess(self.bytes_sent(), self.large["size"] + 12 * MIB)

    def test_429_and_503_are_tried_again(self):
        for pattern in ("/manifests/", "/blobs/"):
            for status, headers in ((503, []), (429, [["Retry-After", "1"]]), (502, [])):
                with self.subTest(pattern=pattern, status=status):
                    self.proxy.clear()
                    rule = self.proxy.fault("status", match=pattern, method=None, times=2, status=status, headers=headers)
                    self.good()
                    self.assertEqual(rule.hits, 2)

    def test_a_registry_that_stays_ill(self):
        for pattern in ("/manifests/", "/blobs/"):
            self.proxy.clear()
            rule = self.proxy.fault("status", match=pattern, method=None, status=503)
            self.refused(self.host(self.proxy), self.reference, "image_pull_failed", (INFRASTRUCTURE,))
            self.assertIn(rule.hits, range(2, 80))

    def test_bodies_that_always_break_off(self):
        self.proxy.fault("truncate", match=self.large["digest"], after=0)
        self.refused(self.host(self.proxy), self.reference, "image_pull_failed", (INFRASTRUCTURE,))

    def test_a_pause_is_waited_for(self):
        rule = self.proxy.fault("stall", match=self.large["digest"], after=MIB, times=1, seconds=3)
        self.good()
        self.assertEqual(rule.hits, 1)

    def test_what_stands_still_is_given_up_and_resumed(self):
        rule = self.proxy.fault("stall", match=self.large["digest"], after=MIB, times=1, seconds=SECONDS)
        self.good()
        self.assertEqual(rule.hits, 1)
        self.assertLess(self.bytes_sent(), self.large["size"] + 12 * MIB)

    def test_a_wrong_content_range_is_not_believed(self):
        for value in ("bytes 0-0/1", "bytes 5-9/10", "bytes */40", "garbage"):
            with self.subTest(value):
                self.proxy.clear()
                self.proxy.fault("header", match=self.large["digest"], from_byte=1, set={"Content-Range": value})
                host = self.host(self.proxy)
                done = host.run("pull", "--json", self.reference)
                if done.returncode == 0:
                    self.same_as_import(json.loads(done.stdout), image("noise"))
                else:
                    self.assertIn("image_pull_failed", done.stdout + done.stderr)
                    self.assertEqual((host.images(), host.large_files()), (set(), []))

    def test_answers_that_are_final(self):
        for pattern in ("/manifests/", "/blobs/"):
            for status, reason in ((404, "image_not_found"), (401, "image_access_denied"), (403, "image_access_denied")):
                with self.subTest(pattern=pattern, status=status):
                    self.proxy.clear()
                    rule = self.proxy.fault("status", match=pattern, method=None, status=status)
                    # A blob that is missing behind a good manifest is the registry's failure.
                    reasons = (reason, "image_pull_failed") if pattern == "/blobs/" else reason
                    self.refused(self.host(self.proxy), self.reference, reasons)
                    self.assertLess(rule.hits, 8)
        self.proxy.clear()
        self.refused(self.host(self.proxy), f"{self.proxy.host}/org/none:1", "image_not_found", (INFRASTRUCTURE,))
        self.refused(self.host(self.proxy), f"{self.proxy.host}/org/noise:none", "image_not_found", (INFRASTRUCTURE,))
        self.refused(self.host(self.proxy), f"{self.proxy.host}/org/noise@{ZEROS}", "image_not_found", (INFRASTRUCTURE,))

    def test_a_name_that_nobody_has(self):
        self.refused(self.host(), "registry.invalid/org/noise:1", "image_pull_failed", (INFRASTRUCTURE,))

    def test_nobody_listens(self):
        gone = self.rig.proxy(self.registry)
        gone.close()
        self.refused(self.host(gone), f"{gone.host}/org/noise:1", "image_pull_failed", (INFRASTRUCTURE,))

    def test_bad_references(self):
        for reference in ("", "org/UPPER:1", "org/noise@sha256:12", "org/noise@md5:" + "0" * 32, "https://a/b:1", "a/../b:1"):
            with self.subTest(reference):
                self.refused(self.host(self.proxy), reference, "image_ref_invalid", (CONFIGURATION,))
        self.assertEqual(self.proxy.seen(since=self.mark), [])

    def test_the_proxy_of_the_host(self):
        proxy = self.rig.connect_proxy()
        self.good(HTTPS_PROXY="http://" + proxy.host)
        self.assertEqual({one["path"] for one in proxy.seen(method="CONNECT")}, {self.proxy.host})
        mark = proxy.mark()
        self.good(HTTPS_PROXY="http://" + proxy.host, NO_PROXY="127.0.0.1")
        self.assertEqual(proxy.seen(since=mark), [])

    def test_a_second_image_brings_only_what_is_new(self):
        self.rig.fill(self.registry, image("noise_2"), "org/noise:2")
        host = self.host(self.proxy)
        self.good(host)
        mark = self.proxy.mark()
        told = self.pull(host, f"{self.proxy.host}/org/noise:2")
        self.same_as_import(told, image("noise_2"))
        self.assertEqual(self.proxy.seen(self.large["digest"] + "|" + self.small["digest"], since=mark), [])
        self.assertEqual(self.proxy.sent("/blobs/", mark) < 2 * MIB, True)


class Memory(PullCase):
    """What a pull holds in memory does not grow with the image."""

    def large_layout(self, size):
        """One layer of a file of `size` bytes, not compressed, as OCI layout."""
        folder = self.root / "large"
        (folder / "blobs/sha256").mkdir(parents=True)

        def put(parts, media_type):
            hasher, length = hashlib.sha256(), 0
            with open(folder / "new", "wb") as out:
                for part in parts:
                    hasher.update(part)
                    length += out.write(part)
            (folder / "new").rename(folder / "blobs/sha256" / hasher.hexdigest())
            return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{hasher.hexdigest()}", "size": length}

        def document(value, media_type):
            return put([json.dumps(value).encode()], media_type)

        file = tarfile.TarInfo("noise")
        file.size = size
        # Never whole in memory: what a child has used at most counts from before its exec.
        layer = put(itertools.chain([file.tobuf()], (os.urandom(MIB) for _ in range(size // MIB)), [bytes(10240)]), "layer.v1.tar")
        config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer], "config": document(config, "config.v1+json")}
        described = {**document(manifest, "manifest.v1+json"), "annotations": {"org.opencontainers.image.ref.name": "t"}}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
        (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
        return f"{folder}:t"

    def test_a_pull_of_384_mib(self):
        registry = self.rig.open()
        self.rig.fill(registry, self.large_layout(384 * MIB), "org/large:1")
        process = self.host(registry).start("pull", "--quiet", f"{registry.host}/org/large:1")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual((process.returncode, process.stderr.read()), (0, ""))
        process.stdout.close()
        process.stderr.close()
        # The window of downloads is 48 MiB, rings and the program come to 40.
        self.assertLess(used.ru_maxrss, 160 << 10)


class Processes(Noise):
    """Several pulls at once, pulls that are killed, and what people see of one."""

    def test_FLT_13_fifty_at_once_download_once(self):
        rule = self.proxy.fault("stall", match=self.large["digest"], after=MIB, times=1)
        host = self.host(self.proxy)
        first = host.start("pull", self.reference)
        self.assertTrue(rule.reached.wait(SECONDS))
        mark = self.proxy.mark()
        others = [host.start("pull", self.reference) for _ in range(49)]
        self.assertTrue(self.proxy.await_seen("/manifests/", len(others), mark, SECONDS))
        rule.release.set()
        done = [host.finish(process) for process in (first, *others)]
        self.assertEqual({one.returncode for one in done}, {0}, [one.stderr for one in done])
        self.assertEqual({one.stdout for one in done}, {f"{self.proxy.host}/org/noise@{self.digest}\n"})
        self.assertLess(self.bytes_sent(), self.large["size"] + MIB)
        self.good(host)

    def test_killed_on_the_way_and_again(self):
        for after in (0, 2 * MIB):
            with self.subTest(after):
                self.proxy.clear()
                rule = self.proxy.fault("stall", match=self.large["digest"], after=after, times=1)
                host = self.host(self.proxy)
                process = host.start("pull", self.reference)
                self.assertTrue(rule.reached.wait(SECONDS))
                process.kill()
                host.finish(process)
                self.assertEqual(host.images(), set())
                self.proxy.clear()
                told = self.good(host)
                self.assertEqual(host.images(), {self.digest})
                kept = sum(os.stat(path).st_blocks * 512 for path in host.large_files())
                self.assertLess(kept, 1.5 * os.stat(told["rootfs"]).st_blocks * 512, host.large_files())

    def test_a_waiter_goes_on_when_the_first_is_killed(self):
        rule = self.proxy.fault("stall", match=self.large["digest"], after=MIB, times=1)
        host = self.host(self.proxy)
        first = host.start("pull", self.reference)
        self.assertTrue(rule.reached.wait(SECONDS))
        mark = self.proxy.mark()
        second = host.start("pull", self.reference)
        self.assertTrue(self.proxy.await_seen("/manifests/", since=mark))
        first.kill()
        host.finish(first)
        done = host.finish(second)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.good(host)

    def test_a_cancelled_pull_leaves_nothing(self):
        rule = self.proxy.fault("stall", match=self.large["digest"], after=MIB, times=1)
        host = self.host(self.proxy)
        process = host.start("pull", self.reference)
        self.assertTrue(rule.reached.wait(SECONDS))
        process.terminate()
        self.assertNotEqual(host.finish(process).returncode, 0)
        self.assertEqual(host.images(), set())

    def test_plain_lines_in_a_log(self):
        host = self.host(self.proxy)
        done = host.run("pull", self.reference)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotRegex(done.stderr, r"[\r\x1b\x08]")
        self.assertRegex(done.stderr, r"\S")
        self.assertLess(len(done.stderr.splitlines()), 100)
        self.assertEqual(done.stdout.count("\n"), 1)

    def test_bars_on_a_terminal(self):
        self.proxy.fault("slow", match=self.small["digest"], rate=100_000)
        host = self.host(self.proxy)
        near, far = pty.openpty()
        process = subprocess.Popen([BIN / "cleanroom", "image", "pull", self.reference], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=far, env={**host.environment, "TERM": "xterm", "LANG": "C.UTF-8"})
        os.close(far)
        seen = bytearray()

        def read():
            try:
                while data := os.read(near, 65536):
                    seen.extend(data)
            except OSError:
                pass  # the terminal's other end is closed

        reader = threading.Thread(target=read)
        reader.start()
        out = process.communicate(timeout=SECONDS)[0]
        reader.join(SECONDS)
        os.close(near)
        self.assertEqual(process.returncode, 0, bytes(seen))
        self.assertEqual(out.decode(), f"{self.proxy.host}/org/noise@{self.digest}\n")
        self.assertRegex(bytes(seen), rb"\r[^\n]|\x1b\[")
        self.assertRegex(bytes(seen), rb"\d+ ?%|[KM]i?B")


if __name__ == "__main__":
    unittest.main(verbosity=2)
