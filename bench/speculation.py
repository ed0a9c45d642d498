#!/usr/bin/env python3
"""What guessing tokens brings: one sequence, `--speculate auto` beside `off`, interleaved.

    bench/speculation.py MODEL.gguf [ROUNDS] [THREADS] [DRAFT.gguf]

Tasks: `copy`: a text that the prompt has twice is written once more, without and with a `prediction` (one word
of it is another); `story`: sampled at temperature 1, where texts foretell nothing, and greedy. Prints the milliseconds of a token, the median of the
rounds, as the clock says and as the processor's time says: on a busy machine only the second means something, and with
one thread it is the time that a quiet machine would take. With DRAFT, `auto` has that draft model, and how many of its guesses held is
printed, too.
"""
import os
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from worker_driver import Worker, text  # noqa: E402

FIELDS = ["host", "port", "retries", "timeout", "colour", "level", "path", "user"]
FILE = "".join(f"    {name} = settings.get('{name}', default_{name})\n    check_{name}({name})\n" for name in FIELDS)
COPY = f"{FILE}\n\n# again:\n{FILE}\n\n# again:\n{FILE[:50]}"
PREDICTION = FILE.replace("colour", "color")  # one word of it is another
TASKS = {
    "copy": dict(prompt=COPY, sampling={"temperature": 0}),
    "copy, prediction": dict(prompt=COPY, sampling={"temperature": 0}, prediction=PREDICTION),
    "story, greedy": dict(prompt="Once upon a time there was", sampling={"temperature": 0}),
    "story": dict(prompt="Once upon a time there was", sampling={"temperature": 1, "seed": 4}),
}
N_TOKENS = 100


def cpu_ms(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main():
    path, rounds, threads = sys.argv[1], int((sys.argv[2:3] or [3])[0]), int((sys.argv[3:4] or [1])[0])
    binary = os.environ.get("HEARTH_BIN", ROOT / "build" / "hearth")
    draft = sys.argv[4:5]
    times, texts, i = {}, {}, 0
    with Worker(binary, [path, *draft], ctx=2048, parallel=1, threads=threads, speculate=0, fds=1, draft_fds=len(draft)) as auto, \
            Worker(binary, [path], ctx=2048, parallel=1, threads=threads, speculate=1) as off:
        for w in (auto, off):
            info = w.ready()
            assert info["t"] == "ready", info
        for turn in range(rounds + 1):  # the first one fills caches and learns what steps cost
            for name, task in TASKS.items():
                for mode, w in (("auto", auto), ("off", off)):
                    i += 1
                    before = cpu_ms(w.process.pid)
                    a = w.answer(text(i, ignore_eos=True, max_tokens=N_TOKENS, **task))
                    n = a.done["n_completion"]
                    if turn > 0:
                        cpu = (cpu_ms(w.process.pid) - before) / n
                        times.setdefault((name, mode), []).append((a.done["decode_ms"] / (n - 1), cpu))
                    texts.setdefault(name, set()).add(a.text[0])
                    if mode == "auto" and "prediction" in task:
                        counted = a.done["n_foretold"], a.done["n_not_met"]
        stats = draft and auto.read_until(lambda f: f["t"] == "stats" and f["running"] == 0)[-1]
    assert all(len(t) == 1 for t in texts.values()), "guesses changed an answer"
    print(f"{pathlib.Path(path).name}, {info['kernel']}, {threads} thread(s), {rounds} rounds; ms a token")
    for name in TASKS:
        clock, cpu = ([statistics.median(t[k] for t in times[name, mode]) for mode in ("off", "auto")] for k in (0, 1))
        print(f"{name:18} clock {clock[0]:7.2f} -> {clock[1]:7.2f} ({clock[0] / clock[1]:.2f}x)   "
              f"processor {cpu[0]:7.2f} -> {cpu[1]:7.2f} ({cpu[0] / cpu[1]:.2f}x)")
    print("tokens of the prediction met and not met:", *counted)
    if draft:
        print(f"draft model {pathlib.Path(draft[0]).name}: {stats['draft_model_tokens']} guesses, {stats['draft_model_accepted']} held, "
              f"{stats['draft_s']:.2f} s of {stats['decode_s']:.2f} s")


if __name__ == "__main__":
    main()
