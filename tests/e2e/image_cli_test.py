#!/usr/bin/env python3
"""`cleanroom image` without a registry, import to gc, and set-ref and bump-ref with one.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_cli_test.py [-v] [TestClass.test_name]
"""
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from layout import Layout  # noqa: E402
from pull_case import BIN, CONFIGURATION, INFRASTRUCTURE, MIB, SECONDS, ZEROS, PullCase, manifest_of, sha256, sha256_of  # noqa: E402

USAGE = 64
DAY = 24 * 3600
COMPRESSIONS = {"": None, ".gz": ["gzip", "-n"], ".zst": ["zstd", "-q"]}


class CliCase(PullCase):
    def cleanroom(self, host, *arguments, stdin=subprocess.DEVNULL, cwd=None):
        return subprocess.run([BIN / "cleanroom", "image", *map(str, arguments)], stdin=stdin, capture_output=True, text=True,
                              timeout=SECONDS, check=False, env=host.environment, cwd=cwd)

    def good(self, host, *arguments, **how):
        done = self.cleanroom(host, *arguments, **how)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def bad(self, host, code, reason, *arguments, **how):
        """One error, its reason (None: the command line is wrong), no output; the store is what it was."""
        before = self.store(host)
        done = self.cleanroom(host, *arguments, **how)
        self.assertEqual((done.returncode, done.stdout), (code, ""), (arguments, done.stderr))
        self.assertEqual(len(re.findall(r"^error: \S", done.stderr, re.MULTILINE)), 1, done.stderr)
        self.assertEqual(re.findall(r"^reason: (.*)$", done.stderr, re.MULTILINE), [reason] if reason else [], done.stderr)
        self.assertEqual(self.store(host), before, arguments)
        return done.stderr

    def store(self, host):
        """Every file of the store but locks, which stay: name, size, mode."""
        root = self.images_of(host)
        found = ((path, path.stat()) for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
        return sorted((str(path.relative_to(root)), info.st_size, info.st_mode) for path, info in found)

    @staticmethod
    def images_of(host):
        return host.folder / "data/cleanroom/images"

    def entry(self, host, digest):
        return self.images_of(host) / digest.partition(":")[2]

    def listed(self, host):
        return {one["digest"]: one for one in json.loads(self.good(host, "ls", "--json"))}


def compressed(path, ending):
    """PATH + ENDING, compressed."""
    if COMPRESSIONS[ending] is None:
        return path
    out = pathlib.Path(str(path) + ending)
    with open(path, "rb") as source, open(out, "wb") as target:
        subprocess.run(COMPRESSIONS[ending], stdin=source, stdout=target, check=True, timeout=SECONDS)
    return out


class Archives(CliCase):
    """busybox in every form that an import takes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.forms = cls.root / "forms"
        cls.forms.mkdir()
        cls.layout = pathlib.Path(image("busybox").rpartition(":")[0])
        subprocess.run(["tar", "-C", cls.layout, "-cf", cls.forms / "oci.tar", "."], check=True, timeout=SECONDS)
        cls.rig.skopeo("copy", "-q", "--insecure-policy", "oci:" + image("busybox"), f"docker-archive:{cls.forms}/docker.tar:org/busybox:1")
        tree = cls.root / "tree"
        for name in ("bin", "etc"):
            (tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/sh")
        (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
        subprocess.run(["tar", "-C", tree, "--sort=name", "--mtime=@1600000000", "--owner=0", "--group=0", "--numeric-owner", "-cf", cls.forms / "rootfs.tar", "."],
                       check=True, timeout=SECONDS)
        cls.files = {name: [compressed(cls.forms / f"{name}.tar", ending) for ending in COMPRESSIONS] for name in ("oci", "docker", "rootfs")}

    def test_every_form_by_its_content(self):
        digests = {}
        for name, files in self.files.items():
            for file in files:
                with self.subTest(file.name):
                    host = self.host()
                    told = json.loads(self.good(host, "import", "--json", "localhost/made:1", file))
                    with open(file, "rb") as stdin:
                        self.assertEqual(self.good(self.host(), "import", "-", stdin=stdin).strip(), told["digest"])
                    digests.setdefault(name, set()).add((told["digest"], sha256_of(told["rootfs"])))
        # The same content, the same image, however it was packed.
        self.assertEqual({name: len(found) for name, found in digests.items()}, {"oci": 1, "docker": 1, "rootfs": 1})
        told = json.loads(self.good(self.host(), "import", "--json", self.layout))
        self.assertEqual(digests["oci"], {(told["digest"], sha256_of(told["rootfs"]))})
        self.assertEqual(told["digest"], sha256(manifest_of(image("busybox"))[0]))

    def test_a_pipe_that_tar_writes(self):
        """What the hint for a directory says."""
        tree = self.root / "tree"
        self.assertIn(f"tar -C '{tree}' -c . | cleanroom image import NAME -", self.bad(self.host(), CONFIGURATION, "image_invalid", "import", tree))
        with subprocess.Popen(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE) as tar:
            told = json.loads(self.good(self.host(), "import", "--json", "localhost/made:1", "-", stdin=tar.stdout))
        listed = subprocess.run([BIN / "image_list", told["rootfs"]], capture_output=True, text=True, check=True, timeout=SECONDS).stdout
        paths = {bytes.fromhex(json.loads(line)["path"]) for line in listed.splitlines()}
        self.assertLessEqual({b"bin/sh", b"etc/passwd"}, paths)

    def test_its_names(self):
        host = self.host()
        digest = self.good(host, "import", "localhost/made:1", self.layout).strip()
        told = json.loads(self.good(host, "inspect", "localhost/made:1"))
        self.assertEqual((told["digest"], told["config"]["env"], told["config"]["cmd"], told["config"]["workdir"]), (digest, ["PATH=/bin"], ["/bin/sh"], "/"))
        self.assertEqual(told, json.loads(self.good(host, "inspect", digest)))
        self.assertEqual(sha256_of(told["rootfs"]), sha256_of(self.entry(host, digest) / "rootfs.ext4"))
        # Two names of one image; then one of them is another's.
        self.good(host, "import", "localhost/made:2", f"oci:{image('busybox')}")
        one = self.listed(host)[digest]
        self.assertEqual(one["names"], ["localhost/made:1", "localhost/made:2"])
        self.assertEqual(one["source"], str(self.layout))
        self.assertEqual(one["rootfs_bytes"], (self.entry(host, digest) / "rootfs.ext4").stat().st_size)
        self.assertIn(one["disk_bytes"], range(1, one["rootfs_bytes"] + MIB))
        for key in ("created", "last_used"):
            self.assertRegex(one[key], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
        other = self.good(host, "import", "localhost/made:2", self.files["rootfs"][0]).strip()
        self.assertEqual({key: value["names"] for key, value in self.listed(host).items()}, {digest: ["localhost/made:1"], other: ["localhost/made:2"]})
        lines = self.good(host, "ls").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(any(line.startswith(digest) and line.endswith("  localhost/made:1") for line in lines), lines)

    def test_bad_input(self):
        host = self.host()
        self.good(host, "import", "localhost/made:1", self.layout)
        folder = self.root / "bad"
        folder.mkdir()
        (folder / "text").write_text("not an archive\n" * 100)
        for files in self.files.values():
            for file in files:
                (folder / file.name).write_bytes(file.read_bytes()[:-len(file.read_bytes()) // 3])
        (folder / "nothing").write_bytes(b"")
        (folder / "nothing.gz").write_bytes(subprocess.run(["gzip", "-c"], input=b"", capture_output=True, check=True, timeout=SECONDS).stdout)
        for path in sorted(folder.iterdir()):
            with self.subTest(path.name):
                self.bad(host, CONFIGURATION, "image_invalid", "import", "localhost/bad:1", path)
                with open(path, "rb") as stdin:
                    self.bad(host, CONFIGURATION, "image_invalid", "import", "localhost/bad:1", "-", stdin=stdin)
        self.bad(host, CONFIGURATION, "image_invalid", "import", "localhost/bad:1", "/dev/null")

    def test_layouts_that_are_wrong(self):
        host = self.host()
        layer = manifest_of(image("busybox"))[1]["layers"][0]["digest"].partition(":")[2]

        def flip(layout):
            data = bytearray((layout / "blobs/sha256" / layer).read_bytes())
            data[len(data) // 2] ^= 1
            (layout / "blobs/sha256" / layer).write_bytes(data)

        def link(layout):
            (layout / "blobs/sha256" / layer).rename(layout / "elsewhere")
            (layout / "blobs/sha256" / layer).symlink_to("../../../../../etc/shadow")

        for number, change in enumerate((flip, link, lambda layout: (layout / "blobs/sha256" / layer).unlink(), lambda layout: (layout / "index.json").write_text("{"),
                                         lambda layout: (layout / "index.json").unlink())):
            with self.subTest(number):
                layout = self.root / f"layout{number}"
                shutil.copytree(self.layout, layout)
                change(layout)
                self.bad(host, CONFIGURATION, "image_invalid", "import", "localhost/bad:1", layout)
                self.assertEqual(self.listed(host), {})

    def test_bad_words(self):
        host = self.host()
        self.good(host, "import", "localhost/made:1", self.layout)
        archive = self.files["oci"][0]
        for code, reason, *arguments in (
                (INFRASTRUCTURE, "image_not_found", "import", "localhost/bad:1", "/does/not/exist"),
                (INFRASTRUCTURE, "image_not_found", "import", "oci-archive:/does/not/exist"),
                (CONFIGURATION, "image_ref_invalid", "import", "Upper:1", archive),
                (CONFIGURATION, "image_ref_invalid", "import", "../up:1", archive),
                (CONFIGURATION, "image_ref_invalid", "import", f"localhost/pinned@{ZEROS}", archive),
                (USAGE, None, "import"), (USAGE, None, "import", "a", "b", "c"), (USAGE, None, "import", "--wrong", archive),
                (INFRASTRUCTURE, "image_not_found", "inspect", "localhost/unknown:1"), (INFRASTRUCTURE, "image_not_found", "inspect", ZEROS),
                (CONFIGURATION, "image_ref_invalid", "inspect", "sha256:12"), (CONFIGURATION, "image_ref_invalid", "inspect", "UPPER"), (USAGE, None, "inspect"),
                (INFRASTRUCTURE, "image_not_found", "rm", "localhost/unknown:1"), (INFRASTRUCTURE, "image_not_found", "rm", ZEROS),
                (CONFIGURATION, "image_ref_invalid", "rm", "sha256:../../x"), (CONFIGURATION, "image_ref_invalid", "rm", f"oci:{image('busybox')}"), (USAGE, None, "rm"),
                (USAGE, None, "ls", "more"), (USAGE, None, "wrong"), (USAGE, None),
                *((USAGE, None, "gc", "--unused-for", age) for age in ("", "3", "d", "3x", "-3d", "3d4h", "9999999999d")),
                *((USAGE, None, "gc", "--max-gib", size) for size in ("", "-1", "x", "1.5", "1G", "99999999999999999999", "18446744073709551615"))):
            with self.subTest(arguments):
                self.bad(host, code, reason, *arguments)


class Removal(CliCase):
    def setUp(self):
        self.here = self.host()
        self.busybox = self.good(self.here, "import", "localhost/busybox:1", "oci:" + image("busybox")).strip()
        self.everything = self.good(self.here, "import", "localhost/everything:1", "oci:" + image("everything")).strip()

    def leased(self, digest):
        """The lock that a job holds on its image, held by us."""
        file = open(self.entry(self.here, digest) / "image.json", "rb")
        self.addCleanup(file.close)
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    def used(self, digest, seconds_ago):
        then = time.time() - seconds_ago
        os.utime(self.entry(self.here, digest) / "image.json", (then, then))

    def collected(self, *options):
        told = json.loads(self.good(self.here, "gc", "--json", *options))
        return [one["digest"] for one in told["removed"]], told

    def gone(self, digest):
        self.assertFalse(self.entry(self.here, digest).exists())
        self.assertEqual([path for path in self.images_of(self.here).iterdir() if path.name.startswith((".build", ".removed"))], [])

    def test_rm_by_digest_and_by_name(self):
        self.good(self.here, "import", "localhost/busybox:2", "oci:" + image("busybox"))
        # One of two names: the image stays.
        self.assertEqual(self.good(self.here, "rm", "localhost/busybox:1"), "removed localhost/busybox:1\n")
        self.assertEqual(self.listed(self.here)[self.busybox]["names"], ["localhost/busybox:2"])
        self.bad(self.here, INFRASTRUCTURE, "image_not_found", "inspect", "localhost/busybox:1")
        self.good(self.here, "rm", "localhost/busybox:2")
        self.gone(self.busybox)
        self.bad(self.here, INFRASTRUCTURE, "image_not_found", "inspect", "localhost/busybox:2")
        # By digest with all names. A name that meant it is free again.
        self.good(self.here, "rm", self.everything)
        self.gone(self.everything)
        self.bad(self.here, INFRASTRUCTURE, "image_not_found", "rm", "localhost/everything:1")
        self.assertEqual(self.store(self.here), [])
        self.assertEqual(self.good(self.here, "import", "localhost/everything:1", "oci:" + image("busybox")).strip(), self.busybox)

    def test_rm_of_several(self):
        done = self.cleanroom(self.here, "rm", self.busybox, "localhost/unknown:1", self.everything)
        self.assertEqual((done.returncode, done.stdout), (INFRASTRUCTURE, f"removed {self.busybox}\n"))
        self.assertIn("localhost/unknown:1", done.stderr)
        self.good(self.here, "import", "oci:" + image("busybox"))
        self.good(self.here, "rm", self.busybox, "localhost/everything:1")
        self.assertEqual(self.store(self.here), [])

    def test_what_is_in_use_stays(self):
        with self.leased(self.busybox), self.leased(self.busybox):
            for name in (self.busybox, "localhost/busybox:1"):
                self.bad(self.here, INFRASTRUCTURE, "image_in_use", "rm", name)
            self.used(self.busybox, 90 * DAY)
            self.used(self.everything, 90 * DAY)
            for options in (["--unused-for", "30d"], ["--max-gib", "0"]):
                self.assertEqual(self.collected("--dry-run", *options)[0], [self.everything])
            self.assertEqual(self.collected("--unused-for", "30d")[0], [self.everything])
            self.assertEqual(set(self.listed(self.here)), {self.busybox})
            # A name less is no removal.
            self.good(self.here, "import", "localhost/busybox:2", "oci:" + image("busybox"))
            self.good(self.here, "rm", "localhost/busybox:1")
        self.good(self.here, "rm", "localhost/busybox:2")
        self.gone(self.busybox)

    def test_gc_by_age(self):
        self.used(self.busybox, 31 * DAY)
        self.used(self.everything, 29 * DAY)
        before = self.store(self.here)
        for age in ("30d", "720h", "43200m"):
            removed, told = self.collected("--dry-run", "--unused-for", age)
            self.assertEqual((removed, told["dry_run"], self.store(self.here)), ([self.busybox], True, before))
        self.assertRegex(self.good(self.here, "gc", "--dry-run", "--unused-for", "30d"), rf"^would remove {self.busybox}  [\d.]+ [KM]iB  \S+\n[\d.]+ [KM]iB left\n$")
        removed, told = self.collected("--unused-for", "30d")
        self.assertEqual((removed, told["dry_run"]), ([self.busybox], False))
        self.gone(self.busybox)
        self.assertEqual(told["kept_bytes"], self.listed(self.here)[self.everything]["disk_bytes"])
        # What was used is no longer old.
        self.used(self.everything, 31 * DAY)
        self.good(self.here, "inspect", "localhost/everything:1")
        self.assertEqual(self.collected("--unused-for", "30d")[0], [])

    def test_gc_by_size_the_least_recently_used_first(self):
        self.used(self.everything, 2 * DAY)
        self.used(self.busybox, DAY)
        self.assertEqual(self.collected("--max-gib", "1")[0], [])
        removed, told = self.collected("--max-gib", "0", "--dry-run")
        self.assertEqual((removed, told["kept_bytes"]), ([self.everything, self.busybox], 0))
        self.assertEqual(self.collected("--max-gib", "0")[0], [self.everything, self.busybox])
        self.assertEqual(self.store(self.here), [])

    def test_gc_by_the_operators_file(self):
        self.used(self.everything, 3 * DAY)
        self.used(self.busybox, DAY)
        self.assertEqual(self.collected()[0], [])
        (self.here.folder / "operator/config.yaml").write_text("images: {unused_days: 2}\n")
        self.assertEqual(self.collected()[0], [self.everything])
        (self.here.folder / "operator/config.yaml").write_text("images: {unused_days: many}\n")
        self.bad(self.here, CONFIGURATION, "config_invalid", "gc")


class Killed(CliCase):
    """kill -9 in the middle of an import."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        layout = Layout(cls.root / "large")
        # Hashing and writing so much takes far longer than seeing it begin.
        layers = [layout.layer([(f"file{number}", dict(content=os.urandom(96 * MIB)))], "none") for number in range(3)]
        layout.tag(layout.manifest(layers))
        layout.finish()
        cls.source = f"oci:{layout.path}:t"

    def killed(self, host, megabytes):
        """An import that is killed once its image has so much."""
        process = host.start("import", "localhost/large:1", self.source)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and process.poll() is None:
            for path in self.images_of(host).glob(".build-*/rootfs.ext4"):
                if path.stat().st_blocks * 512 >= megabytes * MIB:
                    process.send_signal(signal.SIGKILL)
                    self.assertEqual(host.finish(process).returncode, -signal.SIGKILL)
                    return
        host.finish(process)
        self.fail("the import ended, or never came so far")

    def test_killed_and_again(self):
        host = self.host()
        for megabytes in (1, 40, 150):
            self.killed(host, megabytes)
            self.assertEqual(self.listed(host), {})
            self.bad(host, INFRASTRUCTURE, "image_not_found", "inspect", "localhost/large:1")
        left = [path for path in self.images_of(host).iterdir() if path.name.startswith(".build-")]
        self.assertNotEqual(left, [])
        told = json.loads(self.good(host, "import", "--json", "localhost/large:1", self.source))
        self.assertEqual([path for path in self.images_of(host).iterdir() if path.name.startswith((".build-", ".removed-"))], [])
        other = json.loads(self.good(self.host(), "import", "--json", self.source))
        self.assertEqual((told["digest"], sha256_of(told["rootfs"])), (other["digest"], sha256_of(other["rootfs"])))
        subprocess.run(["e2fsck", "-fn", told["rootfs"]], check=True, capture_output=True, timeout=SECONDS)
        self.assertEqual(self.listed(host)[told["digest"]]["names"], ["localhost/large:1"])

    def test_gc_takes_what_was_left(self):
        host = self.host()
        self.killed(host, 40)
        before = self.store(host)
        told = json.loads(self.good(host, "gc", "--json", "--dry-run", "--max-gib", "1"))
        self.assertEqual((told["leftovers"], self.store(host)), (1, before))
        self.assertEqual(json.loads(self.good(host, "gc", "--json", "--max-gib", "1"))["leftovers"], 1)
        self.assertEqual(self.store(host), [])


POLICY = """\
# The image of our builds.   (two   blanks)
version: 1
sandbox:
    network: {default: deny}   # nothing
    image:
        # bumped by hand
        ref:   "%s"  # pinned
        verify: {public_keys: ["-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\\n-----END PUBLIC KEY-----\\n"]}
    resources:
        vcpus: 1
"""


class References(CliCase):
    """set-ref and bump-ref: the policy's text, and a tag that moves."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.rig.open()

    def setUp(self):
        self.old = self.rig.fill(self.registry, image("busybox"), "org/app:1")
        self.proxy = self.rig.proxy(self.registry)
        self.name = f"{self.proxy.host}/org/app:1"
        self.here = self.host(self.proxy)
        self.checkout = self.here.folder / "checkout"
        self.checkout.mkdir()
        self.file = self.checkout / "cleanroom.yaml"

    def write(self, reference):
        self.file.write_text(POLICY % reference)
        self.file.chmod(0o640)

    def holds(self, reference):
        self.assertEqual(self.file.read_text(), POLICY % reference)
        self.assertEqual(self.file.stat().st_mode & 0o7777, 0o640)
        self.assertEqual([path.name for path in self.checkout.iterdir()], ["cleanroom.yaml"])

    def unchanged(self, code, reason, *arguments):
        before = self.file.read_bytes() if self.file.exists() else None
        self.bad(self.here, code, reason, *arguments, cwd=self.checkout)
        self.assertEqual(self.file.read_bytes() if self.file.exists() else None, before)
        self.assertEqual([path.name for path in self.checkout.iterdir()], ["cleanroom.yaml"] if before is not None else [])

    def test_a_tag_that_moves(self):
        self.write(f"{self.name}@{self.old}")
        self.assertEqual(self.good(self.here, "bump-ref", cwd=self.checkout), f"cleanroom.yaml: {self.name}@{self.old} (as it was)\n")
        self.holds(f"{self.name}@{self.old}")
        new = self.rig.fill(self.registry, image("layers"), "org/app:1")
        self.assertNotEqual(new, self.old)
        self.assertEqual(self.good(self.here, "bump-ref", cwd=self.checkout), f"cleanroom.yaml: {self.name}@{new}\n")
        self.holds(f"{self.name}@{new}")
        before = self.file.stat()
        self.assertIn("(as it was)", self.good(self.here, "bump-ref", self.file))
        self.assertEqual((self.file.stat().st_ino, self.file.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))
        # Manifests are all that is asked for; nothing is pulled.
        self.assertEqual(self.proxy.seen("/blobs/"), [])
        self.assertEqual(self.store(self.here), [])

    def test_an_index_is_pinned_as_such(self):
        index = self.rig.fill(self.registry, image("index"), "org/app:1", False, "--all")
        self.write(f"{self.name}@{self.old}")
        self.good(self.here, "bump-ref", self.file)
        self.holds(f"{self.name}@{index}")

    def test_set_ref(self):
        self.write(f"registry.example.com/other@{ZEROS}")
        self.good(self.here, "set-ref", self.name, self.file)
        self.holds(f"{self.name}@{self.old}")
        mark = self.proxy.mark()
        self.good(self.here, "set-ref", f"{self.proxy.host}/org/app@{ZEROS}", self.file)
        self.holds(f"{self.proxy.host}/org/app@{ZEROS}")
        self.assertEqual(self.proxy.seen(since=mark), [])
        self.file.write_text("version: 1  # no image yet\n")
        self.good(self.here, "set-ref", self.name, cwd=self.checkout)
        self.assertEqual(self.file.read_text().splitlines()[0], "version: 1  # no image yet")
        self.assertIn(f"{self.name}@{self.old}", self.file.read_text())
        # A run takes the file as it is now.
        validated = subprocess.run([BIN / "cleanroom", "policy", "validate", "--policy", self.file], capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(validated.returncode, 0, validated.stderr)

    def test_through_a_link(self):
        self.write(f"{self.name}@{ZEROS}")
        link = self.here.folder / "link.yaml"
        link.symlink_to(self.file)
        self.good(self.here, "bump-ref", link)
        self.assertTrue(link.is_symlink())
        self.holds(f"{self.name}@{self.old}")

    def test_nothing_is_lost_when_it_fails(self):
        self.unchanged(CONFIGURATION, "policy_missing", "bump-ref")
        self.unchanged(CONFIGURATION, "policy_missing", "set-ref", self.name)
        self.write(f"{self.proxy.host}/org/app@{self.old}")
        self.unchanged(CONFIGURATION, "image_ref_invalid", "bump-ref")
        self.unchanged(CONFIGURATION, "image_ref_invalid", "set-ref", "UPPER:1")
        self.unchanged(INFRASTRUCTURE, "image_not_found", "set-ref", f"{self.proxy.host}/org/none:1")
        self.unchanged(CONFIGURATION, "policy_missing", "bump-ref", "none.yaml")
        self.write(f"{self.proxy.host}/org/app:none@{self.old}")
        self.unchanged(INFRASTRUCTURE, "image_not_found", "bump-ref")
        self.write(f"{self.name}@{self.old}")
        self.proxy.fault("status", match="/manifests/", method=None, status=403)
        self.unchanged(CONFIGURATION, "image_access_denied", "bump-ref")
        self.proxy.clear()
        self.proxy.close()
        self.unchanged(INFRASTRUCTURE, "image_pull_failed", "bump-ref")
        for text in ("version: 1\n", "sandbox: [", "version: 1\nsandbox: {image: {ref: 7}}\n", "version: 1\nsandbox: {image: {ref: UPPER}}\n"):
            with self.subTest(text):
                self.file.write_text(text)
                done = self.cleanroom(self.here, "bump-ref", cwd=self.checkout)
                self.assertEqual((done.returncode, self.file.read_text()), (CONFIGURATION, text), done.stderr)
                self.assertRegex(done.stderr, r"(?m)^reason: (image_ref_invalid|policy_invalid)$")

    def test_files_that_cannot_be_read(self):
        folder = self.here.folder / "folder.yaml"
        folder.mkdir()
        self.bad(self.here, CONFIGURATION, "policy_invalid", "bump-ref", folder)
        fifo = self.here.folder / "fifo.yaml"
        os.mkfifo(fifo)
        self.bad(self.here, CONFIGURATION, "policy_invalid", "bump-ref", fifo)


if __name__ == "__main__":
    unittest.main(verbosity=2)
