#!/usr/bin/env python3
"""The mirrors of the git gateway: real git, real servers, gateway_rig in a run's place.

usage: CLEANROOM_BIN_DIR=build/dev/bin git_mirror_test.py [-v] [TestClass.test_name]
"""
import base64
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/gateway_rig"))
from gateway_rig import Farm, Rig, bare_repository  # noqa: E402

TOKENS = {"one": "canary-one-77aa", "two": "canary-two-88bb"}
POLICY = 'version: 1\nsandbox: {network: {default: deny}}\ngit:\n  allow:\n    - {host: git.test, repositories: ["org/*"]}\n'
IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a.test", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a.test"}


def basic(token):
    return "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()


class Mirror(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="cleanroom-mirror-")
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.repository = bare_repository(self.root / "repos/org/web.git", {"README.md": b"hello\n", "big.bin": os.urandom(2 << 20)}, commits=4)
        bare_repository(self.root / "repos/org/private.git", {"secret.txt": b"canary-private-object\n"})
        one = {"mode": "git", "root": str(self.root / "repos/org/private.git")}
        self.farm = Farm(self.root / "farm", {"names": ["git.test"], "listeners": {"web": {"tls": "good", "alpn": ["http/1.1"], "routes": [
            {"prefix": "/org/private/", "require": {"Authorization": basic(TOKENS["one"])}, "times": 1000, **one},
            {"prefix": "/", "mode": "git", "root": str(self.root / "repos")}]}}})
        self.addCleanup(self.farm.close)
        self.rigs = 0

    def rig(self, config="git_mirror: {enable: true, max_gib: 1, directory: %s}\n", binding=None, close=True):
        self.rigs += 1
        mirrors = self.root / "mirrors"
        credentials = None
        if binding:
            token = self.root / f"token-{binding}"
            token.write_text(TOKENS[binding])
            token.chmod(0o600)
            credentials = ("bindings:\n  - {id: %s, host: git.test, paths: [org/private], methods: [git-read], source: {file: %s}}\n"
                           % (binding, token))
        rig = Rig(self.root / f"rig{self.rigs}", POLICY, {"git.test": self.farm.address("web")}, self.farm.ca,
                  config=config % mirrors if "%s" in config else config, credentials=credentials)
        if close:
            self.addCleanup(rig.close)
        return rig

    def clone(self, rig, *options, repository="web", name=None, check=True):
        out = rig.folder / (name or f"out{len(list(rig.folder.iterdir()))}")
        done = rig.git("clone", "-q", *options, f"https://git.test/org/{repository}", out, check=check)
        return out if check else done

    def posts(self):
        return sum(1 for event in self.farm.events("request") if event["head"].startswith("POST "))

    def caches(self, rig):
        return [line["cache"] for line in rig.audit("gateway") if line.get("cache")]

    def filler(self, rigs, limit=60):
        """The run that has filled the mirror; the others found it locked, and say nothing."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for rig in rigs:
                if rig.audit("mirror"):
                    return rig
            time.sleep(0.05)
        self.fail("nobody filled the mirror")

    def await_fill(self, rig, count=1, limit=60):
        """The audit line of a refresh says that it is over."""
        deadline = time.monotonic() + limit
        while len(rig.audit("mirror")) < count:
            self.assertLess(time.monotonic(), deadline, rig.audit_file.read_text())
            time.sleep(0.05)
        return rig.audit("mirror")[-1]

    def filled(self, **more):
        rig = self.rig(**more)
        self.clone(rig, name="first", repository=more.get("binding") and "private" or "web")
        self.assertEqual(self.await_fill(rig)["action"], "allow", rig.audit("mirror"))
        return rig

    def test_the_first_clone_fills_it_and_the_next_run_is_served(self):
        self.assertEqual(self.caches(self.filled()), ["miss"])
        rig = self.rig()
        before = self.posts()
        out = self.clone(rig)
        self.assertEqual(self.caches(rig), ["hit"])
        self.assertEqual(self.posts() - before, 1, "upstream lists the refs, and sends no pack")
        self.assertEqual((out / "README.md").read_bytes(), b"hello\n3\n")
        rig.git("-C", out, "fsck", "--strict")

    def test_every_shape_of_clone_is_served_whole(self):
        self.filled()
        rig = self.rig()
        for number, options in enumerate((["-c", "protocol.version=0"], ["-c", "protocol.version=1"], ["--depth=1"], ["--filter=blob:none"],
                                          ["--single-branch"], ["--no-tags"])):
            out = self.clone(rig, *options, name=f"shape{number}")
            self.assertEqual((out / "README.md").read_bytes(), b"hello\n3\n", options)
            rig.git("-C", out, "fsck")
        self.assertNotIn("miss", self.caches(rig))
        self.assertGreaterEqual(self.caches(rig).count("hit"), 6)

    def test_new_commits_come_from_upstream_then_from_the_mirror(self):
        self.filled()
        work = self.root / "work"
        run = lambda *a: subprocess.run(["git", *map(str, a)], check=True, capture_output=True, env={**os.environ, **IDENTITY})
        run("clone", "-q", self.repository, work)
        (work / "README.md").write_text("newer\n")
        run("-C", work, "commit", "-qam", "newer")
        run("-C", work, "push", "-q", "origin", "HEAD:main")
        rig = self.rig()
        self.assertEqual((self.clone(rig) / "README.md").read_text(), "newer\n")
        self.await_fill(rig)
        self.assertEqual((self.clone(rig) / "README.md").read_text(), "newer\n")
        self.assertEqual(self.caches(rig), ["miss", "hit"])

    def test_trap_11_a_force_push_between_list_and_fetch(self):
        self.filled()
        work = self.root / "work"
        run = lambda *a: subprocess.run(["git", *map(str, a)], check=True, capture_output=True, env={**os.environ, **IDENTITY})
        run("clone", "-q", self.repository, work)
        (work / "other").write_text("rewritten\n")
        run("-C", work, "add", "-A")
        run("-C", work, "commit", "-q", "--amend", "-m", "rewritten")
        run("-C", work, "push", "-qf", "origin", "HEAD:main")
        rig = self.rig()
        out = self.clone(rig)
        self.assertEqual((out / "other").read_text(), "rewritten\n")
        rig.git("-C", out, "fsck", "--strict")

    def test_scopes_do_not_mix(self):
        """Another binding, or none, is never answered from what a credential fetched."""
        self.filled(binding="one")
        for binding in ("two", None):
            rig = self.rig(binding=binding)
            done = self.clone(rig, repository="private", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertNotIn("hit", self.caches(rig))
        rig = self.rig(binding="one")
        self.assertEqual((self.clone(rig, repository="private") / "secret.txt").read_bytes(), b"canary-private-object\n")
        self.assertEqual(self.caches(rig), ["hit"])
        folders = [path.name for path in (self.root / "mirrors").iterdir()]
        self.assertEqual(len(folders), 1)
        for path in (self.root / "mirrors").rglob("*"):
            if path.is_file():
                for token in TOKENS.values():
                    self.assertNotIn(token.encode(), path.read_bytes(), path)

    def test_what_upstream_did_not_list_is_upstreams_to_answer(self):
        """An object that the mirror has, asked for in a run to which upstream listed nothing."""
        self.filled()
        head = subprocess.run(["git", "-C", self.repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        rig = self.rig()
        line = lambda text: f"{len(text) + 4:04x}{text}"
        body = line("command=fetch\n") + "0001" + line(f"want {head}\n") + line("done\n") + "0000"
        before = self.posts()
        rig.curl("-H", "Content-Type: application/x-git-upload-pack-request", "-H", "Git-Protocol: version=2", "--data-binary", body, "-o",
                 "/dev/null", "http://gateway.cleanroom.internal/git/git.test/org/web/git-upload-pack")
        self.assertEqual(self.posts() - before, 1)
        self.assertEqual(self.caches(rig), ["bypass"])

    def test_a_fill_that_is_killed_leaves_nothing_that_is_served(self):
        for _ in range(3):
            rig = self.rig(close=False)
            self.clone(rig)
            rig.process.send_signal(signal.SIGKILL)
            rig.process.wait(10)
        rig = self.rig()
        self.clone(rig, name="a")
        self.await_fill(rig) if "hit" not in self.caches(rig) else None
        out = self.clone(rig, name="b")
        rig.git("-C", out, "fsck", "--strict")
        self.assertEqual(self.caches(rig)[-1], "hit")

    def test_two_runs_at_once(self):
        rigs = [self.rig(), self.rig()]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for out in pool.map(lambda rig: self.clone(rig, name="at-once"), rigs):
                self.assertEqual((out / "README.md").read_bytes(), b"hello\n3\n")
        self.assertEqual(self.filler(rigs).audit("mirror")[0]["action"], "allow")
        third = self.rig()
        self.clone(third)
        self.assertEqual(self.caches(third), ["hit"])

    def test_a_damaged_mirror_is_dropped(self):
        self.filled()
        packs = list((self.root / "mirrors").rglob("*.pack"))
        self.assertEqual(len(packs), 1)
        packs[0].chmod(0o600)
        os.truncate(packs[0], packs[0].stat().st_size // 2)
        rig = self.rig()
        done = self.clone(rig, check=False)
        # Where git had begun to send it is too late to ask upstream: then the clone fails, and never with wrong content.
        if done.returncode == 0:
            rig.git("-C", next(rig.folder.glob("out*")), "fsck", "--strict")
        again = self.rig()
        out = self.clone(again)
        again.git("-C", out, "fsck", "--strict")
        self.await_fill(again)
        self.clone(self.rig())

    def test_off_by_default(self):
        rig = self.rig(config="allow_emulation: true\n")
        self.clone(rig)
        self.assertEqual(self.caches(rig), [])
        self.assertFalse((self.root / "mirrors").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
