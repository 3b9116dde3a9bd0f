#!/usr/bin/env python3
"""Wraps one root filesystem tar, read from stdin, into an OCI image layout directory. Prints the manifest's digest.

The same tar and arguments always give the same bytes: JSON has sorted keys, and the only time in it is --created.
Layout and media types: OCI image-spec v1.1, image-layout.md and manifest.md.
"""
import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
import threading

CHUNK = 1 << 20


def write_blob(blobs, content):
    digest = hashlib.sha256(content).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as file:
        file.write(content)
    return {"digest": "sha256:" + digest, "size": len(content)}


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write_layer(source, blobs):
    """Streams source through zstd into a blob; returns its descriptor and the digest of the uncompressed tar."""
    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    partial = os.path.join(blobs, "layer.partial")
    # -T2 and not -T0: the output must not depend on how many cores the machine has.
    zstd = subprocess.Popen(["zstd", "-q", "-c", "-3", "-T2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def feed():
        while chunk := source.read(CHUNK):
            plain.update(chunk)
            zstd.stdin.write(chunk)
        zstd.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(partial, "wb") as file:
        while chunk := zstd.stdout.read(CHUNK):
            packed.update(chunk)
            size += len(chunk)
            file.write(chunk)
    feeder.join()
    if zstd.wait() != 0:
        raise SystemExit("oci_layout: error: zstd failed with status %d" % zstd.returncode)
    if plain.digest() == hashlib.sha256(b"").digest():
        raise SystemExit("oci_layout: error: no tar on stdin")
    os.rename(partial, os.path.join(blobs, packed.hexdigest()))
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": "sha256:" + packed.hexdigest(),
        "size": size,
    }
    return descriptor, "sha256:" + plain.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="a directory that does not exist yet")
    parser.add_argument("--created", required=True, type=int, help="seconds since the epoch")
    parser.add_argument("--tag", required=True, help="name of the image in index.json")
    parser.add_argument("--comment", default="", help="how the layer was made, for the history")
    arguments = parser.parse_args()

    os.mkdir(arguments.output)
    blobs = os.path.join(arguments.output, "blobs", "sha256")
    os.makedirs(blobs)
    created = datetime.datetime.fromtimestamp(arguments.created, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    layer, diff_id = write_layer(sys.stdin.buffer, blobs)
    config = write_blob(blobs, canonical({
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/bash"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "mmdebstrap", "comment": arguments.comment}],
    }))
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    manifest = write_blob(blobs, canonical({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    }))
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    manifest["annotations"] = {"org.opencontainers.image.ref.name": arguments.tag}
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    with open(os.path.join(arguments.output, "index.json"), "wb") as file:
        file.write(canonical({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        }))
    with open(os.path.join(arguments.output, "oci-layout"), "w", encoding="ascii") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')
    print(manifest["digest"])


if __name__ == "__main__":
    main()
