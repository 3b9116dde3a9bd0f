#!/usr/bin/env python3
"""IMG-25: our ext4 against `umoci unpack` as root, entry by entry, for an image with everything in it.

usage: CLEANROOM_BIN_DIR=build/dev/bin image_differential_test.py [LAYOUT:TAG]

Without a layout one of two layers is made here: owners, setuid, xattrs, a capability, an ACL, devices, hardlinks
across directories, long names, sparse content, whiteouts, an opaque directory, a change of type.
Needs umoci, and root (devices, capabilities): exits 77 without it.
"""
import gzip, hashlib, io, json, os, stat, struct, subprocess, sys, tarfile, tempfile

MTIME = 1_600_000_000.25


def acl():
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def layer(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for name, fields in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = MTIME, 0o644
            content = fields.pop("content", b"")
            xattrs = fields.pop("xattrs", {})
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(content)
            info.pax_headers = {"SCHILY.xattr." + k: v.decode("utf-8", "surrogateescape") for k, v in xattrs.items()}
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def directory(**more):
    return dict(type=tarfile.DIRTYPE, mode=0o755, **more)


def lower():
    capability = bytes([1, 0, 0, 2, 0, 4, 0, 0]) + bytes(12)
    entries = [("./", directory()), ("usr", directory()), ("usr/bin", directory(uid=10, gid=20)),
               ("bin", dict(type=tarfile.SYMTYPE, linkname="usr/bin", mode=0o777)),
               ("usr/bin/su", dict(mode=0o4755, content=b"su" * 5000)),
               ("usr/bin/ping", dict(mode=0o755, content=b"ping", xattrs={"security.capability": capability})),
               ("usr/bin/acl", dict(mode=0o664, content=b"x", xattrs={"system.posix_acl_access": acl()})),
               ("usr/many", dict(content=b"x", xattrs={"user.a": b"1", "user.long": b"v" * 900, "trusted.t": b"t"})),
               ("usr/hard", dict(type=tarfile.LNKTYPE, linkname="usr/bin/su")),
               ("slow", dict(type=tarfile.SYMTYPE, linkname="t" * 200, mode=0o777)),
               ("null", dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)),
               ("disk", dict(type=tarfile.BLKTYPE, devmajor=259, devminor=70000, mode=0o660)),
               ("fifo", dict(type=tarfile.FIFOTYPE, mode=0o600)),
               ("tmp", directory(gid=5)), ("zeros", dict(content=bytes(1 << 20) + b"end" + bytes(1 << 20))),
               ("n" * 255, dict(content=b"long name")), ("cafe\u0301", {}), ("caf\u00e9", dict(content=b"nfc")),
               ("gone", directory()), ("gone/x", dict(content=b"x")), ("opaque", directory()),
               ("opaque/old", dict(content=b"old")), ("swap", dict(content=b"file")), ("same", dict(content=b"lower")),
               ("crowd", directory())]
    return entries + [(f"crowd/{i:05}", dict(content=str(i).encode())) for i in range(3000)]


def upper():
    return [(".wh.gone", {}), ("opaque", directory(uid=3)), ("opaque/.wh..wh..opq", {}), ("opaque/new", dict(content=b"new")),
            ("swap", directory()), ("swap/in", dict(content=b"in")), ("same", dict(content=b"upper", uid=9)),
            ("bin/tool", dict(mode=0o755, content=b"tool")), ("usr/hard2", dict(type=tarfile.LNKTYPE, linkname="usr/hard"))]


def make_layout(path):
    blobs = os.path.join(path, "blobs/sha256")
    os.makedirs(blobs)

    def put(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as out:
            out.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    tars = [layer(lower()), layer(upper())]
    kind = "application/vnd.oci.image."
    config = {"os": "linux", "architecture": "amd64", "config": {},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(t).hexdigest() for t in tars]}}
    manifest = {"schemaVersion": 2, "config": put(json.dumps(config).encode(), kind + "config.v1+json"),
                "layers": [put(gzip.compress(t, 1), kind + "layer.v1.tar+gzip") for t in tars]}
    described = put(json.dumps(manifest).encode(), kind + "manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    for name, data in (("index.json", {"schemaVersion": 2, "manifests": [described]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(path, name), "w") as out:
            json.dump(data, out)


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
            with open(full, "rb") as data:
                entry["sha256"] = hashlib.file_digest(data, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                    else hashlib.sha256(data.read()).hexdigest()
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


def differences(ours, theirs):
    for path in sorted(ours.keys() ^ theirs.keys()):
        yield f"{path!r} is only in {'ours' if path in ours else 'theirs'}"
    groups = {}
    for path in sorted(ours.keys() & theirs.keys()):
        a, b = ours[path], theirs[path]
        for key in b:
            # umoci gives directories that a later member touches another time; the root has none in the tar.
            if key in ("inode", "xattrs") or (key in ("mtime", "ns") and stat.S_ISDIR(b["mode"])):
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


def main():
    if len(sys.argv) > 2 or "CLEANROOM_BIN_DIR" not in os.environ:
        sys.exit(__doc__)
    programs = os.environ["CLEANROOM_BIN_DIR"]
    if os.geteuid() != 0:
        print("skip: needs root")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cleanroom-image-") as work:
        source = sys.argv[1] if len(sys.argv) == 2 else os.path.join(work, "layout") + ":t"
        if len(sys.argv) == 1:
            make_layout(os.path.join(work, "layout"))
        env = dict(os.environ, XDG_DATA_HOME=os.path.join(work, "data"))
        digest = subprocess.run([os.path.join(programs, "cleanroom"), "image", "import", "oci:" + source], env=env, check=True,
                                stdout=subprocess.PIPE, text=True, timeout=900).stdout.strip()
        rootfs = os.path.join(work, "data/cleanroom/images", digest.removeprefix("sha256:"), "rootfs.ext4")
        subprocess.run(["/usr/sbin/e2fsck", "-fn", rootfs], check=True, stdout=subprocess.DEVNULL, timeout=600)
        lines = subprocess.run([os.path.join(programs, "image_list"), rootfs], check=True, stdout=subprocess.PIPE, text=True, timeout=900).stdout
        ours = {bytes.fromhex(e["path"]): e for e in map(json.loads, lines.splitlines())}
        subprocess.run(["umoci", "unpack", "--image", source, os.path.join(work, "bundle")], check=True,
                       stdout=subprocess.DEVNULL, timeout=900)
        theirs = walk(os.fsencode(os.path.join(work, "bundle/rootfs")))
        found = list(differences(ours, theirs))
        print("\n".join(found[:50]))
        print(f"{len(ours)} entries, {len(found)} differences")
        sys.exit(1 if found else 0)


main()
