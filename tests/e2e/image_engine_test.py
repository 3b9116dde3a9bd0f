#!/usr/bin/env python3
"""`cleanroom image import podman:NAME` with a real Podman, and docker-daemon:NAME by way of its Docker-compatible API.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_engine_test.py [-v] [TestClass.test_name]
"""
import json
import os
import pathlib
import socketserver
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
SUPPORT = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT / "registry_rig"), str(SUPPORT / "image_factory")]
from image_factory import image  # noqa: E402
from pull_case import CONFIGURATION, INFRASTRUCTURE, SECONDS, PullCase, sha256_of  # noqa: E402
from registry_rig import die_with_parent  # noqa: E402
from servers import Server  # noqa: E402

IMAGES = ("busybox", "everything", "layers")
# Plain directories, all below one folder: nothing of this host's own Podman is touched.
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/graph"\nrunroot = "{0}/run"\n'
ENGINE = '[engine]\ntmp_dir = "{0}/libpod"\nevents_logger = "none"\n'


class EngineCase(PullCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.podman_root = cls.root / "podman"
        for name in ("home", "xdg"):
            (cls.podman_root / name).mkdir(parents=True, mode=0o700)
        (cls.podman_root / "storage.conf").write_text(STORAGE.format(cls.podman_root))
        (cls.podman_root / "containers.conf").write_text(ENGINE.format(cls.podman_root))
        cls.engine = {"CONTAINERS_STORAGE_CONF": str(cls.podman_root / "storage.conf"), "CONTAINERS_CONF": str(cls.podman_root / "containers.conf"),
                      "XDG_RUNTIME_DIR": str(cls.podman_root / "xdg")}
        for name in IMAGES:
            archive = cls.root / f"{name}.tar"
            cls.rig.skopeo("copy", "-q", "--insecure-policy", "oci:" + image(name), f"docker-archive:{archive}:docker.io/org/{name}:1")
            cls.podman("load", "--quiet", "--input", archive)

    @classmethod
    def podman(cls, *arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": str(cls.podman_root / "home"), **cls.engine}
        return subprocess.run(["podman", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=SECONDS, env=environment)

    def made_of(self, source, **environment):
        done = self.host().run("import", "--json", source, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual(told["source"], source)
        return told["digest"], sha256_of(told["rootfs"]), told["config"]

    def not_imported(self, code, reason, source, **environment):
        host = self.host()
        done = host.run("import", "localhost/made:1", source, **environment)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertIn(f"\nreason: {reason}\n", done.stderr)
        self.assertEqual(done.stderr.count("error: "), 1, done.stderr)
        self.assertEqual((host.images(), host.large_files()), (set(), []))
        return done.stderr

    def same_as_archives(self, scheme, **environment):
        for name in IMAGES:
            with self.subTest(name):
                expected = self.made_of(f"docker-archive:{self.root / name}.tar")
                for spelled in (f"docker.io/org/{name}:1", f"org/{name}:1"):
                    self.assertEqual(self.made_of(f"{scheme}:{spelled}", **environment), expected)


class Podman(EngineCase):
    def test_the_same_as_from_an_archive(self):
        self.same_as_archives("podman", **self.engine)

    def test_by_id(self):
        found = self.podman("images", "--no-trunc", "--format", "{{.ID}}", "docker.io/org/busybox:1").stdout.strip().removeprefix("sha256:")
        self.assertEqual(self.made_of(f"podman:{found}", **self.engine), self.made_of(f"docker-archive:{self.root / 'busybox'}.tar"))

    def test_with_a_name_of_ours(self):
        host = self.host()
        done = host.run("import", "localhost/made:1", "podman:org/busybox:1", **self.engine)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(host.run("inspect", "localhost/made:1").stdout)["digest"], done.stdout.strip())

    def test_an_image_that_it_does_not_have(self):
        said = self.not_imported(INFRASTRUCTURE, "image_not_found", "podman:org/none:1", **self.engine)
        self.assertIn("podman has no image 'org/none:1'", said)
        self.assertIn("hint: podman images", said)

    def test_no_podman(self):
        self.assertIn("there is no podman in PATH", self.not_imported(INFRASTRUCTURE, "image_not_found", "podman:org/busybox:1", PATH=str(self.root)))

    def test_what_is_no_name(self):
        for name in ("--output=/tmp/x", "a b", "../up", "$(id)", "x;y"):
            with self.subTest(name):
                self.not_imported(CONFIGURATION, "image_ref_invalid", f"podman:{name}", **self.engine)


class Liar(socketserver.ThreadingUnixStreamServer):
    """An engine that says one thing to everybody, and hangs up."""
    daemon_threads = True

    def __init__(self, path, status, body, length=None):
        self.heads = []

        class Handler(socketserver.StreamRequestHandler):
            timeout = SECONDS

            def handle(handler):
                lines = list(iter(lambda: handler.rfile.readline(65536).strip(), b""))
                self.heads.append(lines[0].decode())
                size = len(body) if length is None else length
                handler.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, size) + body)

        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *arguments):
        self.shutdown()
        self.server_close()


class Docker(EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.socket = cls.podman_root / "api.sock"
        environment = {"PATH": os.environ["PATH"], "HOME": str(cls.podman_root / "home"), **cls.engine}
        cls.service = subprocess.Popen(["podman", "--log-level=info", "system", "service", "--time", str(SECONDS), f"unix://{cls.socket}"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=die_with_parent)
        cls.addClassCleanup(cls.ended)
        listening = threading.Event()
        cls.said = []

        def read():
            for line in cls.service.stderr:
                cls.said.append(line)
                if "listening on" in line:
                    listening.set()

        cls.reader = threading.Thread(target=read, daemon=True)
        cls.reader.start()
        assert listening.wait(30), "podman's service does not listen:\n" + "".join(cls.said)
        cls.docker = {"DOCKER_HOST": f"unix://{cls.socket}"}

    @classmethod
    def ended(cls):
        cls.service.kill()
        cls.service.wait(30)
        cls.reader.join(30)
        cls.service.stderr.close()

    def test_the_same_as_from_an_archive(self):
        self.same_as_archives("docker-daemon", **self.docker)

    def test_an_image_that_it_does_not_have(self):
        self.assertIn("docker has no image 'org/none:1'", self.not_imported(INFRASTRUCTURE, "image_not_found", "docker-daemon:org/none:1", **self.docker))

    def test_no_engine(self):
        missing = self.root / "none.sock"
        self.assertIn(f"there is no engine at {missing}", self.not_imported(INFRASTRUCTURE, "image_not_found", "docker-daemon:org/busybox:1", DOCKER_HOST=f"unix://{missing}"))

    def test_engines_of_other_hosts_are_not_asked(self):
        other = Server()
        self.addCleanup(other.close)
        for value in (f"tcp://{other.host}", f"http://{other.host}", "ssh://root@localhost", "unix://relative.sock", "npipe:////./pipe/docker"):
            with self.subTest(value):
                self.assertIn("not a Unix socket", self.not_imported(CONFIGURATION, "image_not_found", "docker-daemon:org/busybox:1", DOCKER_HOST=value))
        self.assertEqual(other.connections, 0)

    def test_engines_that_fail(self):
        archive = (self.root / "busybox.tar").read_bytes()
        for number, (code, reason, *answer) in enumerate((
                (INFRASTRUCTURE, "image_pull_failed", 500, b"{}"), (INFRASTRUCTURE, "image_pull_failed", 301, b""), (INFRASTRUCTURE, "image_not_found", 404, b"{}"),
                (CONFIGURATION, "image_invalid", 200, b"not an archive" * 100), (CONFIGURATION, "image_invalid", 200, b""),
                (CONFIGURATION, "image_invalid", 200, archive[:len(archive) // 2]), (INFRASTRUCTURE, "image_pull_failed", 200, archive[:len(archive) // 2], len(archive)))):
            with self.subTest(number), Liar(self.root / f"liar{number}", *answer) as liar:
                self.not_imported(code, reason, "docker-daemon:org/busybox:1", DOCKER_HOST=f"unix://{self.root}/liar{number}")
                self.assertEqual(set(liar.heads), {"GET /images/org/busybox:1/get HTTP/1.1"})

    def test_what_is_no_name(self):
        for name in ("../../containers/json?x=", "a b", "x%2f..", "-x"):
            with self.subTest(name):
                self.not_imported(CONFIGURATION, "image_ref_invalid", f"docker-daemon:{name}", **self.docker)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skip: needs root: podman's storage has files of other owners")
        sys.exit(77)
    unittest.main(verbosity=2)
