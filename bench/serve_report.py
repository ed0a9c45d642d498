"""The tables of docs/performance.md that bench/serve.py writes: serve, latency, long."""
import statistics

import report

SIDES = ("ours", "peer")  # Hearth, llama-server


def rates(samples):
    return [s["tokens"] / s["seconds"] for s in samples]


def values(samples, key, i=None):
    """Of every round that has it."""
    found = [s.get(key) if i is None else s[key][i] for s in samples]
    return [v for v in found if v is not None]


def ms(seconds):
    return "-" if not seconds else report.number(1000 * statistics.median(seconds))


def ratio(a, b):
    """The rounds' own ratios, where both have a figure; "" where none has."""
    pairs = [x / y for x, y in zip(a, b) if x is not None and y]
    return report.ratio_text(pairs) if pairs else ""


def failed(samples):
    return f"{sum(s['n_failed'] for s in samples)} of {sum(s['n_started'] for s in samples)}"


def serve_cells(row, result):
    ours, peer = result["ours"], result["peer"]
    cells = [report.spread(rates(s)) for s in (ours, peer)]
    cells += [ratio(rates(ours), rates(peer)), f"{row.goal:.1f}" if row.goal else ""]
    cells += [report.number(statistics.median(values(s, "good_per_s"))) for s in (ours, peer)]
    return cells + [failed(s) for s in (ours, peer)]


def triple(samples, key):
    return " / ".join(ms(values(samples, key, i)) for i in range(3))


def latency_cells(row, result):
    ours, peer = result["ours"], result["peer"]
    p95 = [[s["ttft"][1] for s in side] for side in (ours, peer)]
    return [triple(ours, "ttft"), triple(peer, "ttft"), ratio(*p95), triple(ours, "itl"), triple(peer, "itl"),
            ms(values(ours, "gap_max")), ms(values(peer, "gap_max"))]


def gap_rows(row, result):
    gaps = [[s["gap_max"] for s in result[side]] for side in SIDES]
    first = [[s["ttft"] for s in result[side]] for side in SIDES]
    shown = [report.spread([1000 * g for g in side if g is not None]) if any(side) else "-" for side in gaps]
    return [[f"{row.label}: greatest gap in 4 streams while the prompt arrives, ms", *shown, ratio(*gaps) + "; goal 0.1"],
            [f"{row.label}: the prompt's own first token, s", *map(report.spread, first), ratio(*first)]]


def prefix_rows(row, result):
    made = [[f"{row.label}: first token of the first prompt, s",
             *(report.spread(values(result[side], "first")) for side in SIDES), ""]]
    for key, what in (("second", "a second one, part of the first one's time"),
                      ("restarted", "a third one after a restart, part of it")):
        parts = [[s[key] / s["first"] for s in result[side]] for side in SIDES]
        made.append([f"{row.label}: {what}", *map(report.ratio_text, parts), "goal 0.05"])
    return made


HEAD = {
    "serve": ["", "Hearth, tokens/s", "llama-server", "ratio (range)", "goal", "Hearth, good calls/s", "llama-server",
              "Hearth, failed", "llama-server"],
    "latency": ["", "Hearth, TTFT ms", "llama-server", "ratio of p95", "Hearth, ITL ms", "llama-server",
                "Hearth, greatest gap ms", "llama-server"],
    "long": ["", "Hearth", "llama-server", "ratio"],
}


def loaded_label(row, result):
    found = values(result["ours"], "rate") if row.kind == "open" else []
    return row.label + (f": {report.number(statistics.median(found))} calls/s" if found else "")


def lines_of(name, row, result):
    if name == "long":
        return gap_rows(row, result) if row.kind == "gap" else prefix_rows(row, result)
    return [[loaded_label(row, result)] + (serve_cells if name == "serve" else latency_cells)(row, result)]


def line(row, result):
    if row.table == "long":
        return "\n".join(" | ".join(cells) for cells in lines_of("long", row, result))
    return f"{row.name:16} " + " | ".join(serve_cells(row, result) + latency_cells(row, result))


def origin(here):
    def all_of(key):
        return ", ".join(sorted({str(r[key]) for r in here}))

    about = [", ".join(sorted({r["about"][side] for r in here})) for side in SIDES]
    rounds = " or ".join(map(str, sorted({len(r["ours"]) for r in here})))
    text = (f"\n{all_of('machine')}; {all_of('threads')} threads; {all_of('date')}, at {all_of('commit')}; {rounds} "
            f"rounds. Hearth: {about[0]}; llama-server: {about[1]}")
    samples = [s for r in here for side in SIDES for s in r[side]]
    client = max((s["client_cpu"] for s in samples if "client_cpu" in s), default=None)
    if client is not None:
        text += f". The load generator took at most {100 * client:.0f} % of a core"
    idle = max((s["idle_cpu_s"] / s["seconds"] for s in samples if "idle_cpu_s" in s and "seconds" in s), default=None)
    if idle is not None:
        text += f", the idle server at most {100 * idle:.0f} % of one while the other was measured"
    if any(r["quick"] for r in here):
        text += ". **Some rows are of a quick run: no figures**"
    return text + f". Load average at the end: {max(r['load'] for r in here):.1f}.\n"


def table(name, rows, results):
    wanted = "long" if name == "long" else "serve"
    here = [r for r in rows if r.table == wanted and r.name in results]
    if not here:
        return "Not measured yet.\n"
    text = ["| " + " | ".join(HEAD[name]) + " |", "|" + "---|" * len(HEAD[name])]
    for row in here:
        text += ["| " + " | ".join(cells) + " |" for cells in lines_of(name, row, results[row.name])]
    return "\n".join(text) + "\n" + origin([results[r.name] for r in here])


def write_docs(path, rows, results):
    report.write_tables(path, {name: table(name, rows, results) for name in HEAD})
