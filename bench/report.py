"""The tables of docs/performance.md, from the results of bench/compare.py."""
import os
import pathlib
import re
import statistics

import rows

HEAD = {
    "speed": ["", "Hearth", "llama.cpp", "ratio (range)", "goal", "of the limit"],
    "types": ["", "Hearth", "llama.cpp", "ratio (range)", "goal", "of the limit"],
    "real": ["", "Hearth", "llama.cpp", "ratio (range)", "of the limit"],
    "process": ["", "Hearth", "llama.cpp", "ratio"],
}
IK = ["ik_llama.cpp", "ratio (range)"]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")

    def field(name):
        found = re.search(rf"^{name}\s*: (.*)$", text, re.M)
        return found.group(1) if found else "?"

    return f"{field('model name')} (family {field('cpu family')}, model {field('model')}), {os.cpu_count()} cpus"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def ratio_text(values):
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


def speeds(samples):
    return [s["tokens"] / s["seconds"] for s in samples]


def ratios(pair):
    return [a / b for a, b in zip(speeds(pair["ours"]), speeds(pair["peer"]))]


def limit_text(samples):
    """The nearer of the two limits, and the part of it that was reached."""
    read = statistics.median(s["bytes"] / s["seconds"] / s["read_bytes_per_s"] for s in samples)
    macs = statistics.median(s["multiply_adds"] / s["seconds"] / s["multiply_adds_per_s"] for s in samples)
    if read > macs:
        bandwidth = statistics.median(s["read_bytes_per_s"] for s in samples)
        return f"{100 * read:.0f} % of {bandwidth / 1e9:.1f} GB/s"
    rate = statistics.median(s["multiply_adds_per_s"] for s in samples)
    return f"{100 * macs:.0f} % of {rate / 1e9:.0f} G multiply-adds/s"


def speed_cells(row, result):
    """ours, theirs, ratio, [goal], limit, ik, ratio: strings; "" for what was not measured."""
    pair, ik = result.get("llama.cpp"), result.get("ik_llama.cpp")
    ours = (pair or ik)["ours"]
    cells = [spread(speeds(ours))]
    cells += [spread(speeds(pair["peer"])), ratio_text(ratios(pair))] if pair else ["", ""]
    if "goal" in HEAD[row.table]:
        cells.append(f"{row.goal:.1f}" if row.goal else "")
    cells.append(limit_text(ours))
    return cells, [spread(speeds(ik["peer"])), ratio_text(ratios(ik))] if ik else ["", ""]


def process_cells(row, result):
    if row.kind == "start":
        pair = result["llama.cpp"]
        ours, peer = ([s["seconds"] for s in pair[k]] for k in ("ours", "peer"))
        ratio = ratio_text([b / a for a, b in zip(ours, peer)])
        return [spread(ours) + " s", spread(peer) + " s", f"{ratio} times sooner; goal 3"]
    planned = result["planned"]
    return [f"{result['ours'] / 1e9:.2f} GB", f"{result['peer'] / 1e9:.2f} GB",
            f"**{result['ours'] / planned:.3f}** of weights + planned keys and values ({planned / 1e9:.2f} GB); "
            f"llama.cpp {result['peer'] / planned:.3f}; goal 1.02"]


def line(row, result):
    if row.kind != "speed":
        return f"{row.name:18} " + " | ".join(process_cells(row, result))
    cells, ik = speed_cells(row, result)
    return f"{row.name:18} " + " | ".join(c for c in cells + ik if c)


def table(name, results):
    here = [r for r in rows.ROWS if r.table == name and r.name in results]
    if not here:
        return "Not measured yet.\n"
    with_ik = any("ik_llama.cpp" in results[r.name] for r in here)
    head = HEAD[name] + (IK if with_ik else [])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in here:
        if name == "process":
            cells = process_cells(row, results[row.name])
        else:
            cells, ik = speed_cells(row, results[row.name])
            cells += ik if with_ik else []
        lines.append("| " + " | ".join([row.label] + cells) + " |")
    return "\n".join(lines) + "\n" + origin([results[r.name] for r in here])


def origin(here):
    """Where and when; of all rows together."""
    def all_of(key):
        return ", ".join(sorted({str(r[key]) for r in here if r.get(key)}))

    peers = sorted({r["llama.cpp"]["about"] for r in here if "about" in r.get("llama.cpp", {})})
    rounds = sorted({len(r["llama.cpp"]["ours"]) for r in here if "llama.cpp" in r})
    text = f"\n{all_of('machine')}; {all_of('threads')} threads; {all_of('date')}, at {all_of('commit')}"
    if rounds:
        text += f"; {' or '.join(map(str, rounds))} rounds"
    if all_of("hearth"):
        text += f". Hearth: {all_of('hearth')}"
    if peers:
        text += f"; llama.cpp: {', '.join(peers)}"
    busy = max((r.get("load", 0) for r in here), default=0)
    return text + f". Load average at the end: {busy:.1f}.\n"


def write_tables(path, tables):
    """name -> text between its markers."""
    text = path.read_text(encoding="utf-8")
    for name, lines in tables.items():
        begin, end = f"<!-- table {name} -->\n", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"bench: {path} has no markers for the table {name}")
        before, rest = text.split(begin, 1)
        text = before + begin + lines + end + rest.split(end, 1)[1]
    path.write_text(text, encoding="utf-8")


def write_docs(path, results):
    write_tables(path, {name: table(name, results) for name in HEAD})
