#!/usr/bin/env python3
"""Where the time of the pytest suites went: scripts/test-times.py RESULTS_FOLDER

Adds up what each process left there (tests/conftest.py): of the slowest files the seconds on the clock,
and of processors; the difference was waited for, or processors were busy elsewhere.
"""
import json
import pathlib
import sys

ROWS = 16


def main():
    files = {}
    for path in pathlib.Path(sys.argv[1]).glob("*.times"):
        for name, took in json.loads(path.read_text()).items():
            row = files.setdefault(name, [0, 0])
            row[0] += took[0]
            row[1] += took[1]
    rows = sorted(files.items(), key=lambda row: -row[1][0])
    print(f"{'test file':32} {'wall s':>8} {'cpu s':>8}")
    for name, (wall, cpu) in rows[:ROWS]:
        print(f"{name:32} {wall:8.1f} {cpu:8.1f}")
    rest = [took for _, took in rows[ROWS:]]
    print(f"{f'{len(rest)} more':32} {sum(t[0] for t in rest):8.1f} {sum(t[1] for t in rest):8.1f}")


main()
