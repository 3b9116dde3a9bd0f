#!/usr/bin/env python3
"""Runs clang-tidy 14 over the product's sources in parallel, with a time budget, and remembers what was clean.

Sources of one folder with one command are read as one, as the release build compiles them: most of a run is the headers they
share. Precompiled headers are left out, for clang-tidy would go through all of them.

A file's verdict depends on the file, what it includes of ours, the configuration and its compile command: their hash is the
key of a stamp below ${XDG_CACHE_HOME:-~/.cache}/cleanroom/tidy. The libraries' own headers are not hashed; an upgrade of
one does not bring back a file that was clean.
"""
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
SECONDS_A_GROUP = 600
FILES_A_GROUP = 20


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
        yield from json.loads((build_dir / "compile_commands.json").read_text(encoding="utf-8"))


def flags_of(entry):
    """What a command says of the language: without compiler, launcher, source, output and precompiled headers."""
    words = collections.deque(shlex.split(entry["command"]))
    while not words[0].startswith("-"):
        words.popleft()
    flags = []
    while words:
        word = words.popleft()
        if word == "-Xclang" and words[0] in ("-include-pch", "-include"):
            for _ in range(3):
                words.popleft()
        elif word in ("-o", "-c"):
            words.popleft()
        elif word != "-Winvalid-pch":
            flags.append(word)
    return flags


def plan(arguments, tool):
    """(groups, how many files are known to be clean); a group is its flags and (source, stamp) of each file that has no stamp."""
    hasher, folder = Hasher(arguments.root), cache_folder()
    settings = (arguments.root / ".clang-tidy").read_text(encoding="utf-8")
    version = subprocess.run([tool, "--version"], check=True, capture_output=True, text=True).stdout
    wanted = changed_files(arguments.root, arguments.changed) if arguments.changed else None
    scope = scope_of(arguments.scope)
    todo, seen, clean = collections.defaultdict(list), set(), 0
    for entry in compile_entries(arguments.build_dir):
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), arguments.root)
        if path in seen or not path.startswith(scope) or (wanted is not None and path not in wanted):
            continue
        seen.add(path)
        flags = flags_of(entry)
        key = "\0".join([version, settings, " ".join(flags).replace(str(arguments.root), ""), hasher.closure(path)])
        stamp = folder / hashlib.sha256(key.encode()).hexdigest()
        if stamp.exists():
            clean += 1
        else:
            todo[os.path.dirname(path), tuple(flags)].append((path, stamp))
    groups = []
    for (_, flags), files in todo.items():
        groups += [(flags, files[at : at + FILES_A_GROUP]) for at in range(0, len(files), FILES_A_GROUP)]
    return sorted(groups, key=lambda group: -len(group[1])), clean


def check(arguments, tool, deadline, scratch, flags, files):
    left = deadline - time.monotonic()
    if left <= 0:
        return "not reached within the budget"
    group = pathlib.Path(scratch, hashlib.sha256(files[0][0].encode()).hexdigest() + ".cpp")
    group.write_text("".join(f'#include "{arguments.root / path}"  // NOLINT(bugprone-suspicious-include)\n' for path, _ in files))
    command = [tool, "--quiet", f"--config-file={arguments.root / '.clang-tidy'}", str(group), "--",
               *flags, "-Wno-unknown-warning-option"]
    try:
        run = subprocess.run(command, cwd=arguments.root, capture_output=True, text=True, timeout=min(left, SECONDS_A_GROUP), check=False)
    except subprocess.TimeoutExpired:
        return "clang-tidy ran out of time"
    if run.returncode == 0:
        for _, stamp in files:
            stamp.touch()
        return None
    return run.stdout.strip() or run.stderr.strip()


def main():
    arguments = parse_arguments()
    arguments.root = arguments.root.resolve()
    tool = shutil.which("clang-tidy-14")
    if tool is None:
        sys.exit("run_clang_tidy: error: no clang-tidy-14; run scripts/install-deps test")
    groups, clean = plan(arguments, tool)
    files = sum(len(group[1]) for group in groups)
    started, findings = time.monotonic(), 0
    deadline = started + arguments.budget
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        complaints = pool.map(lambda group: check(arguments, tool, deadline, scratch, *group), groups)
        for (_, members), complaint in zip(groups, complaints):
            if complaint:
                findings += 1
                print(f"{', '.join(path for path, _ in members)}:\n{complaint}", flush=True)
    seconds = round(time.monotonic() - started)
    print(f"run_clang_tidy: {files} files in {len(groups)} groups, {seconds} s; {clean} known to be clean; {findings} groups with findings")
    sys.exit(1 if findings or files + clean == 0 and not arguments.changed else 0)


if __name__ == "__main__":
    main()
