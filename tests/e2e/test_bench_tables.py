"""bench/: the tables that `make bench` writes, from results that are made up."""
import pathlib
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import compare  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402

BY_NAME = {r.name: r for r in rows.ROWS}


def samples(*seconds, tokens=100):
    return [{"seconds": s, "tokens": tokens, "bytes": 1e9, "multiply_adds": 1e11, "read_bytes_per_s": 20e9,
             "multiply_adds_per_s": 400e9} for s in seconds]


def result(ours, peer, **more):
    return {"llama.cpp": {"ours": ours, "peer": peer, "about": "lib"}, "machine": "m", "threads": 2, "date": "d",
            "commit": "c", "load": 0.5, "hearth": "avx2"} | more


def test_a_ratio_is_the_median_of_the_rounds():
    got = result(samples(1, 2, 4), samples(3, 2, 20))
    line = report.line(BY_NAME["prefill-1b"], got)
    assert "**3.00** (1.00 to 5.00)" in line
    assert "50.0 (25.0 to 100)" in line and "33.3 (5.00 to 50.0)" in line
    assert "% of 400 G multiply-adds/s" in line  # 1e11 / 2 s of 4e11 is more than 1e9 / 2 s of 2e10
    assert "12 %" in line or "13 %" in line


def test_tables_are_written_between_their_markers(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text("before\n" + "".join(f"<!-- table {n} -->\nold\n<!-- end {n} -->\ntext of {n}\n" for n in report.HEAD))
    results = {"prefill-1b": result(samples(1), samples(3)),
               "start-8b": result([{"seconds": 1.0}], [{"seconds": 4.0}]),
               "memory-8b": {"ours": 51, "planned": 50, "peer": 100}}
    for _ in range(2):  # writing again changes nothing
        report.write_docs(path, results)
        text = path.read_text()
        assert "old" not in text and text.startswith("before\n") and text.endswith("text of process\n")
        assert text.count("| prefill 512, Llama 3.2 1B Q4_K_M | 100 (100 to 100) |") == 1
        assert text.count("Not measured yet.") == 2
        assert "**4.00** (4.00 to 4.00) times sooner" in text and "**1.020**" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (7, 5)


def test_ik_has_columns_where_it_was_measured(tmp_path):
    ik = {"ours": samples(1, 1), "peer": samples(2, 2), "about": "b"}
    results = {"prefill-1b": result(samples(1), samples(3), **{"ik_llama.cpp": ik}),
               "decode-1b": result(samples(1), samples(3))}
    table = report.table("speed", results).splitlines()
    assert "ik_llama.cpp" in table[0]
    assert {line.count("|") for line in table if line.startswith("|")} == {9}
    assert "**2.00** (2.00 to 2.00)" in table[2]


def test_markers_must_be_there(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text("no markers\n")
    with pytest.raises(SystemExit):
        report.write_docs(path, {})
    assert path.read_text() == "no markers\n"


def test_the_documented_tables_have_markers():
    text = (BENCH.parent / "docs/performance.md").read_text()
    for name in report.HEAD:
        assert text.count(f"<!-- table {name} -->\n") == 1 and text.count(f"<!-- end {name} -->") == 1
    assert {r.table for r in rows.ROWS} == set(report.HEAD)


def test_rows_that_share_a_process_agree():
    groups = compare.groups_of(rows.ROWS)
    assert sum(map(len, groups)) == len(rows.ROWS) == len(BY_NAME)
    for group in groups:
        assert len({(r.model, r.kv_type, r.kind) for r in group}) == 1
        assert group[0].kind == "speed" or len(group) == 1
        assert len({r.cell["steps"] for r in group if "steps" in r.cell}) <= 1
    names = [r.model.file_name() for r in rows.ROWS if not r.model.real]
    assert "llama-3.2-1b-q5_k_m-4layers.pure.gguf" in names and "llama-3.1-8b-q4_k_m.gguf" in names


def test_words_choose_rows_and_tables():
    class Args:
        rows = ["prefill-1b,start-8b", "real"]

    assert {r.name for r in compare.choose(Args)} == {"prefill-1b", "start-8b"} | {
        r.name for r in rows.ROWS if r.table == "real"}
    Args.rows = ["prefil"]
    with pytest.raises(SystemExit):
        compare.choose(Args)
