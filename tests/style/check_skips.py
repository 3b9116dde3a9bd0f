#!/usr/bin/env python3
"""Reads ctest's JUnit files: a test may be skipped only for want of what Debian cannot give. `scripts/test` runs it last.

A test that exits 77 prints `skip: needs <thing>`; a bats case says `skip "needs <thing>"`, which TAP shows as `# skip needs ...`.
"""
import argparse
import re
import sys
import xml.etree.ElementTree

ALLOWED = ("/dev/kvm", "user namespaces", "BUILDKITE_AGENT_BIN", "FIRECRACKER_BIN", "root")
REASON = re.compile(r"^(?:ok \d+ .*# skip|skip:) ?(.*)$", re.MULTILINE)


def judge(name, skipped, output):
    """The complaints about one test case."""
    reasons = [reason.strip() for reason in REASON.findall(output)]
    if skipped and not reasons:
        return [f"{name}: skipped without a reason"]
    return [f"{name}: skipped, although it needs nothing that Debian lacks: '{reason}'" for reason in reasons
            if not any(reason.startswith("needs " + thing) for thing in ALLOWED)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("junit", nargs="+")
    complaints, tests, skips, failed, not_run = [], 0, 0, 0, 0
    for path in parser.parse_args().junit:
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            tests += 1
            skipped = case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None
            output = case.findtext("system-out") or ""
            skips += skipped or bool(REASON.search(output))
            not_run += skipped
            failed += not skipped and case.get("status") != "run"
            complaints += judge(case.get("name"), skipped, output)
    if complaints or tests == 0:
        print("\n".join(complaints + [f"check_skips: {tests} tests, {skips} with a skip, {len(complaints)} findings"]))
    # The last line of scripts/test, for whoever reads only that.
    print(f"{tests - failed - not_run} passed, {failed} failed, {not_run} skipped")
    sys.exit(1 if complaints or tests == 0 else 0)


if __name__ == "__main__":
    main()
