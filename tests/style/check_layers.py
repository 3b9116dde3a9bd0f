#!/usr/bin/env python3
"""Checks each #include of src/ and guest/ against layers.txt: no folder includes one below it, none a library it may not use."""
import re

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"(?P<own>[^"]+)"|<(?P<system>[^>]+)>)')
# Where a header belongs to: the first pattern that matches at its start.
LIBRARIES = [
    ("boost/", "boost"), ("openssl/", "openssl"), ("yaml-cpp/", "yaml"), ("nlohmann/", "json"), ("CLI/", "cli11"),
    ("git2", "git2"), ("curl/", "curl"), ("isa-l", "isal"), ("archive.h", "archive"), ("archive_entry.h", "archive"), ("ext2fs/", "ext2fs"), ("et/com_err.h", "ext2fs"),
    ("nghttp2/", "nghttp2"), ("fmt/", "fmt"), ("tl/", "expected"), ("idn2.h", "idn2"), ("libpsl.h", "psl"), ("curl/", "curl"),
    ("sqlite3.h", "sqlite"), ("zstd.h", "zstd"), ("seccomp.h", "seccomp"), ("doctest/", "doctest"),
]
# The C++ standard library has no extension; these are libc's and the kernel's.
SYSTEM_FOLDERS = ("sys/", "linux/", "netinet/", "arpa/", "net/", "asm/")
SYSTEM_HEADERS = {
    "dirent.h", "dlfcn.h", "elf.h", "endian.h", "fcntl.h", "fnmatch.h", "getopt.h", "glob.h", "grp.h", "ifaddrs.h", "limits.h", "locale.h",
    "mntent.h", "netdb.h", "poll.h", "pthread.h", "pty.h", "pwd.h", "resolv.h", "sched.h", "signal.h", "spawn.h", "stdlib.h", "string.h",
    "syslog.h", "termios.h", "time.h", "ucontext.h", "unistd.h", "utime.h", "wordexp.h",
}


class Layer:
    def __init__(self, rank, path, libraries, only):
        self.rank, self.path, self.libraries, self.only = rank, path, libraries, only


def load_layers(text):
    layers = []
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        path, rest = (part.strip() for part in line.split(":", 1))
        libraries, _, only = rest.partition("only:")
        layers.append(Layer(len(layers), path, set(libraries.split()), set(only.split())))
    known = {layer.path for layer in layers}
    for layer in layers:
        assert layer.only <= known, f"layers.txt: {layer.path} names unknown folders {layer.only - known}"
    return layers


def layer_of(layers, path):
    """The line with the longest path that path starts with; None for a file that no line covers."""
    text = path if isinstance(path, str) else path.as_posix()
    # h2_connection covers h2_connection.h and .cpp, not h2_connection_pool.h.
    fitting = [layer for layer in layers if text.startswith(layer.path) and text[len(layer.path)] in "/."]
    return max(fitting, key=lambda layer: len(layer.path), default=None)


def library_of(header):
    for start, library in LIBRARIES:
        if header.startswith(start):
            return library
    if header in SYSTEM_HEADERS or header.startswith(SYSTEM_FOLDERS) or re.fullmatch(r"[a-z_0-9]+", header):
        return None
    return "unknown"


def check_own(root, layers, layer, header):
    if not header.startswith(("src/", "guest/")):
        return f'include "{header}" by its path from the root of the tree'
    if not (root / header).exists():
        return f'includes "{header}", which does not exist'
    target = layer_of(layers, header)
    if target is None:
        return f'includes "{header}", which layers.txt does not cover'
    if target.rank > layer.rank:
        return f'{layer.path} includes "{header}" of {target.path}, which stands below it'
    if layer.only and target is not layer and target.path not in layer.only:
        return f'{layer.path} includes "{header}" of {target.path}; it may include only {" ".join(sorted(layer.only))}'
    return None


def check_library(layer, header):
    library = library_of(header)
    if library == "unknown":
        return f"includes <{header}>, which no library in tests/style/check_layers.py claims"
    if library is not None and library not in layer.libraries:
        return f"{layer.path} includes <{header}> of {library}; layers.txt gives it {' '.join(sorted(layer.libraries))}"
    return None


def check_architecture(findings, root, layers):
    """ARCHITECTURE.md has a row for each folder that exists, in the order of layers.txt."""
    shown = re.findall(r"^\| `((?:src/|guest)[a-z_/]*)` \|", tree.read(root, "ARCHITECTURE.md"), re.MULTILINE)
    real = [layer.path for layer in layers if (root / layer.path).is_dir()]
    if shown != real:
        findings.add("ARCHITECTURE.md", 0, f"shows the layers {shown}; layers.txt has {real}")


def main():
    root = tree.parse_root(__doc__).parse_args().root
    layers = load_layers(tree.read(root, "tests/style/layers.txt"))
    findings, seen = tree.Findings(), 0
    for path in tree.files(root):
        if path.suffix not in (".h", ".cpp", ".c") or path.parts[0] not in ("src", "guest"):
            continue
        layer = layer_of(layers, path)
        if layer is None:
            findings.add(path, 0, "no line of layers.txt covers this file")
            continue
        for number, line in enumerate(tree.read(root, path).splitlines(), 1):
            if match := INCLUDE.match(line):
                seen += 1
                own = match["own"]
                if complaint := check_own(root, layers, layer, own) if own else check_library(layer, match["system"]):
                    findings.add(path, number, complaint)
    check_architecture(findings, root, layers)
    findings.finish(f"check_layers: {seen} includes")


if __name__ == "__main__":
    main()
