#!/usr/bin/env python3
"""cleanroom doctor: each prerequisite, present and not, with what mends it; exit codes; JSON.

usage: CLEANROOM_BIN_DIR=build/release/bin doctor_test.py [-v]
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = pathlib.Path(os.environ["CLEANROOM_BIN_DIR"]) / "cleanroom"
SHARED = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share") / "cleanroom"


class Doctor(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cleanroom-doctor-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "config").mkdir()
        (self.folder / "data/cleanroom").mkdir(parents=True)
        (self.folder / "data/cleanroom/kernels").symlink_to(SHARED / "kernels")
        self.configure("")

    def configure(self, text):
        (self.folder / "config/config.yaml").write_text("allow_emulation: true\n" + text)

    def doctor(self, *options):
        own = {"XDG_DATA_HOME": self.folder / "data", "XDG_CACHE_HOME": self.folder / "cache", "XDG_STATE_HOME": self.folder / "state",
               "CLEANROOM_CONFIG_DIR": self.folder / "config"}
        return subprocess.run([PROGRAM, "doctor", *options], env={**os.environ, **own}, capture_output=True, text=True, timeout=60)

    def report(self, code=0):
        done = self.doctor("--json")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["can_run_jobs"], code == 0)
        return report, {check["name"]: check for check in report["checks"]}

    def stub_qemu(self, version):
        """A stub: a QEMU that is too old is none of Debian's."""
        stub = self.folder / "qemu"
        stub.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
        stub.chmod(0o755)
        self.configure(f"backends: {{qemu: {{binary_path: {stub}}}}}\n")

    def test_a_host_that_can_run_jobs(self):
        report, checks = self.report()
        self.assertEqual([checks[name]["state"] for name in ("operator_files", "directories", "qemu", "guest_kernel")], ["ok"] * 4)
        self.assertRegex(checks["qemu"]["found"], r"^\d+\.\d+\.\d+ at /")
        (backend,) = [backend for backend in report["backends"] if backend["name"] == "qemu"]
        self.assertTrue(backend["usable"] and backend["templates"])
        self.assertEqual(backend["hardware_isolation"], backend["accel"] == "kvm")
        # VMM-12: what is emulated is said to be no boundary, with what would mend it.
        if backend["accel"] == "tcg":
            self.assertIn("no security boundary", checks["kvm"]["why"])
            self.assertTrue(checks["kvm"]["mend"])
        for check in report["checks"]:
            self.assertEqual(check["state"] == "ok", not check["why"] and not check["mend"], check)
        text = self.doctor()
        self.assertEqual(text.returncode, 0)
        self.assertIn("jobs can run here", text.stdout)

    def test_the_walls_around_a_vmm(self):
        report, checks = self.report()
        self.assertEqual(len(report["isolation"]), 13)
        self.assertIs(report["isolation"]["seccomp"], True)
        absent = [wall for wall, state in report["isolation"].items() if state is not True]
        self.assertEqual(checks["vmm_isolation"]["state"], "advice" if absent else "ok")
        for wall in absent:
            self.assertIn(f"{wall}: {report['isolation'][wall]}", checks["vmm_isolation"]["found"])
        if absent:
            self.configure(f"require_isolation: [{absent[0]}]\n")
            self.assertEqual(self.report(1)[1]["vmm_isolation"]["state"], "missing")

    def test_vmm_10_a_qemu_without_the_virtio_fix_is_refused(self):
        self.stub_qemu("7.2.10")
        report, checks = self.report(1)
        self.assertEqual(checks["qemu"]["state"], "missing")
        self.assertIn("CVE-2024-3446", checks["qemu"]["why"])
        self.assertFalse(report["backends"][0]["usable"])

    def test_vmm_10_a_firecracker_that_is_too_old_is_refused(self):
        stub = self.folder / "firecracker"
        stub.write_text("#!/bin/sh\necho 'Firecracker v1.14.3'\n")  # a stub: the real ones that are too old are not to be had here
        stub.chmod(0o755)
        self.configure(f"backends: {{firecracker: {{binary_path: {stub}}}}}\n")
        report, checks = self.report(1)
        self.assertEqual(checks["firecracker"]["state"], "missing")
        self.assertIn("CVE-2026-5747", checks["firecracker"]["why"])
        self.assertEqual([backend["usable"] for backend in report["backends"] if backend["name"] == "firecracker"], [False])

    def test_what_is_missing_is_named_with_what_mends_it(self):
        self.configure("backends: {qemu: {binary_path: /no/such/qemu}}\n")
        (self.folder / "data/cleanroom/kernels").unlink()
        _, checks = self.report(1)
        self.assertEqual((checks["qemu"]["state"], checks["guest_kernel"]["state"]), ("missing", "missing"))
        self.assertIn("apt-get install", checks["qemu"]["mend"])
        self.assertIn("kernel", checks["guest_kernel"]["mend"])
        self.assertIn("no job can run here", self.doctor().stdout)

    def test_operator_files_that_do_not_hold(self):
        self.configure("no_such_key: 1\n")
        _, checks = self.report(1)
        self.assertEqual(checks["operator_files"]["state"], "missing")
        self.assertIn("no_such_key", checks["operator_files"]["found"])
        self.configure("")
        (self.folder / "config/config.yaml").chmod(0o666)
        _, checks = self.report(1)
        self.assertEqual(checks["operator_files"]["state"], "missing")

    def test_wrong_words_are_a_usage_error(self):
        self.assertEqual(self.doctor("now").returncode, 64)


if __name__ == "__main__":
    unittest.main(verbosity=2)
