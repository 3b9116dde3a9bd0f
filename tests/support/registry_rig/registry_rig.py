"""Real registries for tests: Debian's docker-registry on loopback, and skopeo, the independent client that fills them."""
import base64
import ctypes
import http.client
import json
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "farm"))
from certificates import Authority  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from servers import BlobHost, ConnectProxy  # noqa: E402
from token_server import TokenServer  # noqa: E402

NAMES = ["localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3"]
USER, PASSWORD = "robot", "pw-canary-8d1f47"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
START_SECONDS, COPY_SECONDS = 30, 300
MANIFESTS = ", ".join(["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
                       "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json"])
PR_SET_PDEATHSIG = 1


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Registry:
    """One docker-registry: `host` is the HOST:PORT of references. Its storage is folder/data."""

    def __init__(self, folder, config, certificate=None, key=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.tls = certificate is not None
        http_section = {"addr": "127.0.0.1:0", "relativeurls": True, "secret": "of-a-test"}
        if self.tls:
            http_section["tls"] = {"certificate": str(certificate), "key": str(key)}
        whole = {"version": "0.1", "log": {"level": "info", "accesslog": {"disabled": True}}, "http": http_section,
                 "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}}, **config}
        (self.folder / "config.yml").write_text(json.dumps(whole))  # JSON is YAML
        self.process = subprocess.Popen(["docker-registry", "serve", self.folder / "config.yml"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent,
                                        env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"})
        self.lines = []
        ready = queue.Queue()
        self.reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self.reader.start()
        try:
            port = ready.get(timeout=START_SECONDS)
        except queue.Empty:
            port = None
        if port is None:
            self.close()
            raise AssertionError("docker-registry does not start:\n" + "".join(self.lines))
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def _read(self, ready):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r'msg="listening on 127\.0\.0\.1:(\d+)', line):
                ready.put(int(found.group(1)))
        ready.put(None)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(START_SECONDS)
        self.process.stderr.close()


class Rig:
    """An authority and what was started with it, below one folder. close() ends everything."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(self.folder / "tls", NAMES)
        self.ca = self.authority.ca
        self.certificate, self.key = self.authority.certificate("good"), self.authority.key
        self.trusting = ssl.create_default_context(cafile=str(self.ca))
        # containers/image takes every *.crt of such a folder as an authority.
        self.certificates = self.folder / "skopeo-certs"
        self.certificates.mkdir()
        (self.certificates / "ca.crt").write_bytes(self.ca.read_bytes())
        self.started = []
        self.count = 0

    def close(self):
        for thing in reversed(self.started):
            thing.close()

    def _start(self, thing):
        self.started.append(thing)
        return thing

    def _folder(self, name):
        self.count += 1
        return self.folder / f"{name}{self.count}"

    def open(self):
        return self._start(Registry(self._folder("open"), {}, self.certificate, self.key))

    def plain(self):
        """Without TLS."""
        return self._start(Registry(self._folder("plain"), {}))

    def basic(self):
        """USER and PASSWORD, or nothing."""
        file = self._folder("htpasswd")
        made = subprocess.run(["htpasswd", "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True, timeout=START_SECONDS)
        file.write_text(made.stdout)
        return self._start(Registry(self._folder("basic"), {"auth": {"htpasswd": {"realm": "test", "path": str(file)}}}, self.certificate, self.key))

    def token(self, **options):
        """A registry that takes tokens of registry.tokens alone; options: TokenServer's."""
        tokens = self._start(TokenServer(self._folder("tokens"), self.certificate, self.key, logins={USER: PASSWORD}, **options))
        auth = {"auth": {"token": {"realm": tokens.realm, "service": tokens.service, "issuer": tokens.issuer, "rootcertbundle": str(tokens.bundle(self.ca))}}}
        registry = self._start(Registry(self._folder("token"), auth, self.certificate, self.key))
        registry.tokens = tokens
        return registry

    def proxy(self, registry, address="127.0.0.1", tls=True):
        """A fault proxy in front of `registry`."""
        certificate = (self.certificate, self.key) if tls else None
        return self._start(FaultProxy(registry.port, self.trusting if registry.tls else None, address, certificate))

    def blob_host(self, registry, address="127.0.0.2", tls=True):
        """Another origin that has the blobs of `registry`."""
        return self._start(BlobHost(registry, address, (self.certificate, self.key) if tls else None))

    def connect_proxy(self):
        return self._start(ConnectProxy())

    def skopeo(self, *arguments, check=True):
        done = subprocess.run(["skopeo", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=COPY_SECONDS, check=False, env={"PATH": os.environ["PATH"], "HOME": str(self.folder)})
        if check and done.returncode != 0:
            raise AssertionError(f"skopeo {arguments}: {done.returncode}\n{done.stderr}")
        return done

    def fill(self, registry, layout, name, login=False, *options):
        """Copies the image (or index, with "--all") of LAYOUT:TAG there; `name` is repository:tag. Returns its digest there."""
        how = ["--dest-cert-dir", self.certificates] if registry.tls else ["--dest-tls-verify=false"]
        if login:
            how += ["--dest-creds", f"{USER}:{PASSWORD}"]
        if "--format" not in options:
            how.append("--preserve-digests")  # or skopeo compresses what is not
        file = self._folder("digest")
        self.skopeo("copy", "-q", "--insecure-policy", "--digestfile", file, *how, *options, f"oci:{layout}", f"docker://{registry.host}/{name}")
        return file.read_text().strip()

    def request(self, registry, method, path, body=None, headers=None):
        """One request past all clients: (status, headers with lower-case names, body)."""
        if registry.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", registry.port, timeout=START_SECONDS, context=self.trusting)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, {"Accept": MANIFESTS, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def manifest(self, registry, name, headers=None):
        """(bytes, media type) of repository:tag or repository@digest."""
        repository, reference = name.split("@") if "@" in name else name.rsplit(":", 1)
        status, fields, body = self.request(registry, "GET", f"/v2/{repository}/manifests/{urllib.parse.quote(reference)}", headers=headers)
        assert status == 200, (status, body)
        return body, fields["content-type"]

    def put_manifest(self, registry, name, body, media_type, headers=None):
        repository, reference = name.rsplit(":", 1)
        status, _, said = self.request(registry, "PUT", f"/v2/{repository}/manifests/{reference}", body, {"Content-Type": media_type, **(headers or {})})
        assert status == 201, (status, said)
