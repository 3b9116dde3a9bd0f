"""What the style checkers share: which files belong to the tree, and how findings are reported."""
import argparse
import os
import pathlib
import sys

PRUNED = {".git", "build", "__pycache__", "node_modules"}


def parse_root(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    return parser


def files(root):
    """Every file of the tree as a sorted list of paths relative to root; git is not asked, so a plain copy works too."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in PRUNED)
        found += [pathlib.Path(folder, name).relative_to(root) for name in names]
    return sorted(found)


def read(root, path):
    return (root / path).read_text(encoding="utf-8", errors="replace")


class Findings:
    def __init__(self):
        self.count = 0

    def add(self, path, line, text):
        self.count += 1
        where = f"{path}:{line}" if line else f"{path}"
        print(f"{where}: {text}")

    def finish(self, what):
        """Exit status 1 on any finding; says what was looked at, so that an empty run is not taken for a clean one."""
        print(f"{what}: {self.count} finding{'' if self.count == 1 else 's'}")
        sys.exit(1 if self.count else 0)
