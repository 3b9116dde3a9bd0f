#!/usr/bin/env python3
"""Real git against real servers (git http-backend behind TLS) through the gateway: gateway_rig stands where a run stands.

usage: CLEANROOM_BIN_DIR=build/dev/bin git_gateway_test.py [-v] [TestClass.test_name]
"""
import base64
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/gateway_rig"))
from gateway_rig import Farm, Rig, bare_repository  # noqa: E402

TOKEN = "canary-ghp-5c2f9a7e41"
BASIC = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
ALLOW = 'version: 1\nsandbox: {network: {default: deny}}\ngit:\n  allow:\n    - {host: git.test, repositories: ["org/*"]}\n'


class GitCase(unittest.TestCase):
    """A farm with repositories; each test has a rig of its own."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="cleanroom-git-")
        cls.root = pathlib.Path(cls.temporary.name)
        repos = cls.root / "repos"
        bare_repository(repos / "org/web.git", {"README.md": b"hello\n", "big.bin": os.urandom(3 << 20)}, commits=3)
        bare_repository(repos / "org/private.git")
        bare_repository(repos / "org/secret.git")
        auth = {"Authorization": BASIC}
        git = {"mode": "git", "root": str(repos)}
        # A route's prefix is not part of what http-backend sees.
        one = lambda name: {"mode": "git", "root": str(repos / f"org/{name}.git")}
        cls.farm = Farm(cls.root / "farm", {"names": ["git.test", "other.test"], "listeners": {
            "web": {"tls": "good", "alpn": ["http/1.1"], "routes": [
                {"prefix": "/org/private/", "require": auth, **one("private")},
                {"prefix": "/org/secret/", "require": auth, **one("secret")},
                {"prefix": "/org/renamed", "mode": "redirect", "status": 301, "to": "/org/web.git/info/refs?{query}"},
                {"prefix": "/org/gone", "mode": "redirect", "status": 302, "to": "https://git.test/login?x=1"},
                {"prefix": "/org/away", "mode": "redirect", "status": 307, "to": "https://other.test/org/web.git/info/refs?{query}"},
                {"prefix": "/org/outside", "mode": "redirect", "status": 308, "to": "/evil/web.git/info/refs?{query}"},
                {"prefix": "/org/plain", "mode": "redirect", "status": 301, "to": "http://git.test/org/web.git/info/refs?{query}"},
                {"prefix": "/org/html", "mode": "status", "status": 200, "body": "<html>login</html>",
                 "headers": [["Content-Type", "text/html"]]},
                {"prefix": "/org/push/", "push": 1, **one("push")},
                {"prefix": "/", **git}]},
            "badcert": {"tls": "self-signed", "routes": [{"prefix": "/", **git}]},
            "wrongname": {"tls": "wrong-name", "routes": [{"prefix": "/", **git}]},
            "expired": {"tls": "expired", "routes": [{"prefix": "/", **git}]},
            "oldtls": {"tls": "good", "tls_version": "1.1", "routes": [{"prefix": "/", **git}]}}})
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.farm.close()
        cls.temporary.cleanup()

    def rig(self, policy=ALLOW, listener="web", **more):
        type(self).counter += 1
        maps = {"git.test": self.farm.address(listener), "other.test": "93.184.216.35=" + self.farm.address(listener)}
        rig = Rig(self.root / f"rig{self.counter}", policy, maps, self.farm.ca, **more)
        self.addCleanup(rig.close)
        return rig

    def requests_since(self, mark):
        return [{**event, "headers": dict(event["headers"])} for event in self.farm.events("request")[mark:]]

    def mark(self):
        return len(self.farm.events("request"))


class Clones(GitCase):
    def clone(self, rig, url, *options, name="out"):
        rig.git("clone", "-q", *options, url, rig.folder / name)
        return rig.folder / name

    def test_every_spelling_of_a_url(self):
        rig = self.rig()
        for number, url in enumerate([
                "https://git.test/org/web", "https://git.test/org/web.git", "git@git.test:org/web.git", "git@git.test:/org/web.git",
                "ssh://git@git.test/org/web.git", "ssh://git@git.test:22/org/web.git", "git://git.test/org/web.git",
                "http://git.test/org/web", "https://git@git.test/org/web", "git.test:org/web"]):
            out = self.clone(rig, url, name=f"out{number}")
            self.assertEqual((out / "README.md").read_bytes(), b"hello\n2\n")
            self.assertEqual(rig.git("-C", out, "remote", "get-url", "origin").stdout.count("gateway.cleanroom.internal"), 1)
            self.assertEqual(rig.git("-C", out, "config", "remote.origin.url").stdout.strip(), url)
            rig.git("-C", out, "fsck", "--strict")

    def test_protocol_versions(self):
        rig = self.rig()
        for version in ("0", "1", "2"):
            mark = self.mark()
            out = self.clone(rig, "https://git.test/org/web", "-c", f"protocol.version={version}", name=f"v{version}")
            self.assertEqual((out / "README.md").read_bytes(), b"hello\n2\n")
            sent = {request["headers"].get("git-protocol") for request in self.requests_since(mark)}
            self.assertEqual(sent, {None} if version == "0" else {f"version={version}"})

    def test_shallow_partial_and_fetch(self):
        rig = self.rig()
        shallow = self.clone(rig, "https://git.test/org/web", "--depth=1", name="shallow")
        self.assertEqual(rig.git("-C", shallow, "rev-list", "--count", "HEAD").stdout.strip(), "1")
        rig.git("-C", shallow, "fetch", "-q", "--unshallow")
        self.assertEqual(rig.git("-C", shallow, "rev-list", "--count", "HEAD").stdout.strip(), "3")
        partial = self.clone(rig, "https://git.test/org/web", "--filter=blob:none", name="partial")
        rig.git("-C", partial, "fetch", "-q")
        self.assertEqual((partial / "README.md").read_bytes(), b"hello\n2\n")

    def test_trap_1_gzip_bodies_of_large_requests(self):
        """git compresses bodies above 1024 bytes: the encoding has to reach upstream with them."""
        repo = self.root / "repos/org/many.git"
        if not repo.exists():
            bare_repository(repo, commits=1)
            refs = "".join(f"create refs/heads/branch-{n:04} HEAD\n" for n in range(200))
            head = subprocess.run(["git", "-C", repo, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
            for n in range(60):
                tree = subprocess.run(["git", "-C", repo, "commit-tree", "HEAD^{tree}", "-m", str(n), "-p", head], text=True,
                                      capture_output=True, check=True, env={**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a",
                                                                            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a"}).stdout.strip()
                subprocess.run(["git", "-C", repo, "update-ref", f"refs/heads/b{n}", tree], check=True)
            del refs
        rig = self.rig()
        mark = self.mark()
        out = self.clone(rig, "https://git.test/org/many", name="many")
        self.assertIn("gzip", {r["headers"].get("content-encoding") for r in self.requests_since(mark)})
        self.assertEqual(len(rig.git("-C", out, "branch", "-r").stdout.splitlines()), 62)

    def test_large_request_is_probed_and_chunked(self):
        """Above http.postBuffer git sends a 4-byte probe, then a chunked body (gateway facts, section 7)."""
        rig = self.rig(policy=ALLOW.replace('["org/*"]', '["org/*"], push: true'), ceiling="git: {push: true}\n")
        bare_repository(self.root / "repos/org/push.git")
        out = self.clone(rig, "https://git.test/org/push", name="push")
        (out / "large.bin").write_bytes(os.urandom(2 << 20))
        rig.git("-C", out, "add", "-A")
        rig.git("-C", out, "commit", "-q", "-m", "large")
        mark = self.mark()
        rig.git("-C", out, "push", "-q", "origin", "HEAD:main")
        self.assertIn("chunked", {r["headers"].get("transfer-encoding") for r in self.requests_since(mark)})
        pushed = [line for line in rig.audit("gateway") if "refs/heads/main" in line.get("detail", "")]
        self.assertEqual(len(pushed), 1)

    def test_submodules(self):
        repos = self.root / "repos"
        if not (repos / "org/parent.git").exists():
            work = self.root / "parent"
            bare_repository(repos / "org/parent.git", {
                ".gitmodules": b'[submodule "a"]\n\tpath = a\n\turl = ../web.git\n[submodule "b"]\n\tpath = b\n\turl = git@git.test:org/web.git\n'})
            environment = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a"}
            run = lambda *a: subprocess.run(["git", *map(str, a)], check=True, capture_output=True, text=True, env=environment).stdout.strip()
            run("clone", "-q", repos / "org/parent.git", work)
            head = run("-C", repos / "org/web.git", "rev-parse", "HEAD")
            run("-C", work, "update-index", "--add", "--cacheinfo", f"160000,{head},a", "--cacheinfo", f"160000,{head},b")
            run("-C", work, "commit", "-q", "-m", "submodules")
            run("-C", work, "push", "-q")
        rig = self.rig()
        out = self.clone(rig, "https://git.test/org/parent", "--recurse-submodules", name="parent")
        self.assertEqual((out / "a/README.md").read_bytes(), b"hello\n2\n")
        self.assertEqual((out / "b/README.md").read_bytes(), b"hello\n2\n")

    def test_expect_100_continue(self):
        rig = self.rig()
        done = rig.curl("-H", "Expect: 100-continue", "-H", "Content-Type: application/x-git-upload-pack-request", "--data-binary",
                        "0000", "-D", "-", "http://gateway.cleanroom.internal/git/git.test/org/web/git-upload-pack")
        self.assertIn("HTTP/1.1 100 Continue", done.stdout)
        self.assertIn("HTTP/1.1 200 OK", done.stdout)


class Refusals(GitCase):
    def refused(self, rig, url, reason, *options):
        done = rig.git(*options, "ls-remote", url, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(reason, done.stderr)
        self.assertNotIn("Username", done.stderr)
        return done

    def test_repository_not_allowed_says_so_once(self):
        rig = self.rig()
        mark = self.mark()
        self.refused(rig, "https://git.test/evil/web", "git_repository_not_allowed")
        self.refused(rig, "https://git.test/evil/web", "git_repository_not_allowed")
        self.assertEqual(self.requests_since(mark), [])
        self.assertNotIn("query", rig.stderr())
        self.assertIn("denied git.test/evil/web git_repository_not_allowed", rig.denied)

    def test_GIT_01_push_is_refused_with_words(self):
        rig = self.rig()
        out = rig.folder / "out"
        rig.git("clone", "-q", "https://git.test/org/web", out)
        done = rig.git("-C", out, "push", "origin", "HEAD:refs/heads/new", check=False)
        self.assertIn("git_push_not_allowed", done.stderr)
        for method, path in (("POST", "org/web/git-receive-pack"), ("GET", "org/web/info/refs?service=git-receive-pack"),
                             ("POST", "org/web/GIT-RECEIVE-PACK"), ("POST", "org/web/git%2dreceive-pack")):
            done = rig.curl("-X", method, "-o", "/dev/null", "-w", "%{http_code}", "http://gateway.cleanroom.internal/git/git.test/" + path)
            self.assertEqual(done.stdout, "403", path)

    def test_GIT_05_dumb_http(self):
        rig = self.rig()
        mark = self.mark()
        for path in ("HEAD", "info/refs", "objects/info/packs", "objects/info/alternates", "objects/info/http-alternates",
                     "info/alternates", "objects/aa/" + "b" * 38):
            done = rig.curl("-o", "/dev/null", "-w", "%{http_code}", "http://gateway.cleanroom.internal/git/git.test/org/web/" + path)
            self.assertEqual(done.stdout, "403", path)
        self.assertEqual(self.requests_since(mark), [])

    def test_GIT_10_redirects(self):
        rig = self.rig()
        rig.git("clone", "-q", "https://git.test/org/renamed", rig.folder / "renamed")
        for repository in ("gone", "away", "outside", "plain"):
            self.refused(rig, f"https://git.test/org/{repository}", "redirect_denied")
        self.refused(rig, "https://git.test/org/html", "upstream_invalid")

    def test_GTW_11_certificates(self):
        for listener in ("badcert", "wrongname", "expired", "oldtls"):
            with self.subTest(listener):
                mark = self.mark()
                rig = self.rig(listener=listener)
                self.refused(rig, "https://git.test/org/web", "upstream_untrusted")
                self.assertEqual(self.requests_since(mark), [])

    def test_a_pipelines_variables_do_not_choose_authorities(self):
        type(self).counter += 1
        rig = Rig(self.root / f"rig{self.counter}", ALLOW, {"git.test": self.farm.address("web")}, None,
                  config="allow_emulation: true\n", environment={"SSL_CERT_FILE": self.farm.ca, "SSL_CERT_DIR": str(pathlib.Path(self.farm.ca).parent)})
        self.addCleanup(rig.close)
        self.refused(rig, "https://git.test/org/web", "upstream_untrusted")

    def test_private_upstreams_are_the_operators_to_allow(self):
        maps = {"git.test": "10.1.2.3=" + self.farm.address("web")}
        for ceiling, works in ((None, False), ("network: {private_cidrs: [10.1.2.0/24]}\n", True)):
            type(self).counter += 1
            rig = Rig(self.root / f"rig{self.counter}", ALLOW, maps, self.farm.ca, ceiling=ceiling)
            self.addCleanup(rig.close)
            done = rig.git("ls-remote", "https://git.test/org/web", check=False)
            self.assertEqual(done.returncode == 0, works, done.stderr)
            if not works:
                self.assertIn("ip_denied", done.stderr)
                self.assertNotIn("10.1.2.3", done.stderr)


class Credentials(GitCase):
    BINDING = ('bindings:\n  - {id: org-private, host: git.test, paths: [org/private], methods: [git-read], source: {file: %s}}\n')

    def bound(self, **more):
        token = self.root / f"token{self.counter}"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)
        return self.rig(credentials=more.pop("credentials", self.BINDING) % token, **more)

    def assert_no_canary(self, rig, *texts):
        for text in (*texts, rig.audit_file.read_text(), rig.stderr(), "\n".join(rig.denied), rig.gitconfig.read_text()):
            self.assertNotIn(TOKEN, text)
            self.assertNotIn(BASIC.split()[1], text)

    def test_trap_2_a_token_is_sent_as_basic_to_its_repository(self):
        rig = self.bound()
        mark = self.mark()
        done = rig.git("clone", "-q", "https://git.test/org/private", rig.folder / "out")
        sent = [request["headers"].get("authorization") for request in self.requests_since(mark)]
        self.assertTrue(sent and set(sent) == {BASIC}, sent)
        used = rig.audit("credential")
        self.assertEqual({(u["binding"], u["source"], u["method"]) for u in used}, {("org-private", "file", "git-read")})
        self.assert_no_canary(rig, done.stdout, done.stderr)
        for path in (rig.folder / "out").rglob("*"):
            if path.is_file():
                self.assertNotIn(TOKEN.encode(), path.read_bytes())

    def test_GIT_03_a_credential_stays_within_its_path(self):
        rig = self.bound()
        mark = self.mark()
        for path in ("org/secret", "ORG/private", "org/Private", "org/private-evil", "org/web"):
            rig.git("ls-remote", f"https://git.test/{path}", check=False)
        for path in ("org/private/../secret", "org%2fprivate", "/org/private", "org//private", "org/private%00"):
            done = rig.curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}",
                            f"http://gateway.cleanroom.internal/git/git.test/{path}/info/refs?service=git-upload-pack")
            self.assertEqual(done.stdout, "400", path)
        self.assertEqual({request["headers"].get("authorization") for request in self.requests_since(mark)}, {None})
        done = rig.git("ls-remote", "https://git.test/org/secret", check=False)
        self.assertIn("secret_scope_violation", done.stderr)
        self.assertEqual(rig.git("ls-remote", "https://git.test/org/web").returncode, 0)

    def test_GTW_05_what_the_guest_adds_is_dropped(self):
        rig = self.bound()
        mark = self.mark()
        done = rig.curl("-H", "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=", "-H", "Cookie: a=b", "-H", "X-Forwarded-For: 1.2.3.4",
                        "-H", "X-Original-URL: /x", "-H", "X-HTTP-Method-Override: POST", "-H", "X-Sandbox-Id: other",
                        "-H", "Proxy-Authorization: Basic eDp5", "-H", "Forwarded: for=1.1.1.1", "-o", "/dev/null", "-w", "%{http_code}",
                        "http://gateway.cleanroom.internal/git/git.test/org/web/info/refs?service=git-upload-pack")
        self.assertEqual(done.stdout, "200")
        [request] = self.requests_since(mark)
        self.assertEqual(set(request["headers"]), {"host", "accept", "user-agent", "pragma"})

    def test_GTW_07_a_redirect_takes_no_credential_along(self):
        policy = ALLOW + '    - {host: other.test, repositories: ["org/*"]}\n'
        rig = self.bound(policy=policy, credentials=self.BINDING.replace("[org/private]", "[org/away, org/private]"))
        mark = self.mark()
        rig.git("ls-remote", "https://git.test/org/away")
        sent = [(r["headers"]["host"], r["headers"].get("authorization")) for r in self.requests_since(mark)]
        # The list of refs after the redirect, and the request that follows it, are the other origin's.
        self.assertEqual(sent, [("git.test", BASIC), ("other.test", None), ("other.test", None)])

    def test_a_fork_gets_none(self):
        fork = {"BUILDKITE": "true", "BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_REPO": "https://git.test/org/private",
                "BUILDKITE_PULL_REQUEST_REPO": "https://git.test/evil/private", "BUILDKITE_ORGANIZATION_SLUG": "acme",
                "BUILDKITE_PIPELINE_SLUG": "web", "BUILDKITE_BRANCH": "main"}
        rig = self.bound(environment=fork)
        mark = self.mark()
        done = rig.git("ls-remote", "https://git.test/org/private", check=False)
        self.assertIn("secret_scope_violation", done.stderr)
        self.assertEqual({r["headers"].get("authorization") for r in self.requests_since(mark)}, {None})

    def test_a_wrong_token_never_makes_git_ask(self):
        rig = self.bound()
        (self.root / f"token{self.counter - 1}").write_text("wrong-" + TOKEN)
        done = rig.git("ls-remote", "https://git.test/org/private", check=False)
        self.assertIn("upstream_unauthorized", done.stderr)
        self.assertNotIn("Username", done.stderr)
        self.assert_no_canary(rig, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
