#!/usr/bin/env python3
"""Jobs in images that only a registry has: pulled, booted, found again; the image's configuration; IMG-23; cancelled and killed pulls.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_vm_test.py [-v] [TestClass.test_name]
"""
import json
import pathlib
import signal
import sys
import time
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from job_case import JobCase  # noqa: E402
from layout import Layout, symlink  # noqa: E402
from made_images import busybox_entries  # noqa: E402
from pull_case import CONFIGURATION, INFRASTRUCTURE, MIB, SECONDS, ZEROS, manifest_of, sha256, sha256_of  # noqa: E402

START_SECONDS = 30
CANCEL_SECONDS = 10  # an agent's grace period is as long
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000::/home/build:/bin/sh\n"
GROUP = b"root:x:0:\nbuild:x:1000:\nstaff:x:50:\ndisk:x:6:build,root\n"
CONFIG = {"Env": ["PATH=/bin", "FROM_IMAGE=image", "BOTH=image", "EMPTY="], "WorkingDir": "/home", "Entrypoint": ["/bin/echo", "entrypoint"], "Cmd": ["cmd"]}
# As root on every device there is, which a job may make nodes of.
WRITER = r"""
names=$(awk 'NR > 2 {print $4}' /proc/partitions)
for name in $names; do
  mknod /dev/$name b $(tr : ' ' < /sys/class/block/$name/dev) && echo "node $name"
  blockdev --setrw /dev/$name
done
mkdir /m
mount -t ext4 -o rw /dev/vda /m && echo mounted && echo evil > /m/evil
for place in / /bin /etc /home /root /var /tmp; do echo evil > $place/evil; done
rm -rf /etc/passwd /bin/ls; echo evil > /etc/group; chmod 777 /bin/busybox; sync
for name in $names; do
  dd if=/dev/zero of=/dev/$name bs=4096 count=64 conv=notrunc
  echo "tried $name read-only=$(cat /sys/class/block/$name/ro)"
done
sync; echo wrote everywhere
"""


def made(folder, user):
    layout = Layout(folder)
    entries = [(name, fields) for name, fields in busybox_entries() if name not in ("etc/passwd", "etc/group")]
    entries += [("etc/passwd", dict(content=PASSWD)), ("etc/group", dict(content=GROUP)), ("bin/tool", symlink("busybox"))]
    layout.tag(layout.manifest([layout.layer(entries, "none")], config={**CONFIG, "User": user}))
    layout.finish()
    return f"{folder}:t"


def processes_of(host):
    """Those that have the host's folder in their environment or arguments."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if any(str(host.folder).encode() in (path / name).read_bytes() for name in ("environ", "cmdline")):
                found.append((path / "cmdline").read_bytes())
        except OSError:
            continue  # it ended meanwhile
    return found


class Jobs(JobCase):
    def test_pulled_and_booted_and_found_again(self):
        registry = self.rig.open()
        digest = self.rig.fill(registry, image("index"), "org/vm:1", False, "--all")
        self.rig.fill(registry, image("busybox"), "org/busybox:1")
        proxy = self.rig.proxy(registry)
        host = self.host(proxy)
        busybox = sha256(manifest_of(image("busybox"))[0])
        host.policy(f"{proxy.host}/org/busybox:1@{busybox}")
        done = host.job("--", "/bin/echo", "it runs")
        self.assertEqual((done.returncode, done.stdout), (0, "it runs\n"), done.stderr)
        self.assertIn(f"pulling {proxy.host}/org/busybox:1@{busybox}: ", done.stderr)
        self.assertRegex(done.stderr, rf"cleanroom: image +{busybox}\n")
        self.assertEqual(host.images(), {busybox})
        requests, connections = proxy.mark(), proxy.connections
        registry.close()
        done = host.job("--", "/bin/echo", "again")
        self.assertEqual((done.returncode, done.stdout), (0, "again\n"), done.stderr)
        self.assertNotIn("pulling", done.stderr)
        self.assertEqual((proxy.mark(), proxy.connections), (requests, connections))
        first, second = host.records()
        print(f"image step: pulled {first['image_ms']} ms, found {second['image_ms']} ms", file=sys.stderr)
        self.assertEqual({one["image_digest"] for one in (first, second)}, {busybox})
        # And what is not here cannot be had.
        host.policy(f"{proxy.host}/org/vm@{digest}")
        self.run_refused(host, INFRASTRUCTURE, "image_pull_failed")

    def test_images_that_cannot_be_had(self):
        registry = self.rig.open()
        self.rig.fill(registry, image("busybox"), "org/busybox:1")
        proxy = self.rig.proxy(registry)
        host = self.host(proxy)
        host.policy(f"{proxy.host}/org/none@{ZEROS}")
        self.run_refused(host, INFRASTRUCTURE, "image_not_found")
        # IMG-24: a policy without a digest is none, and a caller's reference neither.
        host.policy(f"{proxy.host}/org/busybox:1")
        self.assertEqual(host.job("--", "/bin/true").returncode, CONFIGURATION)
        host.policy(f"{proxy.host}/org/none@{ZEROS}")
        self.run_refused(host, CONFIGURATION, "policy_conflict", "--image", f"{proxy.host}/org/busybox:1")
        self.assertEqual(proxy.seen("/blobs/|/busybox/"), [])
        host.ceiling(images={"registries": ["registry.example.com"]})
        self.run_refused(host, CONFIGURATION, "policy_conflict")
        self.assertEqual(host.images(), set())

    def test_the_images_configuration(self):
        registry = self.rig.open()
        source = made(self.root / "build", "build")
        digest = self.rig.fill(registry, source, "org/build:1")
        host = self.host(registry)
        host.policy(f"{registry.host}/org/build@{digest}")
        host.environment |= {"BOTH": "job", "HOST_ONLY": "host"}
        out = self.succeeds(host, "--env", "BOTH", "--", "/bin/sh", "-c", "env; id; pwd; echo $HOME")
        variables = sorted(line for line in out.splitlines() if line.startswith(("FROM_IMAGE", "BOTH", "EMPTY", "HOST_ONLY", "PATH")))
        self.assertEqual(variables, ["BOTH=job", "EMPTY=", "FROM_IMAGE=image", "PATH=/bin"])
        self.assertIn("uid=1000(build) gid=1000(build) groups=6(disk)\n/workspace\n/home/build\n", out)
        self.assertNotIn("entrypoint", out)
        shown = json.loads(host.run("inspect", digest).stdout)["config"]
        self.assertEqual(shown, {"env": CONFIG["Env"], "user": "build", "workdir": "/home", "entrypoint": CONFIG["Entrypoint"], "cmd": CONFIG["Cmd"]})

    def test_users_by_number_and_by_group(self):
        for number, (user, expected) in enumerate((("7:8", "uid=7 gid=8"), ("build:staff", "uid=1000(build) gid=50(staff)"), ("1000", "uid=1000(build) gid=1000(build)"))):
            with self.subTest(user):
                host = self.host()
                self.assertTrue(self.succeeds(host, "--image", "oci:" + made(self.root / f"user{number}", user), "--", "/bin/id").startswith(expected))

    def test_a_user_that_the_image_does_not_know(self):
        host = self.host()
        done = host.job("--image", "oci:" + made(self.root / "nobody", "nobody"), "--", "/bin/id")
        self.assertNotIn(done.returncode, (0, 1))
        self.assertNotIn("uid=", done.stdout)
        self.assertIn("nobody", done.stderr)
        self.assertEqual(host.unfinished(), [])

    def test_IMG_23_a_job_writes_everywhere(self):
        host = self.host()
        source = "oci:" + image("busybox")
        told = json.loads(host.run("import", "--json", source).stdout)
        before = sha256_of(told["rootfs"])
        out = self.succeeds(host, "--image", source, "--", "/bin/sh", "-c", WRITER)
        for line in ("node vda\n", "tried vda read-only=1\n", "wrote everywhere\n"):
            self.assertIn(line, out)
        self.assertEqual(sha256_of(told["rootfs"]), before)
        out = self.succeeds(host, "--image", source, "--", "/bin/sh", "-c", "ls -d /evil /*/evil /m; cat /etc/passwd /etc/group; stat -c %a /bin/busybox")
        self.assertNotIn("evil", out)
        self.assertIn("build:x:1000:1000::/home:/bin/sh\nroot:x:0:\n", out)
        self.assertIn("\n755\n", out)
        self.assertEqual(sha256_of(told["rootfs"]), before)


class Interrupted(JobCase):
    """A pull of cleanroom-run that does not end by itself."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.rig.open()
        cls.layers = manifest_of(image("noise"))[1]["layers"]
        # Something that runs, above a layer that takes its time.
        layout = Layout(cls.root / "large")
        for layer in cls.layers:
            blob = pathlib.Path(image("noise").rpartition(":")[0]) / "blobs/sha256" / layer["digest"][7:]
            (layout.blobs / layer["digest"][7:]).write_bytes(blob.read_bytes())
        config = json.loads((pathlib.Path(image("noise").rpartition(":")[0]) / "blobs/sha256" / manifest_of(image("noise"))[1]["config"]["digest"][7:]).read_text())
        described = list(zip(cls.layers, config["rootfs"]["diff_ids"]))
        layout.tag(layout.manifest([*described, layout.layer(busybox_entries())]))
        layout.finish()
        cls.digest = cls.rig.fill(cls.registry, f"{layout.path}:t", "org/large:1")

    def stalled(self):
        """A run whose pull stands still in the large layer: (host, process, rule)."""
        proxy = self.rig.proxy(self.registry)
        rule = proxy.fault("stall", match=self.layers[0]["digest"], after=MIB, times=1)
        host = self.host(proxy)
        host.policy(f"{proxy.host}/org/large@{self.digest}")
        process = host.start_job("--", "/bin/echo", "complete")
        if not rule.reached.wait(START_SECONDS):
            process.kill()
            self.fail("the pull did not begin: " + host.finish(process).stderr)
        return host, process, proxy

    def test_cancelled(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                host, process, proxy = self.stalled()
                started = time.monotonic()
                process.send_signal(number)
                done = host.finish(process)
                self.assertLess(time.monotonic() - started, CANCEL_SECONDS)
                self.assertEqual(done.returncode, 128 + number, done.stderr)
                record = host.records()[-1]
                self.assertEqual((record["reason"], record["outcome"]), ("cancelled", "cancelled"))
                self.assertEqual(processes_of(host), [])
                self.assertEqual(host.images(), set())
                self.assertEqual((host.unfinished(), host.large_files()), ([], []))
                proxy.clear()
                self.assertEqual(self.succeeds(host, "--", "/bin/echo", "complete"), "complete\n")

    def test_killed(self):
        host, process, proxy = self.stalled()
        process.kill()
        host.finish(process)
        self.assertEqual(processes_of(host), [])
        self.assertEqual(host.images(), set())
        proxy.clear()
        self.assertEqual(self.succeeds(host, "--", "/bin/echo", "complete"), "complete\n")
        self.assertEqual(host.images(), {self.digest})
        other = self.host(self.registry)
        self.assertEqual(sha256_of(self.pull(other, f"{self.registry.host}/org/large@{self.digest}")["rootfs"]),
                         sha256_of(host.store() / self.digest[7:] / "rootfs.ext4"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
