"""How far a model's distributions are from a reference's, and how Hearth's logits are had."""

import subprocess

import numpy as np
from reference import log_softmax


def distances(reference_logprob, logits, ids):
    """Over the whole vocabulary: mean KL divergence in nats (reference to other), share of
    positions whose likeliest token agrees, both perplexities of the text."""
    n = len(ids)
    kl, same, nll = np.empty(n), np.empty(n, bool), np.empty(n - 1)
    for i in range(n):
        a, b = reference_logprob[i].astype(np.float64), log_softmax(logits[i])
        kl[i] = (np.exp(a) * (a - b)).sum()
        same[i] = a.argmax() == b.argmax()
        if i + 1 < n:
            nll[i] = -b[ids[i + 1]]
    reference_nll = -reference_logprob[np.arange(n - 1), ids[1:]].astype(np.float64)
    return dict(kl=float(kl.mean()), kl_max=float(kl.max()), top1=float(same.mean()),
                ppl=float(np.exp(nll.mean())), reference_ppl=float(np.exp(reference_nll.mean())))


def relative_error(reference_logits, logits):
    """Root mean square of the difference over that of the reference's spread, worst row."""
    a = reference_logits.astype(np.float64)
    d = logits.astype(np.float64) - a
    d -= d.mean(axis=1, keepdims=True)
    return float((np.sqrt((d ** 2).mean(axis=1)) / a.std(axis=1)).max())


def top_distances(golden, rows):
    """The same from the committed greatest log probabilities; all other tokens count as one, which
    makes the divergence a little smaller. rows: an iterable of logits, position by position."""
    ids, n = golden["ids"], len(golden["ids"])
    kl, same, nll = np.empty(n), np.empty(n, bool), np.empty(n - 1)
    for i, row in enumerate(rows):
        b = log_softmax(row)
        at, a = golden["top_id"][i], golden["top_logprob"][i].astype(np.float64)
        rest_a = max(1.0 - np.exp(a).sum(), 1e-12)
        rest_b = max(1.0 - np.exp(b[at]).sum(), 1e-12)
        kl[i] = (np.exp(a) * (a - b[at])).sum() + rest_a * np.log(rest_a / rest_b)
        same[i] = at[0] == b.argmax()
        if i + 1 < n:
            nll[i] = -b[ids[i + 1]]
    assert i == n - 1
    reference_ppl = np.exp(-golden["next_logprob"].astype(np.float64).mean())
    return dict(kl=float(kl.mean()), kl_max=float(kl.max()), top1=float(same.mean()),
                ppl=float(np.exp(nll.mean())), reference_ppl=float(reference_ppl))


def hearth_rows(hearth_bin, model, sequences, n_vocab, *options):
    """Yields the rows of `hearth eval logits`, in its order: chunk by chunk, sequence by
    sequence."""
    text = ";".join(" ".join(str(int(i)) for i in s) for s in sequences)
    command = [str(hearth_bin), "eval", "logits", str(model), "--tokens", text, *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(sum(len(s) for s in sequences)):
            row = process.stdout.read(4 * n_vocab)
            assert len(row) == 4 * n_vocab, f"hearth ended early: {' '.join(command[:4])}"
            yield np.frombuffer(row, np.float32)
        assert process.stdout.read(1) == b""
    assert process.returncode == 0


def hearth_logits(hearth_bin, model, sequences, n_vocab, chunk, *options):
    """[n, n_vocab] for each sequence, all run side by side, `chunk` tokens of each a call."""
    rows = hearth_rows(hearth_bin, model, sequences, n_vocab, "--chunk", chunk, *options)
    out = [np.empty((len(s), n_vocab), np.float32) for s in sequences]
    for at in range(0, max(len(s) for s in sequences), chunk):
        for o in out:
            for i in range(at, min(at + chunk, len(o))):
                o[i] = next(rows)
    assert next(rows, None) is None
    return out
