#!/usr/bin/env python3
"""The trace that bench/serve.py plays: conversations in the lengths of public chat logs.

    bench/chat_trace.py            writes bench/chat_trace.jsonl anew (the same bytes every time)
    bench/chat_trace.py --show     what is in it

A line is a conversation: {"system": 0 or 1, "turns": [[prompt, output], ...]}, in tokens. The means are those
of LMSYS-Chat-1M (Zheng et al., 2023, arXiv 2309.11998, table 1): 69.5 tokens of a prompt, 214.5 of an answer, 2.0
turns. Lengths are log-normal, which gives the long tails of such logs; the two sigmas, the bounds and the share
of conversations with a common system prompt are ours. Turns are geometric.

The text is made when the trace is played: words that are one token each in common vocabularies, another order of
them for each salt, so that no cache knows a prompt from an earlier run. A later turn's prompt begins with the
whole of the turn before and an answer that is made up likewise, not with what a model said, so that every server
gets the same bytes.
"""
import dataclasses
import json
import math
import pathlib
import random
import sys

FILE = pathlib.Path(__file__).with_name("chat_trace.jsonl")
SEED = 20260301
N_CONVERSATIONS = 400
MEAN_PROMPT, MEAN_OUTPUT, MEAN_TURNS = 69.5, 214.5, 2.0
SIGMA_PROMPT, SIGMA_OUTPUT = 1.2, 0.8
PROMPT_BOUNDS, OUTPUT_BOUNDS = (4, 1024), (8, 640)
TURNS_MAX = 6
CONTEXT_MAX = 1920  # of a request, prompt and output; a conversation ends before it would be longer
SYSTEM_SHARE, SYSTEM_WORDS = 0.25, 200
TURN_TOKENS = 6  # that the roles' names take, about

WORDS = (
    "about after again against all almost also always an and another any are around as asked at away back be because "
    "been before being between book both business but by called came can case children city common could course day "
    "days did do down during each early end enough even ever every eyes face fact far few find first for form found "
    "from gave general get give go going good got government great group had half hand has have he head her here high "
    "him his home house how however if in into is it its just knew know land large last later law left less letter life "
    "light like line little long look made make man many market may me men might more most much music must my name "
    "never new next night no nothing not now number of off old on once one only or other our out over own paper part "
    "people place point power price public put question read report right river road said same saw say school see "
    "seemed set she should side since small so some something state still story such system table take taken than that "
    "the their them then there these they thing think this those though thought three through time to told too took "
    "toward two under until up upon us used very want war was water way we well went were what when where which while "
    "who why will with without word work world would year years yet you young your").split()


@dataclasses.dataclass(frozen=True)
class Request:
    """One call: what is asked and how many tokens are wanted."""

    prompt: str
    output: int
    conversation: int
    turn: int


def words(rng, n):
    return " " + " ".join(rng.choices(WORDS, k=n)) if n > 0 else ""


def lengths(rng, n, mean, sigma, bounds):
    """Log-normal, within bounds, with the mean that is asked for."""
    normal = [rng.gauss(0, 1) for _ in range(n)]
    mu = math.log(mean) - sigma * sigma / 2
    for _ in range(50):
        got = [min(max(round(math.exp(mu + sigma * x)), bounds[0]), bounds[1]) for x in normal]
        mu += math.log(mean / (sum(got) / n))
    return got


def n_turns(rng):
    n = 1
    while n < TURNS_MAX and rng.random() < 1 - 1 / MEAN_TURNS:
        n += 1
    return n


def generate():
    rng = random.Random(SEED)
    turns = [n_turns(rng) for _ in range(N_CONVERSATIONS)]
    prompt = iter(lengths(rng, sum(turns), MEAN_PROMPT, SIGMA_PROMPT, PROMPT_BOUNDS))
    output = iter(lengths(rng, sum(turns), MEAN_OUTPUT, SIGMA_OUTPUT, OUTPUT_BOUNDS))
    made = []
    for n in turns:
        system = int(rng.random() < SYSTEM_SHARE)
        total, kept = system * SYSTEM_WORDS, []
        for pair in [(next(prompt), next(output)) for _ in range(n)]:
            total += sum(pair) + TURN_TOKENS
            if total <= CONTEXT_MAX:
                kept.append(list(pair))
        made.append({"system": system, "turns": kept})
    return [c for c in made if c["turns"]]


def load(path=FILE):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def requests_of(conversation, number, salt):
    """The calls of one conversation, in order."""
    text = ""
    if conversation["system"]:
        text = "System:" + words(random.Random("system"), SYSTEM_WORDS) + "\n"
    made = []
    for turn, (prompt, output) in enumerate(conversation["turns"]):
        rng = random.Random(f"{salt} {number} {turn}")
        text += "User:" + words(rng, prompt) + "\nAssistant:"
        made.append(Request(text, output, number, turn))
        text += words(rng, output) + "\n"
    return made


def conversations(salt, path=FILE):
    """Without end: when the trace is over it begins again with other words."""
    loaded = load(path)
    round_ = 0
    while True:
        order = random.Random(f"{salt} order {round_}").sample(range(len(loaded)), len(loaded))
        for i in order:
            yield requests_of(loaded[i], i, f"{salt} {round_}")
        round_ += 1


def interleaved(salt, width=8, path=FILE):
    """Single calls, as they arrive at a server: some conversations go on at a time."""
    source = conversations(salt, path)
    open_ = [list(next(source)) for _ in range(width)]
    rng = random.Random(f"{salt} interleaved")
    while True:
        i = rng.randrange(width)
        yield open_[i].pop(0)
        if not open_[i]:
            open_[i] = list(next(source))


def means(loaded):
    """Tokens of a new prompt, of all that a call sends, of an answer; turns of a conversation."""
    new, whole, output = [], [], []
    for c in loaded:
        history = c["system"] * SYSTEM_WORDS
        for prompt, wanted in c["turns"]:
            new.append(prompt)
            whole.append(history + prompt + TURN_TOKENS)
            output.append(wanted)
            history += prompt + wanted + TURN_TOKENS
    n = len(new)
    return {"new": sum(new) / n, "prompt": sum(whole) / n, "output": sum(output) / n, "turns": n / len(loaded)}


def main():
    if sys.argv[1:] == ["--show"]:
        loaded = load()
        print(f"{len(loaded)} conversations; means:", {k: round(v, 1) for k, v in means(loaded).items()})
        return 0
    if sys.argv[1:]:
        sys.exit(__doc__)
    FILE.write_text("".join(json.dumps(c, separators=(",", ":")) + "\n" for c in generate()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
