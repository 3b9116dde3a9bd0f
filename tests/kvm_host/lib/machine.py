"""The QEMU process of the KVM host."""
import os
import re
import socket
import subprocess

import ticks
from disk import Problem

PORT = "cleanroom.host"
CONSOLE_TAIL = 1 << 16
# EPYC: TCG emulates AMD's SVM with nested paging, and no Intel VMX. What of the model TCG lacks, it leaves out with a warning.
CPU = {"tcg": "EPYC", "kvm": "host"}
# The mitigations guard against neighbours that this kernel does not have; emulated they cost most. With addresses of its own each
# process has all of its code translated again. The timer check counts ticks
# within a time that a starved emulator may spend elsewhere: the kernel then takes the timer for broken, and hangs.
KERNEL = "root=/dev/nvme0n2 rw rootwait console=ttyS0 quiet panic=-1 mitigations=off norandmaps audit=0 no_timer_check"
# Without the rate it would be measured against emulated timers, which fails on a busy host; then the clock is the HPET, whose every
# reading leaves the emulation, and the guests inside get no steady clock.
TSC = " tsc=reliable tsc_early_khz={}"


def arguments(options, root, disk_fd, link_fd, console_fd):
    accel, clock = ("kvm", "") if options.accel == "kvm" else ("tcg,thread=multi,tb-size=256", TSC.format(ticks.khz()))
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
        "-M", "pc", "-accel", accel, "-cpu", options.cpu or CPU[options.accel], "-smp", str(options.cpus), "-m", f"{options.memory}M",
        "-kernel", os.path.join(root, "vmlinuz"), "-append", KERNEL + clock,
        # NVMe because Debian's kernel has that driver built in: no initramfs. The root is everybody's: copy on write. The tree is
        # namespace 1, so that it is there when the kernel has found its root.
        "-device", "nvme,serial=disks",
        "-add-fd", f"fd={disk_fd},set=1",
        "-blockdev", "driver=raw,node-name=tree,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/1,file.locking=off",
        "-device", "nvme-ns,drive=tree,nsid=1",
        "-drive", f"if=none,id=root,format=raw,file={root}/root.ext4,snapshot=on,cache=unsafe",
        "-device", "nvme-ns,drive=root,nsid=2",
        "-chardev", f"socket,id=console,fd={console_fd}", "-serial", "chardev:console",
        "-object", "rng-builtin,id=entropy", "-device", "virtio-rng-pci,rng=entropy",
        "-device", "virtio-serial-pci", "-chardev", f"socket,id=link,fd={link_fd}",
        "-device", f"virtserialport,chardev=link,name={PORT}",
    ]


class Machine:
    """Runs while the `with` block does; dies with this process, however that ends. `link` and `console` are sockets."""

    def __init__(self, options, root, disk):
        self.options, self.root, self.disk = options, root, disk
        self.log = b""

    def __enter__(self):
        self.link, far_link = socket.socketpair()
        self.console, far_console = socket.socketpair()
        fds = (self.disk.fd, far_link.fileno(), far_console.fileno())
        # A folder that it could leave something in it has not: QEMU unlinks its copy-on-write file at once.
        command = ["setpriv", "--pdeathsig", "KILL", "--"] + arguments(self.options, self.root, *fds)
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=far_console, stderr=far_console, pass_fds=fds,
                                            start_new_session=True)
        except OSError as error:
            raise Problem(f"cannot start QEMU: {error.strerror}") from error
        far_link.close()
        far_console.close()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.link.close()
        self.console.close()

    def read_console(self):
        """Reads once; b"" when QEMU has ended."""
        data = self.console.recv(1 << 16)
        self.log = (self.log + data)[-CONSOLE_TAIL:]
        return data

    def console_tail(self):
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t -~]", "", self.log.decode("utf-8", "replace"))
        return "".join(f"  | {line}\n" for line in text.splitlines()[-40:])
