"""A microvm started by hand, without Cleanroom: what its figures are compared with."""
import os
import pathlib
import shutil
import subprocess

DATA = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "cleanroom")
TCG_CLOCK = " tsc_early_khz=1000000 tsc=reliable"  # a kernel that measures its clock against emulated timers may hang


def newc(members):
    """A cpio archive (newc) of (name, mode, content, rdev)."""
    archive = b""
    for number, (name, mode, content, rdev) in enumerate(members + [("TRAILER!!!", 0, b"", (0, 0))]):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
        entry = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += entry + b"\0" * (-len(entry) % 4) + content + b"\0" * (-len(content) % 4)
    return archive


def prepared_kernels():
    """The folders of all kernels that are here."""
    folder = os.path.join(DATA, "kernels")
    return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False) and entry.name[0] != ".")


def is_ours(kernel):
    """Built by `cleanroom kernel build`: finds its devices without ACPI, and boots as an ELF file."""
    return os.path.exists(os.path.join(kernel, "manifest.json"))


def image_of(kernel):
    return os.path.join(kernel, "vmlinux" if is_ours(kernel) else "vmlinuz")


def static_program(work, source):
    """The bytes of a C program that needs nothing beside it."""
    text, program = os.path.join(work, "init.c"), os.path.join(work, "init")
    with open(text, "w") as file:
        file.write(source)
    subprocess.run(["cc", "-static", "-Os", "-o", program, text], check=True)
    with open(program, "rb") as file:
        return file.read()


def initramfs(work, init, files=()):
    """An archive with /dev/console, /init and `files`, (path without its first slash, bytes), executable."""
    members = [("dev", 0o40755, b"", (0, 0)), ("dev/console", 0o20600, b"", (5, 1)), ("init", 0o100755, init, (0, 0))]
    folders = {str(folder) for path, _ in files for folder in pathlib.PurePosixPath(path).parents} - {"."}
    members += [(folder, 0o40755, b"", (0, 0)) for folder in sorted(folders)]
    members += [(path, 0o100755, content, (0, 0)) for path, content in files]
    path = os.path.join(work, "initramfs")
    with open(path, "wb") as file:
        file.write(newc(members))
    return path


def qemu(kernel, archive, machine, append):
    return [shutil.which("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "microvm,acpi=" + ("off" if is_ours(kernel) else "on") + ",rtc=on", *machine,
            "-kernel", image_of(kernel), "-initrd", archive, "-serial", "stdio",
            "-append", "console=ttyS0 quiet loglevel=2 reboot=t panic=-1" + append]
