#!/usr/bin/env python3
"""Jobs' VMs restored from templates: made once, by one of many; each restored VM is a VM of its own; what may not be used is not.

usage: CLEANROOM_BIN_DIR=build/release/bin CLEANROOM_SOURCE_DIR=. template_vm_test.py [-v] [TestClass.test_name]
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

RUNNER = pathlib.Path(os.environ["CLEANROOM_BIN_DIR"]) / "cleanroom-run"
HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share") / "cleanroom"
LIMIT = 240
CLONES = int(os.environ.get("CLEANROOM_TEST_CLONES", 24))  # the case asks for 200, which takes minutes under emulation
KILLS = 8


def digest_of_data(path):
    """Of a sparse file: its data, and where it is."""
    digest = hashlib.sha256()
    for offset, data in data_of(path):
        digest.update(offset.to_bytes(8, "little") + data)
    return digest.digest()


def data_of(path):
    with open(path, "rb") as file:
        end, offset = os.fstat(file.fileno()).st_size, 0
        while offset < end:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                return  # the rest is a hole
            until = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            yield offset, os.pread(file.fileno(), until - offset, offset)
            offset = until


class Host:
    """A host of its own but for kernels and images: its templates, runs and configuration."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cleanroom-template-"))
        data = self.folder / "data/cleanroom"
        data.mkdir(parents=True, mode=0o700)
        for shared in ("kernels", "images"):
            (SHARED / shared).mkdir(parents=True, exist_ok=True)
            (data / shared).symlink_to(SHARED / shared)
        self.templates = data / "templates"
        self.runs = self.folder / "state/cleanroom/runs"
        self.configure("")
        self.checkout = self.folder / "checkout"
        self.checkout.mkdir()
        (self.checkout / "cleanroom.yaml").write_text("version: 1\nsandbox: {network: {default: deny}}\n")

    def configure(self, text):
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config/config.yaml").write_text("allow_emulation: true\n" + text)

    def start(self, *command, options=("--memory", "256"), environment=()):
        result = self.folder / f"result-{secrets.token_hex(4)}.json"
        words = [RUNNER, "--checkout", self.checkout, "--image", f"oci:{SHARED}/layouts/demo", "--result", result,
                 *options, "--", *command]
        own = dict(XDG_DATA_HOME=self.folder / "data", XDG_STATE_HOME=self.folder / "state", CLEANROOM_CONFIG_DIR=self.folder / "config")
        kept = {name: value for name, value in os.environ.items() if name != "BUILDKITE"}
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**kept, **own, **dict(environment)})
        process.result = result
        return process

    def job(self, *command, **settings):
        process = self.start(*command, **settings)
        try:
            process.out, process.err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        process.record = json.loads(process.result.read_text())
        return process

    def made(self):
        return sorted(path for path in self.templates.glob("*") if not path.name.startswith("."))

    def in_the_making(self):
        return sorted(self.templates.glob(".*"))

    def vmms(self):
        """Processes that have this host's folder in their arguments, and are not the runner."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            if str(self.folder).encode() in words and b"qemu" in words.split(b"\0")[0]:
                found.append(path.name)
        return found

    def await_no_vmm(self, seconds=10):
        deadline = time.monotonic() + seconds
        while self.vmms() and time.monotonic() < deadline:
            time.sleep(0.05)  # between looks at /proc: there is nothing to wait on for another process's child
        return self.vmms()


class Case(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.addCleanup(shutil.rmtree, self.host.folder, ignore_errors=True)

    def succeeds(self, *command, **options):
        done = self.host.job(*command, **options)
        self.assertEqual(done.returncode, 0, done.err)
        return done

    def starts(self, done, start, made=False):
        self.assertEqual((done.record["start"], done.record["template_made"]), (start, made), done.err)


class Templates(Case):
    def test_made_by_the_first_run_and_used_by_the_next(self):
        first = self.succeeds("/bin/echo", "it runs")
        self.starts(first, "template", made=True)
        self.assertEqual(first.out, "it runs\n")
        second = self.succeeds("/bin/echo", "again")
        self.starts(second, "template")
        self.assertEqual(second.record["template"], first.record["template"])
        self.assertNotIn("boot_ms", second.record)
        self.assertEqual([path.name for path in self.host.made()], [first.record["template"]])
        self.assertEqual(self.host.in_the_making(), [])

    def test_a_restored_vm_is_the_machine_that_a_booted_one_is(self):
        """Root, mounts, files and processes that a job sees, from a template and cold; at the usual place and at another."""
        script = ("sort /etc/hosts | sed s/$(hostname)/HOST/; test $(cat /etc/hostname) = $(hostname); stat -c '%n %A %u:%g' / /* /dev/* | grep -v /proc; "
                  "cut -d' ' -f2-4 /proc/mounts | sed s/,size=.*//; ls /proc | grep -c '^[0-9]'; cat /proc/self/cgroup; ls /proc/self/fd | wc -l; "
                  "cat given; echo $PWD; df -k / | tail -n 1 | cut -c1-9; umask; ulimit -n")
        (self.host.checkout / "given").write_text("from the checkout\n")
        for place in ("/workspace", "/srv/deep/er"):
            options = ("--memory", "256", "--workdir", place)
            self.host.configure("")
            self.succeeds("/bin/true", options=options)
            restored = self.succeeds("/bin/sh", "-ec", script, options=options)
            self.starts(restored, "template")
            self.host.configure("templates: {enable: false}\n")
            booted = self.succeeds("/bin/sh", "-ec", script, options=options)
            self.starts(booted, "cold")
            self.assertEqual(restored.out, booted.out)
            self.assertIn("from the checkout\n" + place, restored.out)
            self.assertEqual("/workspace " in restored.out, place == "/workspace", restored.out)

    def test_wrm_07_another_machine_is_another_template(self):
        keys = {self.succeeds("/bin/true", options=options).record["template"] 
                for options in (("--memory", "256"), ("--memory", "320"), ("--memory", "256", "--vcpus", "1"))}
        self.assertEqual(len(keys), 3)

    def test_switched_off_by_the_operator(self):
        self.host.configure("templates: {enable: false}\n")
        self.starts(self.succeeds("/bin/true"), "cold")
        self.assertFalse(self.host.templates.exists())

    def test_wrm_06_many_first_runs_make_one(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: self.host.job("/bin/echo", "mine"), range(4)))
        self.assertEqual([(job.returncode, job.out) for job in done], [(0, "mine\n")] * 4, [job.err for job in done])
        self.assertEqual(sum(job.record["template_made"] for job in done), 1)
        self.assertEqual(len(self.host.made()), 1)


class Damaged(Case):
    def test_wrm_09_a_flipped_bit_is_a_cold_boot_and_a_line(self):
        self.succeeds("/bin/true")
        memory = self.host.made()[0] / "memory"
        with open(memory, "r+b") as file:
            file.seek(16 << 20)
            byte = file.read(1)
            file.seek(16 << 20)
            file.write(bytes([byte[0] ^ 1]))
        done = self.succeeds("/bin/echo", "all the same")
        self.starts(done, "cold")
        self.assertEqual(done.out, "all the same\n")
        self.assertIn("cannot use a template: its memory is not as it was saved", done.err)
        self.starts(self.succeeds("/bin/true"), "template", made=True)

    def test_wrm_09_a_scratch_disk_that_was_changed_is_a_cold_boot_and_a_line(self):
        self.succeeds("/bin/true")
        with open(self.host.made()[0] / "scratch", "r+b") as file:
            file.seek(1 << 30)
            file.write(b"more")
        done = self.succeeds("/bin/echo", "all the same")
        self.starts(done, "cold")
        self.assertIn("cannot use a template: its scratch disk is not as it was saved", done.err)

    def test_wrm_09_a_state_that_fits_its_digest_but_not_the_vmm_is_a_cold_boot(self):
        self.succeeds("/bin/true")
        template = self.host.made()[0]
        state = (template / "state").read_bytes()[: 40_000]
        (template / "state").write_bytes(state)
        manifest = json.loads((template / "manifest.json").read_text())
        manifest["state_sha256"] = hashlib.sha256(state).hexdigest()
        (template / "manifest.json").write_text(json.dumps(manifest))
        done = self.succeeds("/bin/echo", "all the same")
        self.starts(done, "cold")
        self.assertIn("cannot use a template", done.err)
        self.assertEqual(self.host.made(), [])


class Clones(Case):
    @classmethod
    def setUpClass(cls):
        cls.tools = tempfile.TemporaryDirectory()
        cls.probe = pathlib.Path(cls.tools.name) / "probe"
        subprocess.run(["cc", "-static", "-O1", "-o", cls.probe, HERE / "clone_probe.c"], check=True)
        cls.later = pathlib.Path(cls.tools.name) / "later.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.later, HERE / "later_clock.c"], check=True)
        cls.addClassCleanup(cls.tools.cleanup)

    def setUp(self):
        super().setUp()
        shutil.copy(self.probe, self.host.checkout / "probe")

    def look(self, _=None):
        done = self.host.job("./probe")
        seen = time.time()
        self.assertEqual(done.returncode, 0, done.err)
        return done, dict(line.split(" ", 1) for line in done.out.splitlines()), seen

    def test_wrm_01_wrm_02_wrm_04_no_two_share_entropy_or_identity_and_the_clock_is_right(self):
        first = self.look()
        self.starts(first[0], "template", made=True)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            looks = [first] + list(pool.map(self.look, range(CLONES - 1)))
        for name in ("getrandom", "urandom", "at_random", "uuid", "boot_id", "machine_id", "hostname"):
            values = [values[name] for _, values, _ in looks]
            self.assertEqual(len(set(values)), CLONES, (name, values))
            self.assertNotIn("-", values)
        for done, values, seen in looks:
            self.starts(done, "template", made=done is first[0])
            # The job spoke some time before it was over: that much earlier its clock may be, and a second either way.
            took = done.record["command_ms"] / 1000 + done.record["teardown_ms"] / 1000 + 1
            self.assertLess(abs(seen - float(values["realtime"]) - took / 2), 1 + took / 2)
        # The clock that never goes back went on from where the template stood, not from zero or from the host's.
        self.assertTrue(all(0 < float(values["monotonic"]) < 600 for _, values, _ in looks))

    def test_wrm_04_the_clock_is_right_however_old_the_template_is(self):
        self.starts(self.look()[0], "template", made=True)
        for age in (3600, 30 * 24 * 3600):
            done = self.host.job("./probe", environment={"LD_PRELOAD": str(self.later), "LATER_SECONDS": str(age)})
            seen = time.time() + age
            self.starts(done, "template")
            values = dict(line.split(" ", 1) for line in done.out.splitlines())
            took = done.record["command_ms"] / 1000 + done.record["teardown_ms"] / 1000 + 1
            self.assertLess(abs(seen - float(values["realtime"]) - took / 2), 1 + took / 2)
            self.assertTrue(0 < float(values["monotonic"]) < 600, values)

    def test_wrm_05_nothing_of_a_job_or_of_the_runner_is_in_a_template(self):
        canary = "canary-" + secrets.token_hex(16)
        (self.host.checkout / "file").write_text(f"in the checkout {canary}\n" * 50)
        done = self.succeeds("/bin/sh", "-c", f"echo {canary}; cat file | head -n 1; env | grep -c CANARY", options=("--memory", "256", "--env", "CANARY"),
                             environment={"CANARY": canary, "HOST_CANARY": canary})
        self.starts(done, "template", made=True)
        self.assertEqual(done.out.count(canary), 2)
        files = list(self.host.made()[0].iterdir())
        self.assertEqual({file.name for file in files}, {"memory", "state", "scratch", "manifest.json"})
        for file in files:
            self.assertFalse(any(canary.encode() in data for _, data in data_of(file)), file.name)

    def test_wrm_11_clones_share_no_page_and_no_block(self):
        self.succeeds("/bin/true")
        template = self.host.made()[0]
        before = {name: digest_of_data(template / name) for name in ("memory", "state", "scratch")}
        script = "echo {0} >/root/mine; echo {0} >/tmp/mine; echo {0} >mine; sync; sleep 2; cat /root/mine /tmp/mine mine | uniq -c; ls /root"
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda name: self.host.job("/bin/sh", "-c", script.format(name)), ("one", "two")))
        for job, name in zip(done, ("one", "two")):
            self.starts(job, "template")
            self.assertEqual(job.out.split(), ["3", name, "mine"], job.err)
        self.assertEqual(before, {name: digest_of_data(template / name) for name in before})


class Killed(Case):
    def test_flt_01_a_runner_killed_at_any_moment_leaves_no_vm_and_no_half_template(self):
        self.starts(self.succeeds("/bin/true"), "template", made=True)
        whole = self.host.made()[0].name
        for kill in range(KILLS):
            if kill % 2 == 0:
                shutil.rmtree(self.host.templates / whole, ignore_errors=True)  # then this run makes it again
            process = self.host.start("/bin/sleep", "1000")
            time.sleep(random.uniform(0.02, 2.5))  # the moment is the case, not a wait for anything
            process.kill()
            process.communicate(timeout=LIMIT)
            self.assertEqual(self.host.await_no_vmm(), [])
        # Whatever was left is of no harm to the next run, and gone after it.
        done = self.succeeds("/bin/echo", "fine")
        self.assertEqual(done.record["start"], "template", done.err)
        self.succeeds("/bin/true", options=("--memory", "288"))
        self.assertEqual(self.host.in_the_making(), [])
        self.assertEqual(list(self.host.runs.glob("*/work")), [])

    def test_flt_16_cancelled_while_a_template_is_made_or_restored(self):
        for _ in range(KILLS // 2):
            process = self.host.start("/bin/sleep", "1000")
            time.sleep(random.uniform(0.3, 2.5))  # as above
            process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            _, err = process.communicate(timeout=LIMIT)
            self.assertLess(time.monotonic() - begun, 10, err)
            self.assertEqual(process.returncode, 143, err)
            self.assertEqual(self.host.await_no_vmm(), [])
        self.assertEqual(self.host.in_the_making(), [])
        self.assertEqual(list(self.host.runs.glob("*/work")), [])

    def test_flt_01_a_vmm_killed_under_its_job_is_an_infrastructure_failure(self):
        self.succeeds("/bin/true")
        process = self.host.start("/bin/sh", "-c", "echo running; sleep 1000")
        self.assertEqual(process.stdout.readline(), "running\n")
        vmms = self.host.vmms()
        self.assertEqual(len(vmms), 1)
        os.kill(int(vmms[0]), signal.SIGKILL)
        _, err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 125, err)
        self.assertEqual(json.loads(process.result.read_text())["reason"], "agent_lost")


if __name__ == "__main__":
    unittest.main(verbosity=2)
