"""Runs one command in the KVM host for tests/kvm_host/run, over one virtio-serial port.

The host begins with a frame `c`: JSON with argv, user, environment, directory, tty (rows, columns, or null), time. Then come `i`
(bytes typed) and `w` (JSON rows, columns). From here go `o` and `e` (stdout and stderr), at the end `r` (a tar of the results, in
pieces) and `x` (JSON: the wait status). A frame is a byte of kind, four of length (big endian), and the payload.
"""
import fcntl
import json
import os
import pwd
import select
import struct
import subprocess
import sys
import termios
import time

PORT = "cleanroom.host"
RESULTS = "/results"
CGROUP = "/sys/fs/cgroup/delegated"
CHUNK = 1 << 16
PORT_SECONDS = 60


def open_port():
    """udev would make a link of the port's name; here we look for it. The driver may still be probing."""
    deadline = time.monotonic() + PORT_SECONDS
    while time.monotonic() < deadline:
        for port in os.listdir("/sys/class/virtio-ports") if os.path.isdir("/sys/class/virtio-ports") else []:
            with open(f"/sys/class/virtio-ports/{port}/name", encoding="ascii") as name:
                if name.read().strip() == PORT:
                    return os.open(f"/dev/{port}", os.O_RDWR | os.O_CLOEXEC)
        select.select([], [], [], 0.05)
    sys.exit(f"no virtio-serial port '{PORT}'")


class Link:
    def __init__(self, fd):
        self.fd = fd
        self.pending = b""
        self.frames = []  # whole, not handled yet

    def send(self, kind, payload):
        data = struct.pack(">cI", kind, len(payload)) + payload
        while data:
            data = data[os.write(self.fd, data):]

    def read(self):
        """Reads once, into `frames`."""
        data = os.read(self.fd, CHUNK)
        if not data:
            sys.exit("the host has gone")
        self.pending += data
        while len(self.pending) >= 5:
            kind, length = struct.unpack_from(">cI", self.pending)
            if len(self.pending) < 5 + length:
                break
            self.frames.append((kind, self.pending[5:5 + length]))
            self.pending = self.pending[5 + length:]


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def give_to(user):
    """The folders that the command writes are its user's."""
    for top in (os.environ["XDG_DATA_HOME"], RESULTS, f"/run/user/{user.pw_uid}"):
        os.makedirs(top, mode=0o700, exist_ok=True)
        for folder, _, files in os.walk(top):
            for path in [folder] + [os.path.join(folder, file) for file in files]:
                os.lchown(path, user.pw_uid, user.pw_gid)
    for path in (CGROUP, f"{CGROUP}/session"):
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(path, name), user.pw_uid, user.pw_gid)


def add_files(targets):
    for number, target in enumerate(targets):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(f"/cleanroom/added/{number}", target)


def start(settings, user):
    """The command and what it reads and writes: {fd: kind}, and where typed bytes go (or None)."""
    def in_child():
        with open(f"{CGROUP}/session/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        if settings["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    common = {"cwd": settings["directory"], "start_new_session": True, "preexec_fn": in_child, "env": dict(os.environ)}
    if settings["tty"]:
        master, slave = os.openpty()
        set_size(slave, *settings["tty"])
        os.fchown(slave, user.pw_uid, -1)
        child = subprocess.Popen(settings["argv"], stdin=slave, stdout=slave, stderr=slave, **common)
        os.close(slave)
        return child, {master: b"o"}, master
    child = subprocess.Popen(settings["argv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **common)
    return child, {child.stdout.fileno(): b"o", child.stderr.fileno(): b"e"}, None


def type_in(link, typed):
    for kind, payload in link.frames:
        if kind == b"i" and typed is not None:
            os.write(typed, payload)
        elif kind == b"w" and typed is not None:
            set_size(typed, *json.loads(payload))
    link.frames = []


def relay(link, child, sources, typed):
    """Until the command has ended and what it wrote is sent. What it left running may keep a pipe open: nobody waits for that."""
    ended = os.pidfd_open(child.pid)
    type_in(link, typed)  # what came with the settings
    while True:
        ready = select.select([link.fd, ended, *sources], [], [])[0]
        if link.fd in ready:
            link.read()
            type_in(link, typed)
        outputs = [fd for fd in ready if fd in sources]
        for fd in outputs:
            try:
                data = os.read(fd, CHUNK)
            except OSError:  # a terminal whose last user has gone
                data = b""
            if data:
                link.send(sources[fd], data)
            else:
                del sources[fd]
        if ended in ready and not outputs:
            return child.wait()


def send_results(link):
    tar = subprocess.Popen(["tar", "-C", RESULTS, "-c", "."], stdout=subprocess.PIPE)
    while data := tar.stdout.read(CHUNK):
        link.send(b"r", data)
    if tar.wait() != 0:
        link.send(b"e", b"kvm_host: the results could not be packed whole\n")


def main():
    link = Link(open_port())
    while not link.frames:
        link.read()
    settings = json.loads(link.frames.pop(0)[1])
    time.clock_settime(time.CLOCK_REALTIME, settings["time"])
    user = pwd.getpwnam(settings["user"])
    os.environ.update({"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "TERM": "dumb", "LC_ALL": "C.UTF-8",
                       "XDG_RUNTIME_DIR": f"/run/user/{user.pw_uid}", "CLEANROOM_RESULTS": RESULTS, **settings["environment"]})
    add_files(settings["added"])
    give_to(user)
    try:
        child, sources, typed = start(settings, user)
    except OSError as error:
        link.send(b"e", f"kvm_host: cannot start '{settings['argv'][0]}': {error.strerror}\n".encode())
        status = 127 if isinstance(error, FileNotFoundError) else 126
    else:
        status = relay(link, child, sources, typed)
    if settings["results"]:
        send_results(link)
    link.send(b"x", json.dumps({"status": status if status >= 0 else 128 - status}).encode())
    link.read()  # the host ends the machine; until then nothing may be lost on the way


main()
