#!/usr/bin/env python3
"""Runs shellcheck over every shell script and bats file of the tree, found by extension or #! line."""
import re
import shutil
import subprocess
import sys

import tree

SHEBANG = re.compile(rb"^#!\s*/(?:usr/bin/env +|bin/|usr/bin/)(bash|sh|bats)\b")


def is_shell(root, path):
    if path.suffix in (".sh", ".bash", ".bats"):
        return True
    if path.suffix:
        return False
    with open(root / path, "rb") as file:
        return SHEBANG.match(file.readline(200)) is not None


def main():
    root = tree.parse_root(__doc__).parse_args().root
    tool = shutil.which("shellcheck")
    if tool is None:
        sys.exit("check_shell: error: no shellcheck; run scripts/install-deps test")
    scripts = [str(path) for path in tree.files(root) if (root / path).is_file() and is_shell(root, path)]
    # SCRIPTDIR: `source "$(dirname ...)/lib/common.sh"` is followed from where the script lies.
    command = [tool, "--external-sources", "--source-path=SCRIPTDIR", "--format=gcc"]
    status = subprocess.run(command + scripts, cwd=root, check=False).returncode if scripts else 0
    print(f"check_shell: {len(scripts)} scripts: {'findings above' if status else '0 findings'}")
    sys.exit(status)


if __name__ == "__main__":
    main()
