#!/usr/bin/env python3
"""Feeds each checker a small tree that is fine, then the same tree with one thing wrong: it must pass, then fail and say why."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GOOD_HEADER = "#pragma once\n#include <fmt/format.h>\n\n#include <string>\n"
JUNIT = '<testsuite><testcase name="e2e: x" status="{status}">{skipped}<system-out>{output}</system-out></testcase></testsuite>'


def good_tree(root):
    for path, text in {
        "src/base/os/a.h": GOOD_HEADER,
        "ARCHITECTURE.md": "| `src/base/os` | a |\n| `src/runner` | b |\n",
        "src/base/README.md": "# base\n",
        "src/runner/b.cpp": '#include "src/base/os/a.h"\n\nint f() {\n  return 0;\n}\n',
        "src/runner/README.md": "# runner\n",
        "tests/README.md": "# tests\n",
        "tests/e2e/ok.sh": '#!/usr/bin/env bash\necho "skip: needs /dev/kvm"\nexit 77\n',
        "scripts/README.md": "# scripts\n",
        "scripts/run": '#!/usr/bin/env bash\nexec "$@"\n',
    }.items():
        write(root, path, text)
    shutil.copytree(HERE, root / "tests/style", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE.parents[1] / ".clang-format", root)


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


# checker, file, its text, what the checker must say
BAD = [
    ("check_layers.py", "src/base/os/c.h", '#pragma once\n#include "src/runner/b.h"\n', "does not exist"),
    ("check_layers.py", "src/model/c.h", '#pragma once\n#include "src/runner/b.cpp"\n', "which stands below it"),
    ("check_layers.py", "src/base/os/c.h", "#pragma once\n#include <yaml-cpp/yaml.h>\n", "of yaml"),
    ("check_layers.py", "guest/c.cpp", "#include <boost/asio.hpp>\n", "of boost"),
    ("check_layers.py", "guest/c.cpp", '#include "src/runner/b.cpp"\n', "it may include only"),
    ("check_layers.py", "src/runner/c.cpp", '#include "b.h"\n', "by its path from the root"),
    ("check_layers.py", "src/runner/c.cpp", "#include <leveldb/db.h>\n", "no library"),
    ("check_layers.py", "src/novel/c.cpp", "int a;\n", "no line of layers.txt"),
    ("check_layers.py", "ARCHITECTURE.md", "| `src/runner` | b |\n| `src/base/os` | a |\n", "shows the layers"),
    ("check_tree.py", "src/runner/long.cpp", "int a;\n" * 701, "at most 700"),
    ("check_tree.py", "src/runner/long.h", "#pragma once\n" + "int f();\n" * 250, "at most 250"),
    ("check_tree.py", "src/runner/c.cpp", "// TODO: later\n", "unfinished mark"),
    ("check_tree.py", "hooks/command", "#!/usr/bin/env bash\n# FIXME\n", "unfinished mark"),
    ("check_tree.py", "src/runner/c.cpp", 'int f() { return system("ls"); }\n', "through a shell"),
    ("check_tree.py", "src/runner/c.cpp", "void f() { std::this_thread::sleep_for(kTick); }\n", "sleeps"),
    ("check_tree.py", "src/runner/c.cpp", "void f() { ::sleep(1); }\n", "sleeps"),
    ("check_tree.py", "src/runner/c.h", "int f();\n", "no #pragma once"),
    ("check_tree.py", "src/runner/c.h", "#pragma once\nusing namespace std;\n", "using namespace"),
    ("check_tree.py", "src/runner/c.cpp", "using std::map;\n", "nothing uses 'map'"),
    ("check_tree.py", "src/novel/c.cpp", "int a;\n", "src/novel: has no README.md"),
    ("check_tree.py", "src/runner/README.md", "line\n" * 61, "61 lines"),
    ("check_tree.py", "tests/unit/c.cpp", 'TEST_CASE("x" * doctest::skip()) {}\n', "never skipped"),
    ("check_tree.py", "tests/e2e/c.sh", "#!/bin/sh\ntrue\ntrue\ntrue\ntrue\nexit 77\n", "exits 77"),
    ("check_tree.py", "tests/e2e/c.bats", '@test "x" {\n  skip\n}\n', "skip without a reason"),
    ("check_format.py", "src/runner/c.cpp", "int   f( ) {return 0 ;}\n", "run scripts/format"),
    ("check_shell.py", "scripts/c", '#!/usr/bin/env bash\ncp $1 "$2"\n', "SC2086"),
]
# status, <skipped/>, output, accepted?
SKIPS = [
    ("run", "", "all well", True),
    ("notrun", '<skipped message="77"/>', "skip: needs /dev/kvm", True),
    ("notrun", '<skipped message="77"/>', "skip: needs a calm mind", False),
    ("notrun", '<skipped message="77"/>', "", False),
    ("run", "", "1..2\nok 1 a\nok 2 b # skip needs umoci", False),
    ("run", "", "1..1\nok 1 b # skip needs BUILDKITE_AGENT_BIN", True),
]


def run(checker, *arguments):
    command = [sys.executable, "-B", str(HERE / checker), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


TIDY_BAD = {
    "readability-identifier-naming": "int CountLines() { return 0; }\n",
    "google-explicit-constructor": "struct Port {\n  Port(int number) : number_(number) {}\n  int number_;\n};\n",
    "cppcoreguidelines-init-variables": "int read_one() {\n  int value;\n  return value = 1;\n}\n",
    "clang-diagnostic-error": "int read_two() { return missing; }\n",
}


def tidy_finds(root):
    """clang-tidy must accept a good file, and name the check and the file of each bad one that is read together with a good one."""
    root.mkdir()
    shutil.copy(HERE.parents[1] / ".clang-tidy", root)
    outcomes = []
    write(root, "src/runner/good.cpp", "int count_lines() { return 0; }\n")
    for number, (check, text) in enumerate({"": "int count_files() { return 0; }\n", **TIDY_BAD}.items()):
        write(root, "src/runner/t.cpp", text)
        # Of its own: the good file would be known, and the bad one read alone.
        os.environ["XDG_CACHE_HOME"] = str(root / f"cache{number}")
        entries = [{"directory": str(root), "file": file, "command": f"ccache c++ -std=c++20 -o t.o -c {file}"}
                   for file in ("src/runner/good.cpp", "src/runner/t.cpp")]
        write(root, f"{number}/compile_commands.json", json.dumps(entries))
        outcomes.append((check, *run("run_clang_tidy.py", "--root", str(root), "--build-dir", str(root / str(number)))))
    # A file with findings is not remembered.
    outcomes.append((check, *run("run_clang_tidy.py", "--root", str(root), "--build-dir", str(root / str(number)))))
    wrong = [outcome for outcome in outcomes
             if outcome[1] != bool(outcome[0]) or outcome[0] not in outcome[2] or outcome[0] and "src/runner/t.cpp:" not in outcome[2]
             or "2 files in 1 groups" not in outcome[2]]
    return not wrong, wrong


def main():
    failures, cases = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        good = scratch / "good"
        good_tree(good)
        for checker in sorted({case[0] for case in BAD}):
            cases += 1
            status, output = run(checker, "--root", str(good))
            if status != 0:
                failures.append(f"{checker} refuses the good tree:\n{output}")
        for number, (checker, path, text, expected) in enumerate(BAD):
            cases += 1
            bad = scratch / str(number)
            good_tree(bad)
            write(bad, path, text)
            status, output = run(checker, "--root", str(bad))
            if status != 1 or expected not in output:
                failures.append(f"{checker} on a bad {path}: status {status}, wanted 1 and '{expected}':\n{output}")
        for status, skipped, output, accepted in SKIPS:
            cases += 1
            write(scratch, "junit.xml", JUNIT.format(status=status, skipped=skipped, output=output))
            code, said = run("check_skips.py", str(scratch / "junit.xml"))
            if (code == 0) != accepted:
                failures.append(f"check_skips.py on '{status}' '{output}': status {code}:\n{said}")
        cases += 1
        fine, outcomes = tidy_finds(scratch / "tidy")
        if not fine:
            failures.append(f"run_clang_tidy.py: {outcomes}")
    print("\n".join(failures + [f"self_test: {cases} cases, {len(failures)} failures"]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
