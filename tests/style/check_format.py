#!/usr/bin/env python3
"""Checks that clang-format 14 would change nothing in src/, guest/ and tests/. `scripts/format` mends it."""
import concurrent.futures
import os
import shutil
import subprocess
import sys

import tree

FOLDERS = ("src", "guest", "tests", "bench")
BATCH = 20


def sources(root):
    return [str(path) for path in tree.files(root) if path.suffix in (".h", ".cpp") and path.parts[0] in FOLDERS]


def main():
    parser = tree.parse_root(__doc__)
    parser.add_argument("--fix", action="store_true", help="rewrite the files instead of reporting")
    arguments = parser.parse_args()
    tool = shutil.which("clang-format-14")
    if tool is None:
        sys.exit("check_format: error: no clang-format-14; run scripts/install-deps test")
    files = sources(arguments.root)
    command = [tool, "--style=file", "-i"] if arguments.fix else [tool, "--style=file", "--dry-run", "--Werror", "--ferror-limit=1"]
    batches = [files[start:start + BATCH] for start in range(0, len(files), BATCH)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda batch: subprocess.run(command + batch, cwd=arguments.root, check=False).returncode, batches))
    failed = any(results)
    print(f"check_format: {len(files)} files: {'run scripts/format' if failed else '0 findings'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
