#!/usr/bin/env python3
"""Real git-lfs, and a guest that writes its own requests, against an LFS server through the gateway; no VM.

usage: CLEANROOM_BIN_DIR=build/dev/bin git_lfs_test.py [-v] [TestClass.test_name]
"""
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/gateway_rig"))
from gateway_rig import Farm, Rig, bare_repository  # noqa: E402
from raw_http import HOST, Tunnel  # noqa: E402

CANARY = "Bearer canary-lfs-03d97ab2e1"
POLICY = ('version: 1\nsandbox: {network: {default: deny%s}}\ngit:\n  allow:\n    - {host: git.test, repositories: ["org/*"], lfs: %s}\n')
ALLOW_OTHER = ', allow: [{host: other.test, ports: [443]}]'
# Without the limit git-lfs asks for a minute and more for what it was refused.
FILTER = ("-c", "lfs.transfer.maxretries=1", "-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.required=true")
MEDIA = b"Content-Type: application/vnd.git-lfs+json\r\nAccept: application/vnd.git-lfs+json\r\n"


class Lfs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="cleanroom-lfs-")
        cls.root = pathlib.Path(cls.temporary.name)
        cls.content = os.urandom((3 << 20) + 17)
        cls.oid = hashlib.sha256(cls.content).hexdigest()
        (cls.root / "object").write_bytes(cls.content)
        (cls.root / "wrong").write_bytes(cls.content[:-1] + bytes([cls.content[-1] ^ 1]))
        (cls.root / "short").write_bytes(cls.content[:-1])
        (cls.root / "long").write_bytes(cls.content + b"!")
        (cls.root / "empty").write_bytes(b"")
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{cls.oid}\nsize {len(cls.content)}\n".encode()
        files = {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n", "large.bin": pointer}
        here, there = "https://git.test/%s/{oid}", "https://other.test/%s/{oid}"
        header, size = {"Authorization": CANARY}, len(cls.content)
        cls.cases = {
            "same": dict(file="object", href=here % "same-host"), "other": dict(file="object", href=there % "other-host"),
            "moved": dict(file="object", href=here % "moves"), "wrong": dict(file="wrong", href=here % "wrong"),
            "short": dict(file="short", href=here % "short", size=size), "long": dict(file="long", href=here % "long", size=size),
            "cut": dict(file="object", href=here % "object", size=size - 1), "grown": dict(file="object", href=here % "object", size=size + 1),
            "empty": dict(file="empty", href=here % "empty"), "plain": dict(file="object", href="http://git.test/object/{oid}"),
            "port": dict(file="object", href="https://git.test:8443/object/{oid}"), "file": dict(file="object", href="file:///etc/passwd"),
            "inside": dict(file="object", href="https://127.0.0.1/object/{oid}"),
            "split": dict(file="object", href=here % "object", header={"X-A": "b\r\nX-Evil: c"}),
            "length": dict(file="object", href=here % "object", header={"Content-Length": "7"})}
        routes = []
        for name, case in cls.cases.items():
            case = {"header": header, **case, "file": str(cls.root / case["file"])}
            bare_repository(cls.root / f"repos/org/{name}.git", files)
            routes.append({"prefix": f"/org/{name}.git/info/lfs/", "method": "POST", "mode": "lfs", "objects": {cls.oid: case}})
        serve = lambda file: {"mode": "lfs", "objects": {cls.oid: {"file": str(cls.root / file)}}}
        routes += [{"prefix": f"/{prefix}/", **serve(file)} for prefix, file in (
            ("same-host", "object"), ("other-host", "object"), ("object", "object"), ("wrong", "wrong"), ("short", "short"), ("long", "long"),
            ("empty", "empty"))]
        routes.append({"prefix": "/moves/", "mode": "redirect", "status": 307, "to": "https://other.test/other-host{path}"})
        routes.append({"prefix": "/", "mode": "git", "root": str(cls.root / "repos")})
        cls.farm = Farm(cls.root / "farm", {"names": ["git.test", "other.test"],
                                            "listeners": {name: {"tls": "good", "alpn": ["http/1.1"], "routes": routes} for name in ("web", "other")}})
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.farm.close()
        cls.temporary.cleanup()

    def rig(self, lfs="true", network=""):
        type(self).counter += 1
        maps = {"git.test": self.farm.address("web"), "other.test": "93.184.216.35=" + self.farm.address("other")}
        rig = Rig(self.root / f"rig{self.counter}", POLICY % (network, lfs), maps, self.farm.ca)
        self.addCleanup(rig.close)
        return rig

    def mark(self):
        return len(self.farm.events("request"))

    def since(self, mark, part):
        return [{**event, "headers": dict(event["headers"])} for event in self.farm.events("request")[mark:] if part in event["target"]]

    def clone(self, rig, name, check=True):
        done = rig.git(*FILTER, "clone", "-q", f"https://git.test/org/{name}", rig.folder / name, check=check)
        return done, rig.folder / name / "large.bin"

    def batch(self, tunnel, name, operation="download", oid=None):
        body = json.dumps({"operation": operation, "transfers": ["basic"], "objects": [{"oid": oid or self.oid, "size": len(self.content)}]}).encode()
        tunnel.send(f"POST /git/git.test/org/{name}/info/lfs/objects/batch HTTP/1.1\r\n".encode() + HOST + MEDIA +
                    b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return tunnel.answer()

    def get(self, tunnel, name, oid=None):
        tunnel.send(f"GET /git/git.test/org/{name}/info/lfs/objects/{oid or self.oid} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        return tunnel.answer()

    def assert_kept_here(self, rig, *texts):
        for text in (*texts, rig.audit_file.read_text(), rig.stderr(), "\n".join(rig.denied)):
            self.assertNotIn(CANARY.split()[1], text)

    def test_an_object_of_the_repositorys_own_host(self):
        rig = self.rig()
        mark = self.mark()
        done, file = self.clone(rig, "same")
        self.assertEqual(hashlib.sha256(file.read_bytes()).hexdigest(), self.oid)
        [request] = self.since(mark, "/same-host/")
        self.assertEqual(request["headers"]["authorization"], CANARY)
        self.assert_kept_here(rig, done.stdout, done.stderr)
        for path in (rig.folder / "same").rglob("*"):
            if path.is_file():
                self.assertNotIn(CANARY.encode(), path.read_bytes())

    def test_the_guest_sees_addresses_of_the_gateway_only(self):
        rig = self.rig()
        with Tunnel(rig) as tunnel:
            answer = self.batch(tunnel, "same")
        self.assertEqual(json.loads(answer.body), {"transfer": "basic", "hash_algo": "sha256", "objects": [
            {"oid": self.oid, "size": len(self.content), "authenticated": True, "actions": {"download": {
                "href": f"http://gateway.cleanroom.internal/git/git.test/org/same/info/lfs/objects/{self.oid}"}}}]})

    def test_another_host_is_the_policys_to_name(self):
        for name in ("other", "moved"):
            with self.subTest(name):
                rig = self.rig()
                mark = self.mark()
                done, file = self.clone(rig, name, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("redirect_denied", {line["reason"] for line in rig.audit("gateway")})
                self.assertEqual([event for event in self.farm.events("request")[mark:] if event["listener"] == "other"], [])
                self.assertNotIn("query other.test", rig.stderr())
                rig = self.rig(network=ALLOW_OTHER)
                mark = self.mark()
                _, file = self.clone(rig, name)
                self.assertEqual(hashlib.sha256(file.read_bytes()).hexdigest(), self.oid)
                [request] = [event for event in self.since(mark, "/other-host/") if event["listener"] == "other"]
                # Fields belong to the origin that upstream named, and follow no redirect to another.
                self.assertEqual(request["headers"].get("authorization"), CANARY if name == "other" else None)
                self.assert_kept_here(rig)

    def test_bytes_that_are_not_the_object_are_never_whole(self):
        rig = self.rig()
        for name in ("wrong", "short", "long", "cut", "grown", "empty"):
            with self.subTest(name), Tunnel(rig) as tunnel:
                self.assertEqual(self.batch(tunnel, name).status, 200)
                answer = self.get(tunnel, name)
                if answer is not None and answer.status == 200:
                    self.assertFalse(answer.whole)
                    self.assertTrue(tunnel.reset)
                    self.assertNotEqual(answer.body, self.content)
                elif answer is not None:
                    self.assertEqual(answer.fields["cleanroom-reason"], "upstream_invalid")
                self.assertIn("upstream_invalid", {line["reason"] for line in rig.audit("gateway") if line["path"] == f"/org/{name}"})
        done, _ = self.clone(rig, "wrong", check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_addresses_and_fields_that_cannot_be_used(self):
        rig = self.rig()
        mark = self.mark()
        for name in ("plain", "file", "split", "length"):
            with self.subTest(name), Tunnel(rig) as tunnel:
                answer = self.batch(tunnel, name)
                [told] = json.loads(answer.body)["objects"]
                self.assertEqual((told["error"]["code"], told.get("actions")), (502, None))
                self.assertEqual(self.get(tunnel, name).fields["cleanroom-reason"], "gateway_route_unknown")
        for name in ("port", "inside"):
            with self.subTest(name), Tunnel(rig) as tunnel:
                self.assertEqual(self.batch(tunnel, name).fields["cleanroom-reason"], "redirect_denied")
                self.assertEqual(self.get(tunnel, name).fields["cleanroom-reason"], "gateway_route_unknown")
        self.assertEqual(self.since(mark, "/object/"), [])

    def test_what_was_not_named_is_not_fetched(self):
        rig = self.rig()
        mark = self.mark()
        with Tunnel(rig) as tunnel:
            self.assertEqual(self.get(tunnel, "same").fields["cleanroom-reason"], "gateway_route_unknown")
            self.assertEqual(self.batch(tunnel, "same").status, 200)
            # Named for one repository is not named for another.
            self.assertEqual(self.get(tunnel, "wrong").fields["cleanroom-reason"], "gateway_route_unknown")
            told = json.loads(self.batch(tunnel, "same", oid="0" * 64).body)
            self.assertEqual(told["objects"][0]["error"]["code"], 404)
        self.assertEqual(self.since(mark, "/same-host/"), [])

    def test_uploads_and_lfs_false(self):
        rig = self.rig()
        with Tunnel(rig) as tunnel:
            mark = self.mark()
            answer = self.batch(tunnel, "same", operation="upload")
            self.assertEqual((answer.status, answer.fields["cleanroom-reason"]), (403, "git_push_not_allowed"))
            tunnel.send(f"PUT /git/git.test/org/same/info/lfs/objects/{self.oid} HTTP/1.1\r\n".encode() + HOST + b"Content-Length: 1\r\n\r\nx")
            self.assertEqual(tunnel.answer().status, 403)
            self.assertEqual(self.since(mark, "/org/same"), [])
        rig = self.rig(lfs="false")
        mark = self.mark()
        done, _ = self.clone(rig, "same", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("git_lfs_not_allowed", {line["reason"] for line in rig.audit("gateway")})
        self.assertEqual(self.since(mark, "/info/lfs/"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
