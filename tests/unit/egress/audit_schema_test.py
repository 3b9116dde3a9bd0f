#!/usr/bin/env python3
"""Runs the server's tests and holds every audit line they make to docs/audit.schema.json: audit_schema_test.py UNIT_EGRESS SCHEMA."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

program, schema_file = sys.argv[1:]
schema = json.loads(pathlib.Path(schema_file).read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
with tempfile.TemporaryDirectory() as directory:
    # A case that fails there fails as a test of its own; here only the lines count.
    subprocess.run([program, "-ts=egress/server*,egress/audit_log"], env={**os.environ, "CLEANROOM_TEST_KEEP_AUDIT": directory},
                   stdout=subprocess.DEVNULL, timeout=300, check=False)
    events = {}
    for file in sorted(pathlib.Path(directory).iterdir()):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            entry = json.loads(line)
            errors = list(validator.iter_errors(entry))
            if errors:
                sys.exit(f"{line}\nis not within the schema: {errors[0].message}")
            events[entry["event"]] = events.get(entry["event"], 0) + 1
print(events)
missing = {"connect", "tls", "http", "report", "close", "gateway", "credential", "gap"} - events.keys()
if missing:
    sys.exit(f"no line was made of: {', '.join(sorted(missing))}")
# The schema refuses what is none of ours.
good = {"ts": "2026-01-01T00:00:00.000Z", "run_id": "r", "event": "connect", "action": "deny", "connection": 1, "reason": "host_denied"}
assert validator.is_valid(good)
for change in ({"event": "other"}, {"new_field": 1}, {"port": 0}, {"host": "a\nb"}, {"lost": 1}, {"connection": "1"}):
    assert not validator.is_valid({**good, **change}), change
