"""A microvm started by hand, without Cleanroom: what its figures are compared with."""
import os
import shutil
import subprocess


def newc(members):
    """A cpio archive (newc) of (name, mode, content, rdev)."""
    archive = b""
    for number, (name, mode, content, rdev) in enumerate(members + [("TRAILER!!!", 0, b"", (0, 0))]):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
        entry = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += entry + b"\0" * (-len(entry) % 4) + content + b"\0" * (-len(content) % 4)
    return archive


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
    folders = {os.path.dirname(path) for path, _ in files}
    folders |= {parent for folder in folders for parent in parents(folder)}
    members += [(folder, 0o40755, b"", (0, 0)) for folder in sorted(folders)]
    members += [(path, 0o100755, content, (0, 0)) for path, content in files]
    path = os.path.join(work, "initramfs")
    with open(path, "wb") as file:
        file.write(newc(members))
    return path


def parents(folder):
    pieces = folder.split("/")
    return ["/".join(pieces[:end]) for end in range(1, len(pieces))]


def qemu(kernel, archive, machine, append):
    return [shutil.which("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "microvm,acpi=" + ("off" if is_ours(kernel) else "on") + ",rtc=on", *machine,
            "-kernel", image_of(kernel), "-initrd", archive, "-serial", "stdio",
            "-append", "console=ttyS0 quiet loglevel=2 reboot=t panic=-1" + append]
