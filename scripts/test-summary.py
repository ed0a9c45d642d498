#!/usr/bin/env python3
"""Adds up the suites: scripts/test-summary.py TESTLOG.json RESULTS_FOLDER

Prints a line per suite and, last, "N passed, N failed". A suite that broke off counts as failed. In the folder: *.xml of pytest, *.json of further Meson
logs, "broken" (suite and exit code a line), "skipped" (a suite a line).
"""
import json
import pathlib
import sys
import xml.etree.ElementTree as xml


def meson(path):
    passed = failed = skipped = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)["result"]
        if result in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif result == "SKIP":
            skipped += 1
        else:
            failed += 1
    return passed, failed, skipped


def junit(path):
    passed = failed = skipped = 0
    for case in xml.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    log, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rows = {"unit, kernel": meson(log) if log.is_file() else (0, 1, 0)}
    for path in sorted(folder.glob("*.json")):
        rows[path.stem] = meson(path)
    for path in sorted(folder.glob("*.xml")):
        rows[path.stem] = junit(path)
    left_out = folder / "skipped"
    for suite in left_out.read_text().split() if left_out.is_file() else []:
        rows[suite] = (0, 0, 1)
    broken = folder / "broken"
    for line in broken.read_text().splitlines() if broken.is_file() else []:
        suite, code = line.split()
        passed, failed, skipped = rows.get(suite, (0, 0, 0))
        rows[suite] = (passed, failed + 1, skipped)
        print(f"{suite}: broke off with exit code {code}")
    for suite, (passed, failed, skipped) in rows.items():
        print(f"{suite:14} {passed:5} passed {failed:5} failed {skipped:5} skipped")
    passed = sum(row[0] for row in rows.values())
    failed = sum(row[1] for row in rows.values())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
