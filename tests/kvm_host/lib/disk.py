"""The second disk of the KVM host: the tree under test, its programs, the guest's kernel and image, what --add brings."""
import os
import shutil
import subprocess
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
MOUNT = "/cleanroom"  # where the first disk's /sbin/init mounts it
BIN = "build/release/bin"
DISK_SIZE = "16G"  # sparse


class Problem(Exception):
    """What a person is told; the machine or something it needs failed, not the command."""
    def __init__(self, message, status=125):
        super().__init__(message)
        self.status = status


def place(source, target):
    """One file. No hard link: that would change its ctime, and with it the key of every template on this host."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def place_tree(source, target):
    shutil.copytree(source, target, symlinks=True, copy_function=place)


def data_home():
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "cleanroom")


class Disk:
    """`path` opens the finished image in this process. It has no name any more, so it ends with its last user."""

    def __init__(self, options):
        self.bin = options.bin or os.environ.get("CLEANROOM_BIN_DIR") or os.path.join(SOURCE, BIN)
        self.extra = options.add
        self.fd = -1
        for program in ("cleanroom", "cleanroom-agent", "cleanroom-run"):
            if not os.path.exists(os.path.join(self.bin, program)):
                raise Problem(f"there is no '{program}' in '{self.bin}': scripts/build release")

    def __enter__(self):
        with tempfile.TemporaryDirectory(prefix="cleanroom-kvm-host.") as work:
            stage = os.path.join(work, "stage")
            self._place_source(stage)
            place_tree(self.bin, os.path.join(stage, BIN))
            self._place_guest_parts(os.path.join(stage, "share", "cleanroom"))
            for number, (source, _) in enumerate(self.extra):
                target = os.path.join(stage, "added", str(number))
                (place_tree if os.path.isdir(source) else place)(os.path.realpath(source), target)
            image = os.path.join(work, "disk.ext4")
            made = subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0",
                                   "-d", stage, image, DISK_SIZE], capture_output=True, check=False,
                                  env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
            if made.returncode != 0:
                raise Problem(f"cannot make the disk: {made.stderr.decode().strip()}")
            self.fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def _place_source(self, stage):
        """What a commit of everything here would hold."""
        listed = subprocess.run(["git", "-c", "safe.directory=*", "-C", SOURCE, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                stdout=subprocess.PIPE, check=False)
        if listed.returncode != 0:
            raise Problem(f"cannot list the files of '{SOURCE}'")
        for name in sorted(set(os.fsdecode(listed.stdout).split("\0"))):
            source = os.path.join(SOURCE, name)
            if name and os.path.lexists(source):
                place(source, os.path.join(stage, name))

    def _place_guest_parts(self, stage):
        """Importing the image is not what the suite tests there, and it takes the emulated machine a minute."""
        kernels, layout = os.path.join(data_home(), "kernels"), os.path.join(data_home(), "layouts", "demo")
        if not os.path.exists(os.path.join(kernels, "current", "vmlinuz")):
            raise Problem("there is no kernel: scripts/prepare-kernel")
        if not os.path.exists(os.path.join(layout, "index.json")):
            raise Problem("there is no demo image: scripts/make-base-image")
        version = os.path.basename(os.path.realpath(os.path.join(kernels, "current")))
        place_tree(os.path.join(kernels, version), os.path.join(stage, "kernels", version))
        os.symlink(version, os.path.join(stage, "kernels", "current"))
        place_tree(layout, os.path.join(stage, "layouts", "demo"))
        imported = subprocess.run([os.path.join(self.bin, "cleanroom"), "image", "import", f"oci:{stage}/layouts/demo"],
                                  env={**os.environ, "XDG_DATA_HOME": os.path.dirname(stage)}, capture_output=True, check=False)
        if imported.returncode != 0:
            raise Problem(f"cannot import the demo image: {imported.stderr.decode().strip()}")
