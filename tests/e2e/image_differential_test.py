#!/usr/bin/env python3
"""IMG-08, IMG-25: our ext4 against `umoci unpack` and, for images of one layer, bsdtar, entry by entry, as root; e2fsck; the same bytes twice.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_differential_test.py [NAME | LAYOUT:TAG | random:FIRST-LAST]...

Without arguments: every image of tests/support/image_factory but the big ones (bench-small is small), the layouts of the demo and of the
guests' clients where they have been made, and the random images of seeds 1 to 24; `random:1-500` for more, the big ones by their names.
Needs root (devices, capabilities): exits 77 without it.
"""
import hashlib
import json
import os
import pathlib
import stat
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/image_factory"))
import image_factory  # noqa: E402
import random_images  # noqa: E402
from layout import Layout  # noqa: E402

SECONDS = 900
SHOWN = 50
RANDOM = "random:1-24"
# umoci 0.4 knows neither Docker's media types nor zstd, and picks no platform: what it unpacks in their place (IMAGE:TAG).
INSTEAD = {"schema2": "everything:t", "zstd": "everything:t", "index": "index:amd64"}


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS, check=False, **more)
    if done.returncode != 0:
        raise SystemExit(f"FAIL: {' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while part := data.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def walk(root):
    """What the kernel says of an unpacked tree, in the form of image_list."""
    found = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(root, path) if path else root
        info = os.lstat(full)
        entry = {"mode": info.st_mode, "uid": info.st_uid, "gid": info.st_gid, "mtime": info.st_mtime_ns // 10**9,
                 "ns": info.st_mtime_ns % 10**9, "inode": info.st_ino, "major": 0, "minor": 0, "target": "", "sha256": ""}
        if stat.S_ISREG(info.st_mode):
            entry["sha256"] = sha256_of(full)
            entry["size"] = info.st_size
        if stat.S_ISLNK(info.st_mode):
            entry["target"] = os.readlink(full).hex()
        if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            entry["major"], entry["minor"] = os.major(info.st_rdev), os.minor(info.st_rdev)
        if not stat.S_ISDIR(info.st_mode):
            entry["links"] = info.st_nlink
        entry["xattrs"] = {os.fsencode(n).hex(): os.getxattr(full, n, follow_symlinks=False)
                           for n in os.listxattr(full, follow_symlinks=False)}
        found[path] = entry
        if stat.S_ISDIR(info.st_mode):
            pending += [os.path.join(path, name) for name in os.listdir(full)]
    return found


def plain_acl(value):
    """Ids of entries that have none are whatever the reader fills in."""
    head, rest = value[:4], value[4:]
    parts = [struct.unpack("<HHI", rest[i:i + 8]) for i in range(0, len(rest), 8)]
    return head, [(t, p, i if t in (2, 8) else None) for t, p, i in parts]


def differences(ours, theirs, directory_times):
    """Sentences. `directory_times`: whether theirs are those of the members, or what unpacking left there."""
    for path in sorted(ours.keys() ^ theirs.keys()):
        yield f"{path!r} is only in {'ours' if path in ours else 'theirs'}"
    groups = {}
    for path in sorted(ours.keys() & theirs.keys()):
        a, b = ours[path], theirs[path]
        for key in b:
            untold = stat.S_ISDIR(b["mode"]) and (path == b"" or not directory_times)
            if key in ("inode", "xattrs") or (key in ("mtime", "ns") and untold):
                continue
            if a[key] != b[key]:
                yield f"{path!r}: {key} is {a[key]!r}, expected {b[key]!r}"
        if a["xattrs"].keys() != b["xattrs"].keys():
            yield f"{path!r}: attributes {sorted(map(bytes.fromhex, a['xattrs']))}, expected {sorted(map(bytes.fromhex, b['xattrs']))}"
        for name in a["xattrs"].keys() & b["xattrs"].keys():
            x, y = bytes.fromhex(a["xattrs"][name]), b["xattrs"][name]
            same = plain_acl(x) == plain_acl(y) if b"posix_acl" in bytes.fromhex(name) else x == y
            if not same:
                yield f"{path!r}: attribute {bytes.fromhex(name)} differs"
        if groups.setdefault(a["inode"], b["inode"]) != b["inode"]:
            yield f"{path!r}: another hardlink group"


def import_image(programs, source, data):
    """Our rootfs.ext4 of the image."""
    digest = run(programs / "cleanroom", "image", "import", "oci:" + source, env={**os.environ, "XDG_DATA_HOME": str(data)}).strip()
    return data / "cleanroom/images" / digest.removeprefix("sha256:") / "rootfs.ext4"


def layers_of(source):
    """(blob, media type) of each layer of the first manifest; nothing for an index."""
    layout = pathlib.Path(source.rpartition(":")[0])
    document = json.loads((layout / "index.json").read_text())
    blob = lambda descriptor: layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")
    manifest = json.loads(blob(document["manifests"][0]).read_text())
    return [(blob(layer), layer["mediaType"]) for layer in manifest.get("layers", [])]


def peers(source, name, work):
    """(who, tree, whether directories have the members' times) of each tool that can unpack this image."""
    other, _, tag = INSTEAD.get(name, "").partition(":")
    image = image_factory.image(other).rpartition(":")[0] + ":" + tag if other else source
    layers = layers_of(source)
    if other or not any(kind.endswith("zstd") for _, kind in layers):
        run("umoci", "unpack", "--image", image, work / "bundle")
        yield "umoci unpack", work / "bundle/rootfs", False
    elif len(layers) != 1:
        raise SystemExit(f"FAIL: {source}: several layers, and umoci knows no zstd")
    if len(layers) == 1:
        (work / "bsdtar").mkdir(mode=0o755)
        run("bsdtar", "-xp", "--numeric-owner", "--acls", "--xattrs", "-f", layers[0][0], "-C", work / "bsdtar")
        yield "bsdtar", work / "bsdtar", True


def compare(programs, source, name, work):
    """Whether everything about one image agrees; prints what does not."""
    rootfs = import_image(programs, source, work / "data")
    run("/usr/sbin/e2fsck", "-fn", rootfs)
    again = import_image(programs, source, work / "again")
    complaints = [] if sha256_of(rootfs) == sha256_of(again) else ["a second import gives other bytes"]
    lines = run(programs / "image_list", rootfs).splitlines()
    ours = {bytes.fromhex(entry["path"]): entry for entry in map(json.loads, lines)}
    compared = []
    for who, tree, directory_times in peers(source, name, work):
        compared.append(who)
        complaints += [f"{who}: {text}" for text in differences(ours, walk(os.fsencode(tree)), directory_times)]
    print(f"{name}: {len(ours)} entries, {len(complaints)} differences from {' and '.join(compared)}", flush=True)
    print("".join(f"  {text}\n" for text in complaints[:SHOWN]), end="", flush=True)
    return not complaints


def every_image():
    """(source, name) of the factory's images, and of those that scripts/make-base-image has made here."""
    for name in (*image_factory.ALL, "bench-small"):
        yield image_factory.image(name), name
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share")
    cache = image_factory.cache_folder().parent
    for layout in (data / "cleanroom/layouts/demo", cache / "layouts/clients"):
        if (layout / "index.json").exists():
            [only] = json.loads((layout / "index.json").read_text())["manifests"]
            yield f"{layout}:{only['annotations']['org.opencontainers.image.ref.name']}", layout.name


def compare_random(programs, text):
    """Names of the images of random:FIRST-LAST that do not agree."""
    first, _, last = text.removeprefix("random:").partition("-")
    wrong = []
    for seed in range(int(first), int(last or first) + 1):
        with tempfile.TemporaryDirectory(prefix="cleanroom-image-") as work:
            layout = Layout(pathlib.Path(work) / "layout")
            random_images.write(layout, seed)
            if not compare(programs, f"{layout.path}:t", f"random:{seed}", pathlib.Path(work)):
                wrong.append(f"random:{seed}")
    return wrong


def main():
    if "CLEANROOM_BIN_DIR" not in os.environ:
        sys.exit(__doc__)
    programs = pathlib.Path(os.environ["CLEANROOM_BIN_DIR"])
    if os.geteuid() != 0:
        print("skip: needs root")
        sys.exit(77)
    random = [text for text in sys.argv[1:] or [RANDOM] if text.startswith("random:")]
    named = [text for text in sys.argv[1:] if text not in random]
    asked = [(text, pathlib.Path(text.partition(":")[0]).name) if "/" in text else (image_factory.image(text), text) for text in named]
    wrong = [name for text in random for name in compare_random(programs, text)]
    for source, name in asked if sys.argv[1:] else every_image():
        with tempfile.TemporaryDirectory(prefix="cleanroom-image-") as work:
            if not compare(programs, source, name, pathlib.Path(work)):
                wrong.append(name)
    if wrong:
        raise SystemExit("FAIL: " + ", ".join(wrong))


main()
