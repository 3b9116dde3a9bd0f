"""Images with what real ones hold: files of Debian's packages as they are installed here, and images that umoci and buildah build."""
import os
import pathlib
import stat
import subprocess
import tarfile
import tempfile

from layout import directory, symlink
from made_images import CONFIG, busybox_entries

SECONDS = 300


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, timeout=SECONDS, **more)
    if done.returncode != 0:
        raise SystemExit(f"image_factory: error: {' '.join(map(str, command))}: {done.returncode}\n{done.stderr}")
    return done.stdout


def versions(packages):
    """What names the content of the installed packages."""
    return run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n", *packages)


def files_of(packages, seen):
    """Paths that dpkg lists for the packages and that are there, parents first; none of `seen`, to which they are added."""
    found = set()
    for path in run("dpkg-query", "-L", *packages).splitlines():
        if path.startswith("/") and path != "/." and path not in seen and os.path.lexists(path):
            # Debian's /bin and /lib are links: the real place is what an image of merged /usr has.
            parent = os.path.realpath(os.path.dirname(path))
            real = os.path.join(parent, os.path.basename(path))
            found.add(real)
            while parent != "/":
                found.add(parent)
                parent = os.path.dirname(parent)
    fresh = sorted(found - seen)
    seen |= found
    return fresh


def write_files(out, paths):
    """A tar of the host's files: owners by number, times clamped to what packages have."""
    links = {}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            info = tar.gettarinfo(path, arcname=path.lstrip("/"))
            if info is None:
                continue
            info.uname = info.gname = ""
            status = os.lstat(path)
            if info.isdir():
                info.mtime = 1_600_000_000  # changes whenever a neighbour is installed
            tar.inodes = {}  # hard links are found below, by names of this layer alone
            if stat.S_ISREG(status.st_mode):
                info.type, info.size, info.linkname = tarfile.REGTYPE, status.st_size, ""
                first = links.setdefault((status.st_dev, status.st_ino), path)
                if first != path:
                    info.type, info.size, info.linkname = tarfile.LNKTYPE, 0, first.lstrip("/")
                    tar.addfile(info)
                    continue
                with open(path, "rb") as data:
                    tar.addfile(info, data)
            else:
                tar.addfile(info)


def of_packages(layout, groups, compression="gzip", level=6):
    """One layer for each group of packages, over merged-/usr links."""
    seen = {"/bin", "/sbin", "/lib", "/lib64", "/usr"}
    links = [("./", directory()), ("usr", directory())] + [(name, symlink("usr/" + name)) for name in ("bin", "sbin", "lib", "lib64")]
    made = [layout.layer(links)]
    for group in groups:
        paths = files_of(group, seen)
        made.append(layout.layer(lambda out, paths=paths: write_files(out, paths), compression, level=level))
    layout.tag(layout.manifest(made, config={"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]}))


def umoci(layout):
    """umoci init, new, insert, unpack, changes, repack: two layers of its making. Needs root."""
    layout.path.joinpath("blobs/sha256").rmdir()
    layout.path.joinpath("blobs").rmdir()
    layout.path.rmdir()
    when = ["--history.created", "2020-09-13T12:26:40Z"]
    with tempfile.TemporaryDirectory(prefix="cleanroom-umoci-") as work:
        tree = pathlib.Path(work, "tree")
        unpack_host(tree, busybox_entries())
        run("umoci", "init", "--layout", layout.path)
        run("umoci", "new", "--image", f"{layout.path}:t")
        run("umoci", "insert", *when, "--image", f"{layout.path}:t", tree, "/")
        bundle = pathlib.Path(work, "bundle")
        run("umoci", "unpack", "--image", f"{layout.path}:t", bundle)
        root = bundle / "rootfs"
        (root / "etc/added").write_text("added\n")
        (root / "etc/group").unlink()
        (root / "home").rmdir()
        (root / "home").symlink_to("root")
        os.link(root / "etc/passwd", root / "etc/passwd-")
        os.chown(root / "etc/added", 1234, 4321)
        for name in ("etc/added", "etc/passwd-", "etc", "."):
            os.utime(root / name, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
        run("umoci", "repack", *when, "--image", f"{layout.path}:t", bundle)


def unpack_host(tree, entries):
    """The directories, files and links of `entries` as files, for builders that read a tree."""
    tree.mkdir()
    for name, fields in entries:
        path = tree / name
        if fields.get("type") == tarfile.DIRTYPE:
            path.mkdir(exist_ok=True)
        elif fields.get("type") == tarfile.SYMTYPE:
            path.symlink_to(fields["linkname"])
        else:
            path.write_bytes(fields.get("content", b""))
        if not path.is_symlink():
            path.chmod(fields["mode"] if "mode" in fields else 0o644)
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)


def buildah(layout):
    """buildah from scratch, add, config, commit: one layer of its making, with the vfs driver."""
    layout.path.joinpath("blobs/sha256").rmdir()
    layout.path.joinpath("blobs").rmdir()
    with tempfile.TemporaryDirectory(prefix="cleanroom-buildah-") as work:
        tool = ["buildah", "--storage-driver", "vfs", "--root", work + "/root", "--runroot", work + "/run"]
        tree = pathlib.Path(work, "tree")
        unpack_host(tree, busybox_entries())
        container = run(*tool, "from", "scratch").strip()
        run(*tool, "add", container, tree, "/")
        run(*tool, "config", "--env", "PATH=/bin", "--user", "build", "--workingdir", "/home", container)
        run(*tool, "commit", "--timestamp", "1600000000", container, f"oci:{layout.path}:t")
        run(*tool, "rm", container)


PACKAGES = {
    "python": [["base-files", "libc6", "zlib1g"], ["libpython3.11-minimal", "python3.11-minimal"], ["libpython3.11-stdlib", "python3.11"]],
    "perl": [["base-files", "libc6", "perl-base"], ["perl-modules-5.36", "libperl5.36", "perl"]],
    "tools": [["base-files", "libc6", "bash", "coreutils", "dash"], ["git", "curl", "openssl"], ["busybox-static", "util-linux", "mount", "tar"]],
    "certificates": [["base-files", "libc6", "libssl3"], ["openssl", "ca-certificates"]],
    "headers": [["base-files", "libc6", "libgcc-s1", "libstdc++6"], ["libc6-dev", "linux-libc-dev", "libssl-dev"]],
}
