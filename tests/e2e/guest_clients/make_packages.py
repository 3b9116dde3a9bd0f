"""make_packages.py DIR: the package `tinypkg` 1.0 as a Debian, Python and npm repository, in DIR/{debian,simple,npm}."""
import base64
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import zipfile

root = pathlib.Path(sys.argv[1])


def debian(folder):
    control = folder.parent / "deb/DEBIAN/control"
    program = folder.parent / "deb/usr/bin/tinypkg"
    for path in (control, program, folder / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    control.write_text("Package: tinypkg\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: t\n")
    program.write_text("#!/bin/sh\necho tinypkg from apt\n")
    program.chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", folder.parent / "deb", folder / "tinypkg.deb"], check=True, stdout=subprocess.DEVNULL)
    packages = subprocess.run(["dpkg-scanpackages", "-m", "."], cwd=folder, check=True, capture_output=True).stdout
    (folder / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    (folder / "Release").write_text(f"Suite: test\nSHA256:\n {digest} {len(packages)} Packages\n")


def python(folder):
    folder = folder / "tinypkg"
    folder.mkdir(parents=True)
    name = "tinypkg-1.0-py3-none-any.whl"
    about = "tinypkg-1.0.dist-info"
    files = {
        "tinypkg.py": "print('tinypkg from pip')\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
                     for path, text in files.items())
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in {**files, f"{about}/RECORD": record + f"{about}/RECORD,,\n"}.items():
            wheel.writestr(path, text)
    (folder / "index.html").write_text(f'<a href="{name}">{name}</a>\n')


def npm(folder):
    (folder / "-").mkdir(parents=True)
    tarball = folder / "-/tinypkg-1.0.0.tgz"
    files = {"package.json": json.dumps({"name": "tinypkg", "version": "1.0.0", "main": "index.js"}), "index.js": "console.log('tinypkg from npm')\n"}
    with tarfile.open(tarball, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo("package/" + name)
            member.size, member.mode = len(text), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    (folder / "tinypkg").write_text(json.dumps({
        "name": "tinypkg", "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {"name": "tinypkg", "version": "1.0.0",
                               "dist": {"tarball": "https://npm.example.com/-/tinypkg-1.0.0.tgz", "integrity": integrity}}}}))


debian(root / "debian")
python(root / "simple")
npm(root / "npm")
