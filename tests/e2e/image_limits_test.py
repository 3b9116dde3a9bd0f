#!/usr/bin/env python3
"""IMG-13 at full size: images that promise far more than a host has are refused with image_limit, quickly and in bounded memory.

A gzip layer that expands a thousandfold to 90 GiB, one with a million entries and some, paths ten thousand deep, a zstd window of 2 GiB.
Needs CLEANROOM_BIN_DIR. The bounds: 15 s of processor time on a busy machine, 256 MiB of memory; nothing left in the store.
"""
import gzip, hashlib, io, json, os, resource, struct, subprocess, sys, tarfile, tempfile, unittest, zlib

BIN = os.environ["CLEANROOM_BIN_DIR"]
GZIP, ZSTD = (f"application/vnd.oci.image.layer.v1.tar+{kind}" for kind in ("gzip", "zstd"))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def make_layout(folder, blob, media_type):
    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{folder}/blobs/sha256/{digest}", "wb") as out:
            out.write(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    os.makedirs(f"{folder}/blobs/sha256")
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
                "layers": [{"mediaType": media_type, **put(blob)}]}
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, **put(json.dumps(manifest).encode())}]}
    for name, document in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(f"{folder}/{name}", "w") as out:
            json.dump(document, out)


def many_entries(count):
    header = bytearray(tarfile.TarInfo("d0000000/f0000000").tobuf(tarfile.USTAR_FORMAT))
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts, pending = [], bytearray()
    for i in range(count):
        header[0:17] = b"d%07d/f%07d" % (i // 1000, i)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        pending += header
        if len(pending) > 1 << 20:
            parts.append(compressor.compress(bytes(pending)))
            pending.clear()
    return b"".join([*parts, compressor.compress(bytes(pending) + bytes(1024)), compressor.flush()])


class Bombs(unittest.TestCase):
    def refuse(self, blob, media_type, reasons=("image_limit",)):
        with tempfile.TemporaryDirectory(prefix="cleanroom-limits-") as folder:
            make_layout(f"{folder}/layout", blob, media_type)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([f"{BIN}/cleanroom", "image", "import", f"oci:{folder}/layout"], capture_output=True, text=True, timeout=120,
                                  env={**os.environ, "XDG_DATA_HOME": f"{folder}/data"})
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.assertEqual(done.returncode, 78, done.stderr)
            self.assertIn(done.stderr.rpartition("reason: ")[2].strip(), reasons, done.stderr)
            self.assertLess(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 15)
            self.assertLess(after.ru_maxrss, 256 << 10)
            self.assertEqual(os.listdir(f"{folder}/data/cleanroom/images"), [])

    def test_IMG_13_a_thousandfold(self):
        file = tarfile.TarInfo("zeros")
        file.size = 90 << 30
        self.refuse(gzip.compress(file.tobuf(tarfile.GNU_FORMAT)) + gzip.compress(bytes(1 << 20), 9) * (90 << 10), GZIP)

    def test_IMG_13_entries(self):
        self.refuse(many_entries(1_000_100), GZIP)

    def test_IMG_13_depth(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(tarfile.TarInfo("a/" * 10_000 + "x"))
        self.refuse(gzip.compress(out.getvalue()), GZIP)

    def test_IMG_13_a_window_of_2_gib(self):
        # RFC 8878 section 3.1.1: magic, a frame header descriptor without flags, window exponent 21 (2^31), one empty last block.
        self.refuse(struct.pack("<IBB", 0xFD2FB528, 0, 21 << 3) + b"\x01\x00\x00", ZSTD, ("image_invalid", "image_limit"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
