#!/usr/bin/env python3
"""Fails on files, headers, functions, columns and complexity past CONTRIBUTING.md's limits.

Exemptions stand by name, each with its reason, in scripts/size-exemptions.txt:
    path[:function] what limit reason...
An exemption that is no longer needed is a fault too.
"""
import pathlib
import re
import sys

LIMITS = {"file": 1000, "header": 300, "function": 100, "complexity": 25, "columns": 110}
BRANCH = re.compile(r"\b(?:if|for|while|case)\b|&&|\|\||\?")
STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
COMMENT = re.compile(r"/\*.*?\*/", re.S)
NAME = re.compile(r"(\w+)\s*\(")


def strip(text):
    """Blanks comments and strings, keeping line breaks."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    return STRING.sub(blank, COMMENT.sub(blank, text))


def functions(lines):
    """Yields (name, first, last): clang-format puts a function's braces alone in column 0."""
    start, name = None, "?"
    for i, line in enumerate(lines):
        if line == "{":
            head = i - 1
            while head > 0 and lines[head - 1].strip() and not lines[head - 1].startswith(("}", "#")):
                head -= 1
            found = NAME.search(" ".join(lines[head:i]))
            start, name = i, found.group(1) if found else "?"
        elif line.startswith("}") and start is not None:
            yield name, start, i
            start = None


def measure(path, where):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    yield where, "header" if path.suffix == ".h" else "file", len(lines)
    yield where, "columns", max((len(line) for line in lines), default=0)
    if path.suffix != ".c":
        return
    bare = strip(text).splitlines()
    for name, first, last in functions(bare):
        yield f"{where}:{name}", "function", last - first - 1
        branches = sum(len(BRANCH.findall(line)) for line in bare[first:last])
        yield f"{where}:{name}", "complexity", 1 + branches


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    allowed, used, bad, n = {}, set(), [], 0
    for line in (root / "scripts/size-exemptions.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            where, what, limit, reason = line.split(None, 3)
            allowed[where, what] = int(limit)
    for top in ("src", "tests", "bench"):
        for path in sorted((root / top).rglob("*.[ch]")):
            if "node_modules" in path.parts:
                continue  # installed by npm
            n += 1
            for where, what, size in measure(path, path.relative_to(root).as_posix()):
                limit = allowed.get((where, what), LIMITS[what])
                if size > LIMITS[what]:
                    used.add((where, what))
                if size > limit:
                    bad.append(f"{where}: {what} is {size}, the limit is {limit}")
    bad += [f"{w}: {k} exemption is not needed any more" for w, k in sorted(set(allowed) - used)]
    for line in bad:
        print(line)
    print(f"sizes: {n} files, {len(bad)} faults")
    return 1 if bad else 0


sys.exit(main())
