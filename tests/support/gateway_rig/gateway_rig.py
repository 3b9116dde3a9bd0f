"""A farm of upstreams and a gateway_rig in front of it, for tests that run real git through the gateway."""
import json
import os
import pathlib
import shutil
import subprocess
import threading

SOURCE = pathlib.Path(os.environ.get("CLEANROOM_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[3]))
BIN = pathlib.Path(os.environ.get("CLEANROOM_BIN_DIR", SOURCE / "build/release/bin"))
PUBLIC = "93.184.216.34"
LIMIT = 60


class Farm:
    """tests/support/farm/upstream_farm with the listeners of `spec`."""

    def __init__(self, folder, spec, lifetime=600):
        self.folder = folder
        folder.mkdir()
        (folder / "spec.json").write_text(json.dumps(spec))
        self.process = subprocess.Popen(
            [SOURCE / "tests/support/farm/upstream_farm", "--dir", folder, "--spec", folder / "spec.json", "--lifetime", str(lifetime)],
            stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        assert ready.startswith("ready "), ready
        self.told = json.loads(ready[6:])
        self.ca = self.told["ca"]

    def address(self, listener):
        host, port = self.told["listeners"][listener]
        return f"{host}:{port}"

    def events(self, kind):
        with open(self.told["requests"]) as lines:
            return [event for event in map(json.loads, lines) if event["event"] == kind]

    def close(self):
        self.process.kill()
        self.process.wait()


class Rig:
    """gateway_rig with a policy and the operator's files; `git()` is a guest's git on the other side of it."""

    def __init__(self, folder, policy, maps, ca, credentials=None, ceiling=None, environment=None, repository="", config=""):
        self.folder = folder
        for name in ("operator", "home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "operator").chmod(0o700)
        (folder / "cleanroom.yaml").write_text(policy)
        self.operator_file("config.yaml", (f"gateway: {{ca_file: {ca}}}\n" if ca else "") + config)
        if credentials:
            self.operator_file("credentials.yaml", credentials)
        if ceiling:
            self.operator_file("ceiling.yaml", ceiling)
        self.gitconfig = folder / "gitconfig"
        self.audit_file = folder / "audit.jsonl"
        argv = [BIN / "gateway_rig", "--policy", folder / "cleanroom.yaml", "--audit", self.audit_file,
                "--gitconfig", self.gitconfig, "--repository", repository, "--network", folder / "network.sock"]
        for name, address in maps.items():
            argv += ["--map", f"{name}={address}" if "=" in address else f"{name}={PUBLIC}={address}"]
        self.errors = open(folder / "rig.err", "wb")
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "CLEANROOM_CONFIG_DIR": str(folder / "operator"),
                 **(environment or {})})
        line = self.process.stdout.readline()
        assert line.startswith("socks "), (line, (folder / "rig.err").read_text())
        self.proxy = f"socks5h://127.0.0.1:{line.split()[1]}"
        self.denied = []
        threading.Thread(target=self._read, daemon=True).start()

    def operator_file(self, name, text):
        path = self.folder / "operator" / name
        path.write_text(text)
        path.chmod(0o600)

    def _read(self):
        for line in self.process.stdout:
            self.denied.append(line.strip())

    def git(self, *arguments, check=True, limit=LIMIT, environment=None, cwd=None):
        done = subprocess.run(
            ["git", *map(str, arguments)], text=True, capture_output=True, timeout=limit, cwd=cwd or self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "GIT_CONFIG_COUNT": "4",
                 "GIT_CONFIG_KEY_0": "include.path", "GIT_CONFIG_VALUE_0": str(self.gitconfig),
                 "GIT_CONFIG_KEY_1": "http.proxy", "GIT_CONFIG_VALUE_1": self.proxy,
                 "GIT_CONFIG_KEY_2": "user.name", "GIT_CONFIG_VALUE_2": "guest",
                 "GIT_CONFIG_KEY_3": "user.email", "GIT_CONFIG_VALUE_3": "guest@guest.test",
                 "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", **(environment or {})})
        if check and done.returncode != 0:
            raise AssertionError(f"git {arguments}: {done.returncode}\n{done.stderr}\n{(self.folder / 'rig.err').read_text()}\n{self.audit_file.read_text()}")
        return done

    def curl(self, *arguments, limit=LIMIT):
        return subprocess.run(["curl", "-sS", "--max-time", str(limit), "-x", self.proxy, *map(str, arguments)],
                              text=True, capture_output=True, timeout=limit + 5, env={"PATH": os.environ["PATH"]})

    def audit(self, event=None):
        lines = [json.loads(line) for line in self.audit_file.read_text().splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def stderr(self):
        return (self.folder / "rig.err").read_text()

    def rss(self):
        """Bytes of its memory that are resident."""
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self):
        """Ends it in good order, so that a sanitiser's findings fail the test."""
        self.process.stdin.close()
        code = self.process.wait(20)
        self.errors.close()
        assert code == 0, (code, self.stderr())


def bare_repository(path, files=None, commits=1):
    """A bare repository with `commits` commits on main; returns its path."""
    work = path.parent / (path.name + ".work")
    run = lambda *a: subprocess.run(["git", *map(str, a)], check=True, capture_output=True, text=True, env={
        "PATH": os.environ["PATH"], "HOME": str(path.parent), "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a.test",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a.test", "GIT_CONFIG_NOSYSTEM": "1"}).stdout.strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    run("init", "-q", "-b", "main", work)
    for number in range(commits):
        for name, content in (files or {"README.md": b"hello\n"}).items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(content if number == 0 else content + f"{number}\n".encode())
        run("-C", work, "add", "-A")
        run("-C", work, "commit", "-q", "-m", f"commit {number}")
    run("clone", "-q", "--bare", work, path)
    shutil.rmtree(work)
    return path
