#!/usr/bin/env python3
"""FLT-11: what a power cut may leave of an image, by the system calls of an import and a pull as strace(1) shows them.

Two things may be lost at any moment: what was written to a file and not synced since, and what was changed in a directory and not synced
since; and both may as well have reached the disk by themselves. So an image that has its name must be synced whole before it gets it, and the
same holds for everything else that the store replaces by rename.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_power_cut_test.py [-v] [TestClass.test_name]
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from layout import Layout  # noqa: E402
from pull_case import BIN, MIB, SECONDS, PullCase  # noqa: E402

WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate", "copy_file_range", "sendfile", "splice")
SYNCS = ("fsync", "fdatasync")
OTHERS = ("open", "openat", "creat", "fchmod", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "ioctl",
          # Not modelled: a store that begins to use them makes this test fail.
          "mmap", "io_uring_setup", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat", "truncate", "sync", "syncfs")
CALL = re.compile(r"^(\d+) +(\w+)\((.*?)(?:\) += (-?\w+)(?:<.*>)?(?: .*)?| <unfinished \.\.\.>)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*?)\) += (-?\w+)(?:<.*>)?(?: .*)?$")
DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
PATH = re.compile(r'"([^"]*)"')
IMAGE = re.compile(r"/[0-9a-f]{64}$")


def calls_of(trace):
    """(phase, name, arguments) in their order: a call is "begun" and then "done", if it did not fail."""
    open_calls = {}
    for line in trace.splitlines():
        if match := CALL.match(line):
            thread, name, arguments, result = match.groups()
            if result is None:
                open_calls[thread] = arguments
                yield "begun", name, arguments
            elif not result.startswith("-"):
                yield "begun", name, arguments
                yield "done", name, arguments
        elif match := RESUMED.match(line):
            thread, name, arguments, result = match.groups()
            before = open_calls.pop(thread)
            if not result.startswith("-"):
                yield "done", name, before + arguments


class Disk:
    """What of a store is certain to be on the disk. Paths are as they are now: renames move them."""

    def __init__(self, root):
        self.root = str(root)
        self.changed = {}  # path: how often it was written or, a directory, changed
        self.synced = {}   # path: which of these changes a sync that has ended covers
        self.syncing = {}
        self.complaints = []
        self.images = []   # that have got their name
        self.unnamed = []  # those of them whose name may still be lost

    def inside(self, path):
        return path == self.root or path.startswith(self.root + "/")

    def change(self, path):
        if self.inside(path):
            self.changed[path] = self.changed.get(path, 0) + 1

    def change_name(self, path):
        self.change(os.path.dirname(path))

    def dirty_below(self, path):
        return sorted(one for one in self.changed if (one == path or one.startswith(path + "/")) and self.changed[one] != self.synced.get(one, 0))

    def forget(self, path):
        for table in (self.changed, self.synced, self.syncing):
            for one in [one for one in table if one == path or one.startswith(path + "/")]:
                del table[one]

    def rename(self, old, new):
        for path in self.dirty_below(old):
            self.complaints.append(f"{os.path.basename(new)} gets its name before {path[len(old):] or 'it'} is synced")
        self.forget(new)
        for table in (self.changed, self.synced, self.syncing):
            for one in [one for one in table if one == old or one.startswith(old + "/")]:
                table[new + one[len(old):]] = table.pop(one)
        for path in (old, new):
            self.change_name(path)
        if IMAGE.search(new) and os.path.dirname(new) == self.root:
            self.images.append(new)
            self.unnamed.append(new)

    def take(self, phase, name, arguments):
        descriptor = DESCRIPTOR.search(arguments)
        path = descriptor.group(1) if descriptor else ""
        paths = PATH.findall(arguments)
        if name in SYNCS and self.inside(path):
            if phase == "begun":
                self.syncing[path] = self.changed.get(path, 0)
            else:
                self.synced[path] = self.syncing.get(path, 0)
                if path == self.root:
                    self.unnamed.clear()
        elif phase == "begun":
            # A write counts from its beginning: the disk may have part of it.
            if name in ("copy_file_range", "sendfile", "splice"):
                path = DESCRIPTOR.findall(arguments)[-1 if name != "sendfile" else 0]
            if name in WRITES or name == "fchmod":
                self.change(path)
        elif name in ("open", "openat", "creat") and ("O_CREAT" in arguments or name == "creat"):
            if not paths[0].endswith(".lock") and paths[0] not in self.changed and self.inside(paths[0]):
                self.change(paths[0])
                self.change_name(paths[0])
        elif name in ("mkdir", "mkdirat"):
            self.change(paths[0])
            self.change_name(paths[0])
        elif name in ("unlink", "unlinkat", "rmdir"):
            if paths and not paths[0].endswith(".lock"):
                self.forget(paths[0])
                self.change_name(paths[0])
        elif name.startswith("rename") and self.inside(paths[-1]):
            self.rename(*paths[-2:])
        elif name == "mmap" and "MAP_SHARED" in arguments and "PROT_WRITE" in arguments and self.inside(path):
            self.complaints.append("a file of the store is written through a mapping, which this test does not follow")
        elif name in OTHERS and name not in ("mmap", "ioctl", "rename", "renameat", "renameat2", "open", "openat") and any(map(self.inside, paths)):
            self.complaints.append(f"{name} in the store, which this test does not follow")


def judge(root, trace, without=None):
    """The Disk after all of the trace; `without`: as if nothing synced the paths of this pattern."""
    disk = Disk(root)
    for phase, name, arguments in calls_of(trace):
        if not (without and name in SYNCS and re.fullmatch(rf"\d+<{without}>", arguments)):
            disk.take(phase, name, arguments)
    disk.complaints += [f"{os.path.basename(path)} is said to be there before its name is synced" for path in disk.unnamed]
    return disk


class PowerCut(PullCase):
    def traced(self, host, *arguments):
        """The trace of `cleanroom image ARGUMENTS`, which works."""
        log = host.folder / "trace"
        command = ["strace", "-f", "-y", "-s", "0", "-o", log, "-e", "signal=none", "-e", "trace=" + ",".join("?" + name for name in (*WRITES, *SYNCS, *OTHERS)),
                   "-e", "abbrev=none", BIN / "cleanroom", "image", *arguments]
        # LeakSanitizer is a tracer too, and there can be one.
        done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
                              env={**host.environment, "ASAN_OPTIONS": "detect_leaks=0"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return log.read_text(errors="replace")

    def safe(self, host, trace):
        """Nothing has a name too early; and each sync that makes it so is needed, so the judge is not blind."""
        root = host.folder / "data/cleanroom/images"
        disk = judge(root, trace)
        self.assertEqual((disk.complaints, len(disk.images)), ([], 1))
        hex_digits = os.path.basename(disk.images[0])
        build = rf"{re.escape(str(root))}/\.build-{hex_digits}-\w+"
        for what in (rf"{build}/rootfs\.ext4", rf"{build}/\.image\.json\.\w+", rf"{build}/layers/\d+\.tmp", rf"{build}/layers", build, re.escape(str(root))):
            self.assertNotEqual(judge(root, trace, what).complaints, [], f"nobody misses the sync of {what}")

    def test_FLT_11_an_import(self):
        layout = Layout(self.root / "layers")
        # Enough for a sync on the way, after the first layer.
        layers = [layout.layer([(f"file{number}", dict(content=os.urandom(size)))], "none") for number, size in enumerate((70 * MIB, MIB, 0))]
        layout.tag(layout.manifest(layers))
        layout.finish()
        host = self.host()
        self.safe(host, self.traced(host, "import", "localhost/made:1", f"oci:{layout.path}:t"))

    def test_FLT_11_a_pull(self):
        registry = self.rig.open()
        self.rig.fill(registry, image("layers"), "org/layers:1")
        host = self.host(registry)
        self.safe(host, self.traced(host, "pull", f"{registry.host}/org/layers:1"))

    def test_FLT_11_an_image_in_place_of_a_damaged_one(self):
        host = self.host()
        told = host.run("import", "oci:" + image("busybox"))
        self.assertEqual(told.returncode, 0, told.stderr)
        rootfs = host.folder / "data/cleanroom/images" / told.stdout.strip().removeprefix("sha256:") / "rootfs.ext4"
        # What a cut in the wrong place would leave: present, but empty.
        rootfs.chmod(0o644)
        rootfs.write_bytes(b"")
        rootfs.chmod(0o444)
        self.assertEqual(host.images(), set())
        trace = self.traced(host, "import", "oci:" + image("busybox"))
        self.assertEqual(judge(host.folder / "data/cleanroom/images", trace).complaints, [])
        self.assertEqual(host.images(), {told.stdout.strip()})
        self.assertGreater(rootfs.stat().st_size, MIB)


if __name__ == "__main__":
    unittest.main(verbosity=2)
