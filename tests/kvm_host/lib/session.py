"""This end of what guest/runner.py describes: the command's settings there, its output, results and status back."""
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
import tty

from disk import BIN, MOUNT, Problem

MAX_FRAME = 1 << 20
CHUNK = 1 << 16
TIME_LIMIT = 124
LAUNCH_SECONDS = "90"  # a VM inside takes ten to thirty; one that hangs must not take the whole time of its test
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Stopped(Problem):
    def __init__(self, number):
        super().__init__(f"stopped by {signal.Signals(number).name}", 128 + number)


def end_alarms():
    """From here on nothing interrupts the cleaning up."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop(number, _frame):
    end_alarms()
    raise Stopped(number)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


class Session:
    """From its making the time runs and signals end the run in good order."""

    def __init__(self, options):
        self.options = options
        self.pending = b""
        self.status = None
        for number in SIGNALS:
            signal.signal(number, stop)
        signal.signal(signal.SIGALRM, self._time_is_up)
        signal.setitimer(signal.ITIMER_REAL, options.timeout)

    def _time_is_up(self, *_):
        end_alarms()
        raise Problem(f"the time limit of {self.options.timeout:g} s is over", TIME_LIMIT)

    def run(self, machine):
        """The command's exit status."""
        try:
            return self._run(machine)
        except Stopped:
            raise
        except Problem:
            sys.stderr.write("kvm_host: the end of the machine's console:\n" + machine.console_tail())
            raise

    def _run(self, machine):
        unpack = self._start_unpacking() if self.options.results else None
        terminal = termios.tcgetattr(0) if self.options.tty else None
        try:
            machine.link.sendall(self._frame(b"c", json.dumps(self._settings()).encode()))
            if terminal:
                tty.setraw(0, termios.TCSADRAIN)  # what is typed already stays
                signal.signal(signal.SIGWINCH, lambda *_: self._send_size(machine))
            self._relay(machine, unpack)
        finally:
            end_alarms()
            if terminal:
                termios.tcsetattr(0, termios.TCSADRAIN, terminal)
            if unpack:
                unpack.stdin.close()
                unpack.wait()
        if unpack and unpack.returncode != 0:
            raise Problem(f"cannot unpack the results into '{self.options.results}'")
        return self.status

    def _start_unpacking(self):
        os.makedirs(self.options.results, exist_ok=True)
        return subprocess.Popen(["tar", "-x", "--no-same-owner", "--no-overwrite-dir", "-C", self.options.results], stdin=subprocess.PIPE)

    def _settings(self):
        options = self.options
        environment = {"CLEANROOM_SOURCE_DIR": MOUNT, "CLEANROOM_BIN_DIR": f"{MOUNT}/{BIN}", "XDG_DATA_HOME": f"{MOUNT}/share",
                       "CLEANROOM_TEST_LAUNCH_SECONDS": LAUNCH_SECONDS}
        if options.tty:
            environment["TERM"] = os.environ.get("TERM", "dumb")
        return {"argv": options.command, "user": "dev" if options.user else "root", "directory": MOUNT,
                "environment": {**environment, **options.environment}, "tty": self._size() if options.tty else None,
                "added": [target for _, target in options.add], "results": bool(options.results), "time": time.time()}

    @staticmethod
    def _size():
        size = os.get_terminal_size(0)
        return [size.lines, size.columns]

    def _send_size(self, machine):
        machine.link.sendall(self._frame(b"w", json.dumps(self._size()).encode()))

    @staticmethod
    def _frame(kind, payload):
        return struct.pack(">cI", kind, len(payload)) + payload

    def _relay(self, machine, unpack):
        with selectors.DefaultSelector() as selector:
            selector.register(machine.link, selectors.EVENT_READ)
            selector.register(machine.console, selectors.EVENT_READ)
            if self.options.tty:
                selector.register(0, selectors.EVENT_READ)
            while self.status is None:
                for key, _ in selector.select():
                    if key.fileobj is machine.console:
                        self._take_console(machine)
                    elif key.fileobj is machine.link:
                        self._take_frames(machine, unpack, selector)
                    elif typed := os.read(0, 4096):
                        machine.link.sendall(self._frame(b"i", typed))
                    else:
                        selector.unregister(0)

    def _take_console(self, machine):
        data = machine.read_console()
        if not data:
            raise Problem("the machine ended before the command did")
        if self.options.console:
            write_all(2, data)

    def _take_frames(self, machine, unpack, selector):
        try:
            data = machine.link.recv(CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:  # QEMU has ended; its console has the rest
            selector.unregister(machine.link)
            return
        self.pending += data
        while self.status is None and len(self.pending) >= 5:
            kind, length = struct.unpack_from(">cI", self.pending)
            if length > MAX_FRAME:
                raise Problem("the machine sent nonsense")
            if len(self.pending) < 5 + length:
                break
            payload, self.pending = self.pending[5:5 + length], self.pending[5 + length:]
            if kind == b"o":
                write_all(1, payload)
            elif kind == b"e":
                write_all(2, payload)
            elif kind == b"r" and unpack:
                unpack.stdin.write(payload)
            elif kind == b"x":
                self.status = json.loads(payload)["status"]
