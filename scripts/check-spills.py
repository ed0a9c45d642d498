#!/usr/bin/env python3
"""Fails when a kernel's loops move vectors to or from the stack where they did not before.

    scripts/check-spills.py [BUILD]             compare with scripts/spill-baseline.txt
    scripts/check-spills.py [BUILD] --update    write what this build has into the baseline
    scripts/check-spills.py [BUILD] --list      print every function's counts

A register allocator that runs out of vector registers costs a kernel half its speed and no test
notices. So the libraries of BUILD/src/kernels (one per instruction set) are disassembled, and in each
function the instructions counted that read or write a vector on the stack: in innermost loops, and in
loops around others. (Arrays on the stack count alike; the baseline knows them.) A function that has
more of either kind than its line in the baseline says fails; without a line it may have none.

What a compiler makes of the code differs between its major versions, so a baseline line names one.
Without lines for this build's compiler, or where the build is not optimized, the check says why and
exits with 77, which Meson counts as skipped. OBJDUMP names another objdump (for a cross build).
"""
import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINE = ROOT / "scripts" / "spill-baseline.txt"
HEAD = """# Vector moves to and from the stack in the loops of kernels: compiler, library, function, in innermost
# loops, in loops around others ("-": the library was looked at). Written by scripts/check-spills.py
# --update; a line that grows needs a reason in the commit that changes it.
"""
SKIPPED = 77

SYMBOL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
TARGET = re.compile(r"^(?:[^,]+,\s*)*([0-9a-f]+) <")
CLONE = re.compile(r"\.(?:constprop|part|isra|cold)(?:\.\d+)?")


class Machine:
    """How an instruction set writes jumps and vectors on the stack."""

    def __init__(self, jump, end, vector, stack, frame, frame_made):
        self.jump, self.end = re.compile(jump), re.compile(end)  # end: nothing follows it
        self.vector, self.stack = re.compile(vector), re.compile(stack)
        self.frame, self.frame_made = re.compile(frame), re.compile(frame_made)


MACHINES = {
    "elf64-x86-64": Machine(
        jump=r"^j|^loop", end=r"^(?:jmp|ret|ud2|notrack)", vector=r"%[xyz]mm\d",
        stack=r"\(%rsp[,)]", frame=r"\(%rbp[,)]", frame_made=r"^mov\s+%rsp,%rbp$"),
    "elf64-littleaarch64": Machine(
        jump=r"^(?:b(?:\.\w+)?|cbn?z|tbn?z)$", end=r"^(?:b|br|ret|udf|brk)$", vector=r"\b[qvz]\d+\b",
        stack=r"\[sp\b", frame=r"\[x29\b", frame_made=r"^(?:mov|add)\s+x29, sp"),
}


class Skip(Exception):
    pass


def graph_of(code, machine):
    """Basic blocks: {first address: [instructions]} and {first address: [where it goes on]}."""
    here = {address for address, _, _ in code}
    target = {}
    for address, name, operands in code:
        found = TARGET.match(operands) if machine.jump.match(name) else None
        if found and int(found.group(1), 16) in here:
            target[address] = int(found.group(1), 16)
    blocks, goes_on, leaders = {}, {}, set(target.values())
    first = None
    for k, (address, name, operands) in enumerate(code):
        if first is None or address in leaders:
            if first is not None and first not in goes_on:
                goes_on[first] = [address]
            first = address
            blocks[first] = []
        blocks[first].append((name, operands))
        if machine.jump.match(name) or machine.end.match(name):
            after = [code[k + 1][0]] if k + 1 < len(code) else []
            falls = [] if machine.end.match(name) else after
            goes_on[first] = falls + ([target[address]] if address in target else [])
            first = None
    if first is not None:
        goes_on.setdefault(first, [])
    return blocks, goes_on


def reached(blocks, goes_on):
    """The blocks that run: not the padding between others. All, where jumps go through tables."""
    if any("*" in operands or name == "br" for code in blocks.values() for name, operands in code[-1:]
           if not name.startswith("call")):
        return set(blocks)
    found, todo = set(), [min(blocks)]
    while todo:
        block = todo.pop()
        if block not in found:
            found.add(block)
            todo += goes_on[block]
    return found


def components(nodes, goes_on):
    """The strongly connected sets of more than one node, or of one that goes on to itself (Tarjan)."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(goes_on[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            step = next((n for n in rest if n in nodes and (n not in index or n in on_stack)), None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    one = set(stack[at:])
                    del stack[at:]
                    on_stack -= one
                    if len(one) > 1 or node in goes_on[node]:
                        found.append(one)
            elif step not in index:
                index[step] = low[step] = len(index)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(goes_on[step])))
            else:
                low[node] = min(low[node], index[step])
    return found


def loops_of(nodes, goes_on):
    """(blocks of innermost loops, blocks of loops around others)."""
    inner, outer = set(), set()
    for loop in components(nodes, goes_on):
        entered = {n for node in nodes - loop for n in goes_on[node] if n in loop}
        within = loop - {min(entered or loop)}
        deep_inner, deep_outer = loops_of(within, goes_on)
        if deep_inner:
            inner |= deep_inner
            outer |= deep_outer | (loop - deep_inner - deep_outer)
        else:
            inner |= loop
    return inner, outer


def count(code, machine):
    """(in innermost loops, in others) of one function's instructions."""
    blocks, goes_on = graph_of(code, machine)
    framed = any(machine.frame_made.match(f"{name} {operands}".strip()) for _, name, operands in code)

    def moves(block):
        n = 0
        for _, operands in blocks[block]:
            on_stack = machine.stack.search(operands) or (framed and machine.frame.search(operands))
            n += bool(on_stack and machine.vector.search(operands))
        return n
    if not any(moves(block) for block in blocks):
        return 0, 0
    inner, outer = loops_of(reached(blocks, goes_on), goes_on)
    return sum(map(moves, inner)), sum(map(moves, outer))


def disassemble(objdump, library):
    """Yields (function, [(address, mnemonic, operands)], machine)."""
    done = subprocess.run([objdump, "-d", "--no-show-raw-insn", library], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise Skip(f"{objdump} cannot read {library.name}: {done.stderr.strip().splitlines()[-1][-80:]}")
    text = done.stdout
    name, code, machine = None, [], None
    for line in text.splitlines():
        if "file format" in line:
            machine = MACHINES.get(line.split()[-1])
            if machine is None:
                raise Skip(f"no rules for {line.split()[-1]}")
        symbol = SYMBOL.match(line)
        if symbol:
            if code:
                yield name, code, machine
            name, code = symbol.group(1), []
            continue
        found = INSTRUCTION.match(line)
        if found and name:
            operands = found.group(3).split("#")[0].strip()
            code.append((int(found.group(1), 16), found.group(2), operands))
    if code:
        yield name, code, machine


def spills(objdump, libraries):
    """{(library, function): [inner, outer]} of every function, clones of one added up."""
    found = collections.defaultdict(lambda: [0, 0])
    for library in libraries:
        short = library.stem.removeprefix("lib")
        for name, code, machine in disassemble(objdump, library):
            n = count(code, machine)
            total = found[short, CLONE.sub("", name)]
            total[0] += n[0]
            total[1] += n[1]
    return found


def compiler_of(objdump, library):
    """"gcc-12" or the like, as the objects themselves say."""
    text = subprocess.run([objdump, "-s", "-j", ".comment", library], capture_output=True, text=True,
                          check=False).stdout
    said = "".join(line[-16:] for line in text.splitlines() if re.match(r"^ [0-9a-f]{4} ", line))
    gcc = re.search(r"GCC:.*?\) (\d+)\.\d+\.\d+", said)
    clang = re.search(r"clang version (\d+)", said)
    if clang:
        return f"clang-{clang.group(1)}"
    if gcc:
        return f"gcc-{gcc.group(1)}"
    raise Skip("the objects do not say which compiler made them")


def check_build(build):
    options = build / "meson-info" / "intro-buildoptions.json"
    if not options.is_file():
        sys.exit(f"{build} is not a build folder: build first (make)")
    value = {o["name"]: o["value"] for o in json.loads(options.read_text(encoding="utf-8"))}
    for name, wanted in (("optimization", "3"), ("b_sanitize", "none"), ("b_coverage", False),
                         ("fuzz", False)):
        if value.get(name, wanted) != wanted:
            raise Skip(f"{name} is {value[name]}, the baseline is of {wanted}")


def read_baseline():
    found = {}
    if BASELINE.is_file():
        for line in BASELINE.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                compiler, library, function, inner, outer = line.split()
                found[compiler, library, function] = [int(inner), int(outer)]
    return found


def update(baseline, compiler, now):
    built = {library for library, _ in now}
    kept = {k: v for k, v in baseline.items() if k[0] != compiler or k[1] not in built}
    kept |= {(compiler, library, "-"): [0, 0] for library in built}
    kept |= {(compiler, *k): v for k, v in now.items() if any(v)}
    lines = [f"{' '.join(k)} {v[0]} {v[1]}" for k, v in sorted(kept.items())]
    BASELINE.write_text(HEAD + "".join(line + "\n" for line in lines), encoding="utf-8")
    print(f"spills: {BASELINE.name} has {len(lines)} lines")


def compare(baseline, compiler, now):
    n_bad = n_better = 0
    for (library, function), n in sorted(now.items()):
        was = baseline.get((compiler, library, function), [0, 0])
        if n[0] > was[0] or n[1] > was[1]:
            n_bad += 1
            print(f"{library}: {function} moves vectors to or from the stack {n[0]} times in innermost loops, "
                  f"{n[1]} times in others; it was {was[0]} and {was[1]}")
        elif n != was:
            n_better += 1
    better = f", {n_better} with fewer (--update keeps them so)" if n_better else ""
    print(f"spills: {len(now)} functions, {n_bad} with more than the baseline{better}")
    return 1 if n_bad else 0


def run(args):
    build = pathlib.Path(args.build).resolve()
    check_build(build)
    libraries = sorted((build / "src" / "kernels").glob("libkernels_*.a"))
    if not libraries:
        raise Skip("no library of kernels for an instruction set")
    objdump = os.environ.get("OBJDUMP") or shutil.which("objdump")
    if not objdump:
        raise Skip("no objdump (Debian: binutils)")
    compiler = compiler_of(objdump, libraries[0])
    now = spills(objdump, libraries)
    baseline = read_baseline()
    if args.list:
        for (library, function), n in sorted(now.items(), key=lambda item: (-item[1][0], -item[1][1])):
            print(f"{n[0]:5} {n[1]:5} {library} {function}")
        return 0
    if args.update:
        update(baseline, compiler, now)
        return 0
    known = {library for c, library, _ in baseline if c == compiler}
    if not known & {library for library, _ in now}:
        raise Skip(f"no baseline for {compiler}")
    return compare(baseline, compiler, now)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default=ROOT / "build")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--list", action="store_true")
    try:
        return run(parser.parse_args())
    except Skip as why:
        print(f"spills: skipped: {why}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
