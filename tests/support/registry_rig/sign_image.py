#!/usr/bin/env python3
"""Signs an image as `cosign sign --key` would, with openssl(1) alone: Debian has no cosign.

    sign_image.py --key KEY.pem [--key ...] REGISTRY/REPOSITORY@sha256:HEX LAYOUT

KEY.pem is a private key without a passphrase (openssl genpkey): EC on P-256 or P-384, RSA, Ed25519. Writes the image that
holds the signatures, one layer a key, to the OCI layout LAYOUT under its tag, which is printed. To push it:

    skopeo copy oci:LAYOUT:TAG docker://REGISTRY/REPOSITORY:TAG

For tests of what must be refused: --name and --type change what the payload says, --payload FILE replaces it. In Python:
signature_image() for the manifest and blobs, to serve or to put by hand.
"""
import argparse
import base64
import hashlib
import json
import pathlib
import re
import subprocess

LAYER_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
KIND = "cosign container image signature"
OPENSSL_SECONDS = 60


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def signature_tag(digest):
    return digest.replace(":", "-") + ".sig"


def payload_of(repository, digest, name=None, kind=KIND):
    """What is signed. cosign calls Docker Hub index.docker.io."""
    name = name if name is not None else re.sub(r"^docker\.io/", "index.docker.io/", repository)
    critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": kind}
    return compact({"critical": critical, "optional": None})


def openssl(*arguments, given=b""):
    done = subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, timeout=OPENSSL_SECONDS, check=False)
    if done.returncode != 0:
        raise SystemExit(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def sign(key, payload, scratch):
    """The signature's bytes: over the payload's SHA-256, or over the payload itself for Ed25519."""
    if b"ED25519" not in openssl("pkey", "-in", key, "-noout", "-text").upper():
        return openssl("dgst", "-sha256", "-sign", key, given=payload)
    # Ed25519 reads its message twice, so openssl wants a file.
    message = pathlib.Path(scratch) / "payload"
    message.write_bytes(payload)
    try:
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message)
    finally:
        message.unlink()


def signature_image(signed):
    """(payload, signature) pairs -> the manifest's bytes, and the blobs by digest that it names."""
    config = compact({"architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
                      "rootfs": {"type": "layers", "diff_ids": [digest_of(payload) for payload, _ in signed]}})
    layers = [{"mediaType": LAYER_TYPE, "size": len(payload), "digest": digest_of(payload),
               "annotations": {ANNOTATION: base64.b64encode(signature).decode()}} for payload, signature in signed]
    manifest = compact({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": layers,
                        "config": {"mediaType": CONFIG_TYPE, "size": len(config), "digest": digest_of(config)}})
    return manifest, {digest_of(blob): blob for blob in [config, *(payload for payload, _ in signed)]}


def write_layout(layout, tag, manifest, blobs):
    folder = pathlib.Path(layout)
    (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    for digest, blob in {**blobs, digest_of(manifest): manifest}.items():
        (folder / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(blob)
    (folder / "oci-layout").write_bytes(compact({"imageLayoutVersion": "1.0.0"}))
    entry = {"mediaType": MANIFEST_TYPE, "size": len(manifest), "digest": digest_of(manifest),
             "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_bytes(compact({"schemaVersion": 2, "manifests": [entry]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", action="append", required=True, type=pathlib.Path, help="private key, PEM")
    parser.add_argument("--name", help="docker-reference of the payload, instead of the image's repository")
    parser.add_argument("--type", default=KIND, help="type of the payload")
    parser.add_argument("--payload", type=pathlib.Path, help="sign the bytes of this file")
    parser.add_argument("image")
    parser.add_argument("layout", type=pathlib.Path)
    given = parser.parse_args()
    match = re.fullmatch(r"(?P<repository>[^@]+)@(?P<digest>sha256:[0-9a-f]{64})", given.image)
    if match is None:
        parser.error(f"expected REGISTRY/REPOSITORY@sha256:HEX, found {given.image!r}")
    given.layout.mkdir(parents=True, exist_ok=True)
    made = payload_of(match["repository"], match["digest"], given.name, given.type)
    payload = given.payload.read_bytes() if given.payload else made
    manifest, blobs = signature_image([(payload, sign(key, payload, given.layout)) for key in given.key])
    tag = signature_tag(match["digest"])
    write_layout(given.layout, tag, manifest, blobs)
    print(tag)


if __name__ == "__main__":
    main()
