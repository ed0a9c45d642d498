#!/usr/bin/env python3
"""Reads the #include lines of src/ and fails on a step down the ladder the wrong way.

Each room may include itself, base, and what stands in its row. The rows are the ones that
ARCHITECTURE.md explains; the gateway and the dialects must never see model code.
"""
import pathlib
import re
import sys

LADDER = ["base", "tensor", "kernels", "format", "grammar", "text", "model", "engine", "ipc"]
ALLOWED = {room: set(LADDER[:i]) for i, room in enumerate(LADDER)}
ALLOWED["grammar"] = {"base"}
ALLOWED["ipc"] = {"base"}
ALLOWED["worker"] = set(LADDER)
ALLOWED["store"] = {"base"}
ALLOWED["api"] = {"base", "ipc"}
ALLOWED["gateway"] = {"base", "ipc", "store", "api"}
ALLOWED["cli"] = set(LADDER) | {"worker", "store", "api", "gateway"}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    bad, n_files, names = [], 0, {}
    for path in sorted(root.rglob("*.[ch]")):
        n_files += 1
        room = path.relative_to(root).parts[0]
        where = path.relative_to(root.parent)
        if path.name in names and path.suffix == ".c":
            bad.append(f"{where}: the file name is taken by {names[path.name]}; names are unique")
        names[path.name] = where
        if room not in ALLOWED:
            bad.append(f"{where}: '{room}' is no room of the ladder; add it to scripts/check-layers.py")
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            target = found.group(1).split("/")
            if len(target) < 2:
                bad.append(f'{where}:{number}: include "{found.group(1)}" by its room: "room/name.h"')
            elif target[0] != room and target[0] != "base" and target[0] not in ALLOWED[room]:
                bad.append(f"{where}:{number}: {room} may not include {target[0]}")
    for line in bad:
        print(line)
    print(f"layers: {n_files} files, {len(bad)} faults")
    return 1 if bad else 0


sys.exit(main())
