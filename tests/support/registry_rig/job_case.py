"""What tests of cleanroom-run and registries share: a host whose jobs run in VMs, of one kernel and one cache for all tests."""
import json
import os
import pathlib
import subprocess

from pull_case import BIN, SECONDS, Host, PullCase

# The kernel that scripts/make-kernel left where every user's is.
KERNELS = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share") / "cleanroom/kernels"


class JobHost(Host):
    def __init__(self, folder, cache):
        super().__init__(folder)
        self.environment["XDG_CACHE_HOME"] = str(cache)
        (folder / "data/cleanroom").mkdir(parents=True, mode=0o700)
        (folder / "data/cleanroom/kernels").symlink_to(KERNELS)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self.policy(None)

    def _operator_file(self, name, text):
        super()._operator_file(name, text + ("allow_emulation: true\n" if name == "config.yaml" else ""))

    def ceiling(self, **keys):
        self._operator_file("ceiling.yaml", json.dumps(keys))

    def policy(self, reference, *public_keys):
        """The checkout's policy; JSON is YAML. No reference: the caller names the image."""
        sandbox = {"network": {"default": "deny"}}
        if reference:
            sandbox["image"] = {"ref": reference, **({"verify": {"public_keys": list(public_keys)}} if public_keys else {})}
        (self.checkout / "cleanroom.yaml").write_text(json.dumps({"version": 1, "sandbox": sandbox}))

    def start_job(self, *words):
        """WORDS: options, --, command."""
        return subprocess.Popen([BIN / "cleanroom-run", "--checkout", self.checkout, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment)

    def job(self, *words):
        return self.finish(self.start_job(*words))

    def records(self):
        """Every run.json, the oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "state/cleanroom/runs").glob("*/run.json"))]

    def store(self):
        return self.folder / "data/cleanroom/images"

    def unfinished(self):
        """What builds and runs leave only when they are killed."""
        builds = [path for path in self.store().glob(".*") if not path.name.endswith(".lock")] if self.store().exists() else []
        return builds + list((self.folder / "state/cleanroom/runs").glob("*/work"))


class JobCase(PullCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not KERNELS.is_dir():
            raise AssertionError(f"no kernel in {KERNELS}: run scripts/make-kernel")

    def host(self, *servers, **keys):
        type(self).count += 1
        host = JobHost(self.root / f"host{self.count}", self.root / "cache")
        for server in servers:
            host.registry(server, ca_file=self.rig.ca, **keys)
        return host

    def succeeds(self, host, *words):
        """The job's standard output."""
        done = host.job(*words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(host.unfinished(), [])
        return done.stdout

    def run_refused(self, host, code, reason, *words):
        """A run that ends before its VM: one error, the reason in run.json, nothing left."""
        done = host.job(*words, "--", "/bin/true")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        record = host.records()[-1]
        self.assertEqual((record["reason"], record["exit_code"]), (reason, code), done.stderr)
        self.assertEqual(host.unfinished(), [])
        return done.stderr
