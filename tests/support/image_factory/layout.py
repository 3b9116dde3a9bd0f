"""An OCI image layout (image-spec image-layout.md), written so that the same input gives the same bytes."""
import hashlib
import io
import json
import os
import pathlib
import struct
import subprocess
import tarfile
import tempfile

SECONDS = 900
MTIME = 1_600_000_000.25
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "oci": {"manifest": OCI + "manifest.v1+json", "index": OCI + "index.v1+json", "config": OCI + "config.v1+json",
            "none": OCI + "layer.v1.tar", "gzip": OCI + "layer.v1.tar+gzip", "zstd": OCI + "layer.v1.tar+zstd"},
    "docker": {"manifest": DOCKER + "distribution.manifest.v2+json", "index": DOCKER + "distribution.manifest.list.v2+json",
               "config": DOCKER + "container.image.v1+json", "none": DOCKER + "image.rootfs.diff.tar",
               "gzip": DOCKER + "image.rootfs.diff.tar.gzip"}}
COMPRESSORS = {"gzip": ["gzip", "-n", "-c"], "zstd": ["zstd", "-q", "-c", "--no-progress", "-T1"]}


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return "sha256:" + digest.hexdigest()


def directory(**more):
    return dict(type=tarfile.DIRTYPE, mode=0o755, **more)


def symlink(target):
    return dict(type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hardlink(target):
    return dict(type=tarfile.LNKTYPE, linkname=target)


def access_acl():
    """rw-, user 1234 r--, group r--, mask rw-, other r--: the kernel's form of it."""
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def member(name, fields):
    """A TarInfo and its content. Fields: TarInfo's, `content`, `xattrs` ({name: bytes}), `pax` ({record: text})."""
    fields = dict(fields)
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = MTIME, 0o644
    content, xattrs, pax = fields.pop("content", b""), fields.pop("xattrs", {}), fields.pop("pax", {})
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(content)
    info.pax_headers = {"SCHILY.xattr." + k: v.decode("utf-8", "surrogateescape") for k, v in xattrs.items()} | pax
    return info, content


def write_tar(out, entries, form=tarfile.PAX_FORMAT):
    """(name, fields) of each member; names may hold any bytes (os.fsdecode)."""
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, fields in entries:
            info, content = member(name, fields)
            tar.addfile(info, io.BytesIO(content))


class Layout:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.blobs = self.path / "blobs/sha256"
        self.blobs.mkdir(parents=True)
        self.tagged = []

    def put(self, data, media_type):
        """A blob from bytes; returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def layer(self, entries, compression="gzip", family="oci", form=tarfile.PAX_FORMAT, level=6):
        """(descriptor, diff_id) of a layer of `entries`: members for write_tar, or a function that writes a tar to a file."""
        with tempfile.NamedTemporaryFile(dir=self.path) as tar, tempfile.NamedTemporaryFile(dir=self.path, delete=False) as blob:
            if callable(entries):
                entries(tar)
            else:
                write_tar(tar, entries, form)
            tar.flush()
            diff_id = digest_of(tar.name)
            tar.seek(0)
            command = [*COMPRESSORS[compression], f"-{level}"] if compression != "none" else ["cat"]
            subprocess.run(command, stdin=tar, stdout=blob, check=True, timeout=SECONDS)
        digest, size = digest_of(blob.name), os.path.getsize(blob.name)
        os.chmod(blob.name, 0o644)
        os.rename(blob.name, self.blobs / digest[7:])
        return {"mediaType": TYPES[family][compression], "digest": digest, "size": size}, diff_id

    def manifest(self, layers, family="oci", architecture="amd64", variant=None, config=None):
        """The descriptor, with its platform, of an image of `layers`: what layer() returned."""
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        whole = {**platform, "config": config or {}, "created": "2020-09-13T12:26:40Z",
                 "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
                 "history": [{"created": "2020-09-13T12:26:40Z", "created_by": f"layer {number}"} for number in range(len(layers))]}
        types = TYPES[family]
        document = {"schemaVersion": 2, "mediaType": types["manifest"], "config": self.put(json.dumps(whole).encode(), types["config"]),
                    "layers": [descriptor for descriptor, _ in layers]}
        return {**self.put(json.dumps(document).encode(), types["manifest"]), "platform": platform}

    def index(self, manifests, family="oci"):
        document = {"schemaVersion": 2, "mediaType": TYPES[family]["index"], "manifests": manifests}
        return self.put(json.dumps(document).encode(), TYPES[family]["index"])

    def tag(self, descriptor, name="t"):
        described = {key: value for key, value in descriptor.items() if key != "platform"}
        self.tagged.append({**described, "annotations": {"org.opencontainers.image.ref.name": name}})

    def finish(self):
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.tagged}))
        (self.path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
