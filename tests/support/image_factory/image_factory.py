#!/usr/bin/env python3
"""Makes images as OCI layouts, from Debian's packages alone, and keeps them: ~/.cache/cleanroom/test-images/NAME-HASH.

usage: image_factory.py [--big] [NAME...]     prints NAME DIR:t for each; without names for all but the big ones
"""
import argparse
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import made_images  # noqa: E402
import real_images  # noqa: E402
from layout import Layout  # noqa: E402

MADE = ("busybox", "everything", "zstd", "plain", "schema2", "index", "crowd", "sparse", "layers", "odd", "hardlinks", "noise", "noise_2")
BUILT = ("umoci", "buildah")
# For the bench; never in CI. bench-large is 1.5 GB unpacked.
SMALL = ["base-files", "libc6", "bash", "dash", "libpython3.11-minimal", "python3.11-minimal"]
MEDIUM = [["base-files", "libc6", "bash", "coreutils"], ["libllvm14"], ["clang-14", "libclang-common-14-dev"], ["libboost1.81-dev"]]
BIG_PACKAGES = {
    "bench-small": [SMALL],
    "bench-medium": MEDIUM,
    "bench-medium-2": [*MEDIUM, ["busybox-static"]],
    "bench-large": [*MEDIUM, ["llvm-14-dev", "libclang-cpp14", "git", "cmake", "cmake-data"],
                    ["golang-1.19-go", "golang-1.19-src", "gcc-12", "g++-12", "cpp-12", "libgcc-12-dev", "libstdc++-12-dev"],
                    ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "skopeo", "umoci", "buildah", "docker-registry", "perl-modules-5.36",
                     "libpython3.11-stdlib", "libssl-dev", "libc6-dev"]],
}
BIG = ("many_files", *BIG_PACKAGES)
ALL = (*MADE, *BUILT, *real_images.PACKAGES)


def cache_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "cleanroom/test-images"


def recipe(name):
    """(function of a Layout, text that names what it depends on)."""
    groups = real_images.PACKAGES.get(name) or BIG_PACKAGES.get(name)
    if groups:
        return lambda layout: real_images.of_packages(layout, groups), real_images.versions(sorted({p for group in groups for p in group}))
    if name in BUILT:
        return getattr(real_images, name), real_images.versions([name, "busybox-static"])
    if name in MADE or name == "many_files":
        return getattr(made_images, name), real_images.versions(["busybox-static", "zstd", "gzip"])
    raise SystemExit(f"image_factory: error: no image '{name}': one of {', '.join((*ALL, *BIG))}")


def image(name):
    """`DIR:t` of the image; made when it is not there. Safe for several processes at once."""
    make, depends = recipe(name)
    sources = "".join((HERE / file).read_text() for file in ("layout.py", "made_images.py", "real_images.py"))
    key = hashlib.sha256("\n".join((name, repr(BIG_PACKAGES.get(name)), depends, sources)).encode()).hexdigest()[:16]
    cache = cache_folder()
    final = cache / f"{name}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.exists():
            for old in cache.glob(f"{name}-" + "[0-9a-f]" * 16):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as work:
                layout = Layout(pathlib.Path(work) / "layout")
                make(layout)
                if layout.tagged:
                    layout.finish()
                layout.path.rename(final)
    return f"{final}:t"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--big", action="store_true", help="those of the bench, too")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.names or (*ALL, *(BIG if arguments.big else ())):
        print(name, image(name), flush=True)


if __name__ == "__main__":
    main()
