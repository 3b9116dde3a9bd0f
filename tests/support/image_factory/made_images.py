"""Images whose every entry is written here: one function each, (layout), which leaves a tag `t`."""
import os
import random
import subprocess
import tarfile

from layout import access_acl, directory, hardlink, symlink

BUSYBOX = "/bin/busybox"
SECONDS = 60


def busybox_entries():
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True, timeout=SECONDS).stdout.split()
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    entries = [("./", directory())] + [(name, directory()) for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "var")]
    entries += [("tmp", {**directory(), "mode": 0o1777}), ("bin/busybox", dict(mode=0o755, content=program)),
                ("etc/passwd", dict(content=b"root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000::/home:/bin/sh\n")),
                ("etc/group", dict(content=b"root:x:0:\nbuild:x:1000:\n"))]
    return entries + [(f"bin/{name}", symlink("busybox")) for name in applets if name != "busybox"]


CONFIG = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"}


def busybox(layout):
    layout.tag(layout.manifest([layout.layer(busybox_entries())], config=CONFIG))


def everything_lower():
    capability = bytes([1, 0, 0, 2, 0, 4, 0, 0]) + bytes(12)
    entries = [("./", directory()), ("usr", directory()), ("usr/bin", directory(uid=10, gid=20)),
               ("bin", symlink("usr/bin")), ("usr/bin/su", dict(mode=0o4755, content=b"su" * 5000)),
               ("usr/bin/ping", dict(mode=0o755, content=b"ping", xattrs={"security.capability": capability})),
               ("usr/bin/acl", dict(mode=0o664, content=b"x", xattrs={"system.posix_acl_access": access_acl()})),
               ("usr/many", dict(content=b"x", xattrs={"user.a": b"1", "user.long": b"v" * 900, "trusted.t": b"t"})),
               ("usr/hard", hardlink("usr/bin/su")), ("slow", symlink("t" * 200)),
               ("null", dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)),
               ("disk", dict(type=tarfile.BLKTYPE, devmajor=259, devminor=70000, mode=0o660)),
               ("fifo", dict(type=tarfile.FIFOTYPE, mode=0o600)),
               ("tmp", directory(gid=5)), ("zeros", dict(content=bytes(1 << 20) + b"end" + bytes(1 << 20))),
               ("n" * 255, dict(content=b"long name")), ("cafe\u0301", {}), ("caf\u00e9", dict(content=b"nfc")),
               ("gone", directory()), ("gone/x", dict(content=b"x")), ("opaque", directory()),
               ("opaque/old", dict(content=b"old")), ("swap", dict(content=b"file")), ("same", dict(content=b"lower")),
               ("crowd", directory())]
    return entries + [(f"crowd/{i:05}", dict(content=str(i).encode())) for i in range(3000)]


def everything_upper():
    return [(".wh.gone", {}), ("opaque", directory(uid=3)), ("opaque/.wh..wh..opq", {}), ("opaque/new", dict(content=b"new")),
            ("swap", directory()), ("swap/in", dict(content=b"in")), ("same", dict(content=b"upper", uid=9)),
            ("bin/tool", dict(mode=0o755, content=b"tool")), ("usr/hard2", hardlink("usr/hard"))]


def everything(layout, compression="gzip", family="oci"):
    layers = [layout.layer(entries, compression, family) for entries in (everything_lower(), everything_upper())]
    layout.tag(layout.manifest(layers, family))


def zstd(layout):
    everything(layout, "zstd")


def plain(layout):
    everything(layout, "none")


def schema2(layout):
    everything(layout, family="docker")


def index(layout):
    """amd64, and arm64 v8 whose /platform and layer differ."""
    base = layout.layer(busybox_entries())
    described = []
    for architecture, variant in (("arm64", "v8"), ("amd64", None)):
        own = layout.layer([("platform", dict(content=architecture.encode()))])
        described.append(layout.manifest([base, own], architecture=architecture, variant=variant, config=CONFIG))
    layout.tag(layout.index(described))
    layout.tag(described[1], "amd64")


def crowd(layout):
    """100,000 entries in one directory: files of a few bytes, every tenth empty, every hundredth a link."""
    entries = [("./", directory()), ("d", directory())]
    for i in range(100_000):
        fields = symlink(str(i)) if i % 100 == 7 else dict(content=b"" if i % 10 == 0 else str(i).encode())
        entries.append((f"d/{i:06}-{'n' * (i % 40)}", fields))
    layout.tag(layout.manifest([layout.layer(entries, level=1)]))


def sparse(layout):
    """200 MiB in one file, of which 12 MiB are no zeros; 20 MiB without any; the first goes again in layer 3."""
    noise = random.Random(1)
    big = b"".join(bytes(19 << 20) + noise.randbytes(1 << 20) for _ in range(10)) + noise.randbytes(2 << 20)
    layers = [[("./", directory()), ("big", dict(content=big)), ("zeros", dict(content=bytes(20 << 20)))],
              [("copy", dict(content=big[:40 << 20] + b"x"))], [(".wh.copy", {}), ("odd", dict(content=bytes(4095) + b"1" + bytes(12289)))]]
    layout.tag(layout.manifest([layout.layer(entries, level=1) for entries in layers]))


def layers(layout):
    """60 layers: each adds a file, changes one of the layer before, and removes one of two before."""
    made = []
    for i in range(60):
        entries = [("./", directory()), ("d", directory(uid=i)), (f"d/{i:02}", dict(content=b"new" * i))]
        if i >= 1:
            entries.append((f"d/{i - 1:02}", dict(content=f"changed by {i}".encode(), uid=i)))
        if i >= 2 and i % 3 == 0:
            entries.append((f"d/.wh.{i - 2:02}", {}))
        made.append(layout.layer(entries))
    layout.tag(layout.manifest(made))


def odd(layout):
    """Names, ids and times at their limits; the second layer is in GNU format, whose names are bytes."""
    bad = os.fsdecode(b"latin-\xe9-\xff\xfe")
    deep = "/".join(["d" * 200] * 8)
    pax = [("./", directory()), ("n" * 255, dict(content=b"255")), ("e\u0301", dict(content=b"nfd")), ("\u00e9", dict(content=b"nfc")),
           (bad, dict(content=b"not utf-8")), ("to-bad", symlink(bad)), ("back\\slash", dict(content=b"b")), (" space ", {}),
           ("new\nline", dict(content=b"n")), ("-rf", {}), ("\u202eright-to-left", {}), ("Case", dict(content=b"1")), ("case", dict(content=b"2")),
           ("uid-max", dict(uid=2**32 - 2, gid=2**32 - 2)), ("uid-2^31", dict(uid=2**31, gid=2**31)), ("uid-65536", dict(uid=65536, gid=70000))]
    deep_parts = deep.split("/")
    pax += [("/".join(deep_parts[:i + 1]), directory()) for i in range(len(deep_parts))] + [(deep + "/end", dict(content=b"deep"))]
    times = {"epoch": "0", "negative": "-1", "negative-fraction": "-1.5", "oldest": "-2147483648", "nanoseconds": "1600000000.123456789",
             "2038": "2147483648.5", "2106": "4294967296", "2242": "8589934592.999999999"}
    pax += [("time-" + name, dict(content=b"t", pax={"mtime": text})) for name, text in times.items()]
    gnu = [("gnu-" + "g" * 251, dict(content=b"gnu", mtime=1_500_000_000)), (os.fsdecode(b"gnu-\xff\xfe"), dict(content=b"gnu bytes", mtime=1_500_000_000)),
           ("gnu-link", dict(**symlink("/" + "l" * 300), mtime=1_500_000_000)), ("gnu-uid", dict(uid=2**32 - 2, gid=3_000_000_000, mtime=1_500_000_000)),
           ("gnu-negative", dict(mtime=-86400))]
    layout.tag(layout.manifest([layout.layer(pax), layout.layer(gnu, form=tarfile.GNU_FORMAT)]))


def hardlinks(layout):
    """Links within and across layers, to what an upper layer replaces, and 2,000 names of one file."""
    lower = [("./", directory()), ("a", directory()), ("b", directory()), ("a/one", dict(content=b"one", uid=5, xattrs={"user.k": b"v"})),
             ("b/two", hardlink("a/one")), ("b/three", hardlink("./b/two")), ("sym", symlink("a")), ("b/sym", hardlink("sym"))]
    lower += [("many", directory()), ("many/0", dict(content=b"many"))] + [(f"many/{i}", hardlink("many/0")) for i in range(1, 2000)]
    middle = [("c", directory()), ("c/four", hardlink("a/one")), ("a/one", dict(content=b"replaced"))]
    upper = [("c/five", hardlink("b/two")), ("b/.wh.two", {}), ("many/.wh.0", {}), ("c/six", hardlink("many/7"))]
    layout.tag(layout.manifest([layout.layer(entries) for entries in (lower, middle, upper)]))


def noise(layout, more=False):
    """A layer of 40 MiB that nothing compresses, and a small one; `more`: and a third."""
    data = random.Random(3).randbytes(40 << 20)
    entries = [[("./", directory()), ("noise", dict(content=data))], [("small", dict(content=data[:100_000]))],
               [("third", dict(content=data[100_000:200_000]))]]
    layout.tag(layout.manifest([layout.layer(part, level=1) for part in (entries if more else entries[:2])], config=CONFIG))


def noise_2(layout):
    noise(layout, more=True)


def many_files(layout):
    """200,000 files of 0 to 8 KiB in 2,000 directories, in four layers."""
    noise = random.Random(2)
    block = noise.randbytes(1 << 16)
    made = []
    for part in range(4):
        entries = [("./", directory())]
        for number in range(part * 500, part * 500 + 500):
            entries.append((f"d{number:04}", directory()))
            for i in range(100):
                start = noise.randrange(1 << 15)
                entries.append((f"d{number:04}/f{i:03}", dict(content=block[start:start + noise.randrange(4096)] * 2)))
        made.append(layout.layer(entries))
    layout.tag(layout.manifest(made))
