#!/usr/bin/env python3
"""Runs clang-tidy 14 over the product's sources in parallel, with a time budget, and remembers what was clean.

A file's verdict depends on the file, what it includes of ours, the configuration and its compile command: their hash is the
key of a stamp below ${XDG_CACHE_HOME:-~/.cache}/cleanroom/tidy. The libraries' own headers are not hashed; an upgrade of
one does not bring back a file that was clean.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
SECONDS_A_FILE = 240


class Hasher:
    """Hash of a source with everything of ours that it includes, each file read once."""

    def __init__(self, root):
        self.root, self.known = root, {}

    def load(self, path):
        if path not in self.known:
            try:
                text = (self.root / path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
            self.known[path] = (hashlib.sha256(text.encode()).hexdigest(), INCLUDE.findall(text))
        return self.known[path]

    def closure(self, path):
        seen, waiting = set(), [path]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting += self.load(current)[1]
        return "".join(f"{name} {self.load(name)[0]}\n" for name in sorted(seen))


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base, "cleanroom", "tidy")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parse_arguments():
    parser = tree.parse_root(__doc__.splitlines()[0])
    parser.add_argument("--build-dir", type=pathlib.Path, required=True, action="append",
                        help="holds compile_commands.json; given again: for sources that those before do not have")
    parser.add_argument("--scope", type=pathlib.Path, help="file of path prefixes, one a line: only sources below them")
    parser.add_argument("--changed", metavar="REV", help="only what differs from this revision")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--budget", type=int, default=1500, help="seconds for all files; beyond it the run fails")
    return parser.parse_args()


def changed_files(root, revision):
    command = ["git", "-C", str(root), "diff", "--name-only", "--diff-filter=d", revision]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def scope_of(file):
    """The path prefixes that count; everything of ours without a file."""
    if file is None:
        return ("src/", "guest/")
    lines = (line.split("#", 1)[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


def compile_entries(build_dirs):
    for build_dir in build_dirs:
        for entry in json.loads((build_dir / "compile_commands.json").read_text(encoding="utf-8")):
            yield build_dir, entry


def plan(arguments, tool):
    """(source, build folder, stamp) of each file that has no stamp yet, and how many have one."""
    hasher, folder = Hasher(arguments.root), cache_folder()
    settings = (arguments.root / ".clang-tidy").read_text(encoding="utf-8")
    version = subprocess.run([tool, "--version"], check=True, capture_output=True, text=True).stdout
    wanted = changed_files(arguments.root, arguments.changed) if arguments.changed else None
    scope = scope_of(arguments.scope)
    todo, seen = [], set()
    for build_dir, entry in compile_entries(arguments.build_dir):
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), arguments.root)
        if path in seen or not path.startswith(scope) or (wanted is not None and path not in wanted):
            continue
        seen.add(path)
        # The build folder's name is in the command, and does not matter.
        command = entry["command"].replace(str(build_dir.resolve()), "").replace(str(arguments.root), "")
        key = hashlib.sha256("\0".join([version, settings, command, hasher.closure(path)]).encode()).hexdigest()
        if not (folder / key).exists():
            todo.append((path, build_dir, folder / key))
    return todo, len(seen) - len(todo)


def check(arguments, tool, deadline, path, build_dir, stamp):
    left = deadline - time.monotonic()
    if left <= 0:
        return path, "not reached within the budget"
    # The compile commands are GCC's.
    command = [tool, "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p", str(build_dir), str(arguments.root / path)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=min(left, SECONDS_A_FILE), check=False)
    except subprocess.TimeoutExpired:
        return path, "clang-tidy ran out of time"
    if run.returncode == 0:
        stamp.touch()
        return path, None
    return path, run.stdout.strip() or run.stderr.strip()


def main():
    arguments = parse_arguments()
    arguments.root = arguments.root.resolve()
    tool = shutil.which("clang-tidy-14")
    if tool is None:
        sys.exit("run_clang_tidy: error: no clang-tidy-14; run scripts/install-deps test")
    todo, clean = plan(arguments, tool)
    started, findings = time.monotonic(), 0
    deadline = started + arguments.budget
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for path, complaint in pool.map(lambda item: check(arguments, tool, deadline, *item), todo):
            if complaint:
                findings += 1
                print(f"{path}:\n{complaint}", flush=True)
    seconds = round(time.monotonic() - started)
    print(f"run_clang_tidy: {len(todo)} files in {seconds} s, {clean} known to be clean: {findings} with findings")
    sys.exit(1 if findings or len(todo) + clean == 0 and not arguments.changed else 0)


if __name__ == "__main__":
    main()
