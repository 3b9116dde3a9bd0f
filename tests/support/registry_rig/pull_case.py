"""What tests of `cleanroom image pull` share: a host with its operator's files and its store, and what a pull has to be."""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "image_factory"))
from registry_rig import PASSWORD, USER, Rig  # noqa: E402

BIN = pathlib.Path(os.environ.get("CLEANROOM_BIN_DIR", "build/release/bin")).resolve()
SECONDS = 120
INFRASTRUCTURE, CONFIGURATION = 125, 78
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
ZEROS = "sha256:" + "0" * 64
MIB = 1 << 20


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(source):
    """The image manifest for amd64 of a layout: (bytes, document)."""
    layout = pathlib.Path(source.rpartition(":")[0])
    blob = lambda digest: (layout / "blobs/sha256" / digest.partition(":")[2]).read_bytes()
    data = blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
    for described in json.loads(data).get("manifests", []):
        if described["platform"]["architecture"] == "amd64":
            data = blob(described["digest"])
    return data, json.loads(data)


class Host:
    """A host of Cleanroom's: the operator's files, a store, an environment."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("operator", "home", "docker"):
            (folder / name).mkdir(parents=True, mode=0o700)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "XDG_DATA_HOME": str(folder / "data"),
                            "XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache"),
                            "CLEANROOM_CONFIG_DIR": str(folder / "operator"), "DOCKER_CONFIG": str(folder / "docker")}
        self.registries = []
        self._operator_file("config.yaml", "registries: []\n")

    def _operator_file(self, name, text):
        path = self.folder / "operator" / name
        path.write_text(text)
        path.chmod(0o600)

    def registry(self, server, **keys):
        """An entry of config.yaml; JSON is YAML."""
        self.registries.append({"host": server if isinstance(server, str) else server.host, **{k: str(v) if isinstance(v, pathlib.Path) else v for k, v in keys.items()}})
        self._operator_file("config.yaml", f"registries: {json.dumps(self.registries)}\n")

    def login(self, server, paths=("**",), password=PASSWORD):
        secret = self.folder / "operator/password"
        secret.write_text(password + "\n")
        secret.chmod(0o600)
        address, _, port = server.host.partition(":")
        binding = {"id": "test", "host": address, "port": int(port), "paths": list(paths), "methods": ["registry-pull"], "username": USER,
                   "scheme": "basic", "source": {"file": str(secret)}}
        self._operator_file("credentials.yaml", f"bindings: {json.dumps([binding])}\n")

    def docker_login(self, server, **entry):
        path = self.folder / "docker/config.json"
        path.write_text(json.dumps({"auths": {server.host: entry}}))
        path.chmod(0o600)

    def start(self, *arguments, **environment):
        return subprocess.Popen([BIN / "cleanroom", "image", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**self.environment, **environment})

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        return self.finish(process)

    @staticmethod
    def finish(process):
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def images(self):
        listed = self.run("ls", "--json")
        assert listed.returncode == 0, listed.stderr
        return {one["digest"] for one in json.loads(listed.stdout)}

    def large_files(self):
        """What the store holds beyond documents and locks."""
        return sorted(str(path) for path in (self.folder / "data").rglob("*") if path.is_file() and path.stat().st_blocks * 512 > MIB)


class PullCase(unittest.TestCase):
    """One rig for a class; every test has a host of its own."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="cleanroom-pull-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.root = pathlib.Path(cls.temporary.name)
        cls.rig = Rig(cls.root / "rig")
        cls.addClassCleanup(cls.rig.close)
        cls.count = 0
        cls.imported = {}

    def host(self, *servers, **keys):
        """A Host that knows the servers, by the rig's authority."""
        type(self).count += 1
        host = Host(self.root / f"host{self.count}")
        for server in servers:
            host.registry(server, ca_file=self.rig.ca, **keys)
        return host

    def pull(self, host, reference, **environment):
        """A pull that works: what --json says."""
        done = host.run("pull", "--json", reference, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def refused(self, host, reference, reasons, codes=(INFRASTRUCTURE, CONFIGURATION), **environment):
        """A pull that fails for one of the reasons, with one clear error, and leaves nothing."""
        done = host.run("pull", "--json", reference, **environment)
        said = done.stdout + done.stderr
        self.assertIn(done.returncode, codes, said)
        reasons = (reasons,) if isinstance(reasons, str) else reasons
        self.assertTrue(any(re.search(rf"\b{reason}\b", said) for reason in reasons), f"none of {reasons} in: {said}")
        self.assertEqual(len(re.findall(r"^error: ", done.stderr, re.MULTILINE)), 1, done.stderr)
        self.assertNotIn(PASSWORD, said)
        self.assertEqual(host.images(), set())
        self.assertEqual(host.large_files(), [])
        return done

    def same_as_import(self, told, source):
        """The pulled file system has the bytes of the same image imported elsewhere."""
        if source not in self.imported:
            other = self.host()
            done = other.run("import", "--json", "oci:" + source)
            self.assertEqual(done.returncode, 0, done.stderr)
            imported = json.loads(done.stdout)
            self.imported[source] = (imported["digest"], sha256_of(imported["rootfs"]))
        self.assertEqual((told["digest"], sha256_of(told["rootfs"])), self.imported[source])
