"""scripts/check-spills.py: what it takes for a loop, for a spill, and for worse than the baseline."""
import importlib.util
import pathlib

import pytest

PATH = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check-spills.py"


@pytest.fixture
def check(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("check_spills", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BASELINE", tmp_path / "baseline.txt")
    return module


def counts(check, text, machine="elf64-x86-64"):
    """Lines "mnemonic operands"; "name:" before a line, and jumps to names."""
    lines, names = [], {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.endswith(":"):
            names[line[:-1]] = len(lines)
        else:
            lines.append(line.partition(" "))
    code = []
    for at, (name, _, operands) in enumerate(lines):
        for label, to in names.items():
            operands = operands.replace("@" + label, f"{to:x} <f+0x{to:x}>")
        code.append((at, name, operands))
    return check.count(code, check.MACHINES[machine])


def test_only_loops_count(check):
    assert counts(check, """
        vmovaps %ymm0,0x20(%rsp)
        a:
        vpaddd 0x20(%rsp),%ymm1,%ymm1
        vmovaps (%rdi),%ymm2
        mov %rax,0x8(%rsp)
        jne @a
        vmovaps 0x20(%rsp),%ymm0
        ret""") == (1, 0)


def test_loops_within_loops(check):
    assert counts(check, """
        a:
        vmovaps %zmm3,-0x40(%rsp)
        b:
        vmovaps %zmm4,0x40(%rsp)
        vmovaps %zmm5,0x80(%rsp,%rax,8)
        jne @b
        vmovaps -0x40(%rsp),%zmm3
        jb @a
        ret""") == (2, 2)


def test_a_part_of_a_loop_that_stands_behind_its_end(check):
    assert counts(check, """
        a:
        test %eax,%eax
        jne @seldom
        back:
        vpaddd %ymm1,%ymm1,%ymm1
        jb @a
        ret
        vmovaps %ymm0,(%rsp)
        seldom:
        vmovaps %ymm0,(%rsp)
        jmp @back""") == (1, 0)


def test_rbp_counts_when_it_is_the_frame(check):
    loop = """
        a:
        vmovdqa %ymm0,-0x50(%rbp)
        jne @a
        ret"""
    assert counts(check, loop) == (0, 0)
    assert counts(check, "mov %rsp,%rbp" + loop) == (1, 0)


def test_arm(check):
    assert counts(check, """
        a:
        ldr q0, [sp, #16]
        stp q1, q2, [x29, #32]
        ldr x0, [sp, #8]
        b.ne @a
        ret""", "elf64-littleaarch64") == (1, 0)


def test_more_than_before_fails(check, capsys):
    now = {("k", "same"): [2, 0], ("k", "worse"): [1, 5], ("k", "fresh"): [0, 0], ("k", "better"): [0, 1]}
    check.update({}, "gcc-12", now | {("k", "worse"): [1, 4], ("k", "better"): [9, 1]})
    check.update(check.read_baseline(), "gcc-13", {("k", "fresh"): [7, 7]})
    baseline = check.read_baseline()
    assert baseline["gcc-13", "k", "fresh"] == [7, 7] and ("gcc-12", "k", "fresh") not in baseline
    assert ("gcc-12", "k", "-") in baseline
    assert check.compare(baseline, "gcc-12", now) == 1
    said = capsys.readouterr().out
    assert "worse moves" in said and "1 with more than the baseline, 1 with fewer" in said
    assert check.compare(baseline, "gcc-12", now | {("k", "fresh"): [1, 0]}) == 1
    assert check.compare(baseline, "gcc-12", now | {("k", "worse"): [0, 4]}) == 0


def test_unknown_compilers_are_skipped(check, hearth_bin, capsys, monkeypatch):
    if not (hearth_bin.parent / "src" / "kernels").is_dir():
        pytest.skip("needs a build folder")
    monkeypatch.setattr("sys.argv", ["check-spills.py", str(hearth_bin.parent)])
    assert check.main() == check.SKIPPED
    assert "skipped: " in capsys.readouterr().out
