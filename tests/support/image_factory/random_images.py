"""Images of which a number decides everything: layers that add, replace, link, hide and change what is below them.

Left out is what programs read differently: a whiteout of what its own layer has, a member below one that is no directory, a mode that
contradicts the ACL beside it. An image of one layer is for bsdtar too, which leaves ACLs in this form out, replaces no directory that is not
empty, and of a directory's several members takes the first one's mode.
"""
import random
import tarfile

from layout import access_acl, directory, hardlink, symlink

NAMES = ("a", "b", "c", "dir", "usr", "x" * 120, "caf\u00e9", "-rf")
DEPTH = 4
ACL = {"system.posix_acl_access": access_acl()}
XATTRS = ({}, {}, {}, {"user.k": b"v"}, {"security.capability": bytes([1, 0, 0, 2, 0, 4, 0, 0]) + bytes(12)}, ACL, {"user.long": b"l" * 600, "trusted.t": b"t"})


class Tree:
    """What the layers so far make: path -> "directory", "file" or "link". The root is ""."""

    def __init__(self, noise, alone):
        self.noise, self.kinds = noise, {"": "directory"}
        self.alone = alone    # there is one layer
        self.below = {}       # as it was when this layer began
        self.touched = set()  # by this layer

    def begin_layer(self):
        self.below, self.touched = dict(self.kinds), set()

    def of_kind(self, *kinds):
        return sorted(path for path, kind in self.kinds.items() if kind in kinds and path)

    def hide(self, path):
        """What is at and below the path goes."""
        for one in [one for one in self.kinds if one == path or one.startswith(path + "/")]:
            del self.kinds[one]

    def place(self):
        """A path in a directory, new or not."""
        parents = [path for path in ("", *self.of_kind("directory")) if path.count("/") < DEPTH - 1]
        path = f"{self.noise.choice(parents)}/{self.noise.choice(NAMES)}".lstrip("/")
        while self.alone and self.kinds.get(path) == "directory":
            path += ".other"
        return path

    def put(self, path, kind):
        if not (kind == "directory" == self.kinds.get(path)):
            self.hide(path)
        self.kinds[path] = kind
        parts = path.split("/")
        self.touched |= {"/".join(parts[:i]) for i in range(1, len(parts) + 1)}

    def untouched(self):
        """What only layers below have, with all that is in it."""
        return sorted(path for path in self.below if path and path in self.kinds and path not in self.touched)


def content(noise):
    return noise.choice((b"", b"short", noise.randbytes(noise.randrange(1, 20_000)), bytes(noise.randrange(1, 200_000)), noise.randbytes(4096)))


def attributes(noise):
    return dict(uid=noise.choice((0, 0, 1000, 65_536, 2**32 - 2)), gid=noise.choice((0, 0, 5, 2**31)), mtime=noise.choice((0, 1_500_000_000, 1_600_000_000.5, -1)))


def step(tree, noise):
    """One member, or none where there is nothing to do it to."""
    what = noise.choices(("file", "directory", "symlink", "hardlink", "special", "whiteout", "opaque"), (30, 25, 10, 12, 4, 14, 5))[0]
    if what in ("whiteout", "opaque"):
        candidates = [path for path in tree.untouched() if what == "whiteout" or tree.kinds[path] == "directory"]
        if not candidates:
            return None
        path = noise.choice(candidates)
        if what == "whiteout":
            tree.hide(path)
            tree.touched.add(path)
            return "/".join([*path.split("/")[:-1], ".wh." + path.split("/")[-1]]), {}
        for one in [one for one in tree.kinds if one.startswith(path + "/")]:
            del tree.kinds[one]
        tree.touched.add(path)
        return path + "/.wh..wh..opq", {}
    path = tree.place()
    if what == "hardlink":
        targets = [one for one in tree.of_kind("file") if one != path and not one.startswith(path + "/")]
        if not targets:
            return None
        target = noise.choice(targets)
        tree.put(path, "file")
        return path, hardlink(target)
    if what == "directory":
        tree.put(path, "directory")
        return path, directory(**attributes(noise)) | {"mode": noise.choice((0o755, 0o700, 0o1777))}
    if what == "symlink":
        tree.put(path, "link")
        return path, symlink(noise.choice(("/", "..", "a", "/usr/b", "../../../../etc/passwd", "t" * 150))) | attributes(noise)
    tree.put(path, "file")
    if what == "special":
        return path, dict(type=noise.choice((tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)), devmajor=7, devminor=noise.randrange(300), **attributes(noise))
    xattrs = noise.choice([one for one in XATTRS if one is not ACL or not tree.alone])
    mode = 0o664 if xattrs is ACL else noise.choice((0o644, 0o755, 0o4755, 0o600, 0))
    return path, dict(content=content(noise), mode=mode, xattrs=xattrs, **attributes(noise))


def write(layout, seed):
    """Tags the image of this seed as `t`."""
    noise = random.Random(seed)
    count = noise.randrange(1, 6)
    tree, layers = Tree(noise, count == 1), []
    for number in range(count):
        tree.begin_layer()
        entries = [("./", directory())] if number == 0 else []
        entries += filter(None, (step(tree, noise) for _ in range(noise.randrange(1, 60))))
        layers.append(layout.layer(entries, noise.choice(("gzip", "none")), level=1))
    layout.tag(layout.manifest(layers))
    layout.finish()
