#!/usr/bin/env python3
"""Checks what CONTRIBUTING.md says of the files themselves: budgets, READMEs, unfinished marks, forbidden calls, honest skips."""
import re

import tree

LINES = {".cpp": 700, ".c": 700, ".h": 250, ".py": 700, ".sh": 700, ".bash": 700, ".bats": 700}
README_LINES = 60
PRODUCT = ("src", "guest", "hooks", "lib", "scripts", "examples", "cmake", "plugin.yml", "CMakeLists.txt", ".ci")
NEED_README = re.compile(r"^(src/[a-z_]+|guest|hooks|scripts|tests|examples/pipelines/[^/]+)$")

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\b([Nn]ot (yet )?|[Uu]n)implemented\b")
CODE_RULES = [
    (re.compile(r"(?<![\w.>:])(?:std::|::)?(?:system|popen|execlp|execvp|execvpe)\s*\("), "runs a command through a shell or PATH; use base::Process"),
    (re.compile(r"this_thread\s*::\s*sleep_|\b(?:usleep|nanosleep|clock_nanosleep)\s*\(|(?<![\w.>:])(?:::)?sleep\s*\("), "sleeps; wait for the event with a deadline"),
    (re.compile(r"\[(?:=|&)\]\s*(?:\([^)]*\)\s*)?(?:mutable\s*)?->\s*(?:base::)?(?:Awaitable|asio::awaitable)"), "captures everything in a coroutine"),
]
HEADER_RULES = [(re.compile(r"^using\s+namespace\b"), "using namespace in a header")]
USING_NAME = re.compile(r"^\s*using\s+(?:\w+::)+(\w+);")
DOCTEST_SKIP = re.compile(r"doctest::(?:skip|may_fail|should_fail|expected_failures)\b")
BATS_SKIP = re.compile(r"^\s*skip\s*(?:#.*)?$")
EXIT_77 = re.compile(r"\b(?:exit|return|_exit)\b[ (]*77\b")
SKIP_WORD = re.compile(r"\bskip\b", re.IGNORECASE)


def without_comment(line):
    return re.sub(r"//.*$", "", line)


def check_code(findings, path, lines):
    is_test = path.parts[0] == "tests"
    for number, line in enumerate(lines, 1):
        code = without_comment(line)
        for rule, text in CODE_RULES + (HEADER_RULES if path.suffix == ".h" else []):
            if rule.search(code):
                findings.add(path, number, text)
        if is_test and DOCTEST_SKIP.search(code):
            findings.add(path, number, "a unit test is run or it is removed, never skipped or allowed to fail")
    if path.suffix == ".cpp":
        check_using(findings, path, [without_comment(line) for line in lines])
    if path.suffix == ".h" and not any(line.startswith("#pragma once") for line in lines):
        findings.add(path, 1, "no #pragma once")


def check_using(findings, path, lines):
    """clang-tidy has a check for this, which sees the main file only; run_clang_tidy.py's main files are groups."""
    for number, line in enumerate(lines, 1):
        name = USING_NAME.match(line)
        if name and len(re.findall(rf"\b{name[1]}\b", "\n".join(lines))) == 1:
            findings.add(path, number, f"nothing uses '{name[1]}'")


def check_skips(findings, path, lines):
    """A skip says why: bats takes a reason, anything else prints one in the lines before it exits 77."""
    for number, line in enumerate(lines, 1):
        if path.suffix == ".bats" and BATS_SKIP.match(line):
            findings.add(path, number, "skip without a reason")
        if path.suffix in (".sh", ".bash", ".py", "") and EXIT_77.search(line) and not line.lstrip().startswith(("#", '"')):
            if not any(SKIP_WORD.search(near) for near in lines[max(0, number - 4):number]):
                findings.add(path, number, "exits 77 without printing 'skip: <reason>' just before")


def check_readmes(findings, root, paths):
    have = {path.parent.as_posix() for path in paths if path.name == "README.md"}
    folders = {parent.as_posix() for path in paths for parent in path.parents}
    for folder in sorted(folders):
        if NEED_README.match(folder) and folder not in have:
            findings.add(folder, 0, "has no README.md")
    for path in paths:
        if path.name == "README.md" and len(path.parts) > 1:
            length = len(tree.read(root, path).splitlines())
            if length > README_LINES:
                findings.add(path, 0, f"{length} lines; a folder's README has at most {README_LINES}")


def is_source(root, path):
    if path.suffix in (".cpp", ".c", ".h", ".py", ".sh", ".bash", ".bats", ".cmake", ".yml", ".yaml") or path.name == "CMakeLists.txt":
        return True
    if path.suffix:
        return False
    with open(root / path, "rb") as file:
        return file.read(2) == b"#!"


def main():
    root = tree.parse_root(__doc__).parse_args().root
    findings, seen = tree.Findings(), 0
    paths = [path for path in tree.files(root) if (root / path).is_file()]
    for path in paths:
        if not is_source(root, path):
            continue
        seen += 1
        lines = tree.read(root, path).splitlines()
        budget = LINES.get(path.suffix)
        if budget and len(lines) > budget:
            findings.add(path, 0, f"{len(lines)} lines; a {path.suffix} file has at most {budget}")
        if path.parts[0] in PRODUCT:
            for number, line in enumerate(lines, 1):
                if UNFINISHED.search(line):
                    findings.add(path, number, "an unfinished mark: do it now, or name it in the issue")
        if path.suffix in (".cpp", ".h") and path.parts[0] in ("src", "guest", "tests"):
            check_code(findings, path, lines)
        if path.parts[0] == "tests" and path.parts[1] != "style":
            check_skips(findings, path, lines)
    check_readmes(findings, root, paths)
    findings.finish(f"check_tree: {seen} files")


if __name__ == "__main__":
    main()
