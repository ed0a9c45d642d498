#!/usr/bin/env python3
"""Writes tests/golden/<model>.npz: what a float32 reference says of real text, and how far
llama.cpp is from it. Run when the text, the reference or the models change:

    HEARTH_TEST_MODELS=folder LLAMA_CPP_LIB=folder scripts/make_golden.py

Each file holds, for the first 512 tokens of tests/golden/text.txt: `ids`; of the reference's
distribution at every position the TOP greatest log probabilities (`top_id`, `top_logprob`), and the
log probability of the token that follows (`next_logprob`); `greedy`, the tokens that follow a prompt
when the likeliest is always taken, with `greedy_prompt`; and llama.cpp's figures on the same
positions over the whole vocabulary (`llama_kl`, `llama_top1`, `llama_ppl`).
"""
import os
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))

from compare import distances  # noqa: E402
from llama_cpp import LlamaCpp  # noqa: E402
from reference import Reference, log_softmax  # noqa: E402

N = 512
TOP = 96
N_GREEDY = 24
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", "The capital of France is"),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", "One, two, three, four,"),
}


def greedy(reference, ids):
    ids = list(ids)
    for _ in range(N_GREEDY):
        ids.append(int(reference.logits(ids, [-1])[0].argmax()))
    return ids[-N_GREEDY:]


def make(name, file, prompt):
    path = pathlib.Path(os.environ["HEARTH_TEST_MODELS"]) / file
    peer = LlamaCpp(path, N)
    ids = peer.tokenize((ROOT / "tests/golden/text.txt").read_text())[:N]
    prompt_ids = peer.tokenize(prompt)
    peer_logits = peer.logits(ids)
    peer.close()
    reference = Reference(path)
    logprob = np.empty((N, peer.n_vocab), np.float32)
    logits = reference.logits(ids)
    for i in range(N):
        logprob[i] = log_softmax(logits[i])
    del logits
    top = np.argpartition(-logprob, TOP, axis=1)[:, :TOP]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(logprob, top, 1), axis=1), 1)
    figures = distances(logprob, peer_logits, ids)
    print(name, "llama.cpp:", figures)
    np.savez_compressed(
        ROOT / f"tests/golden/{name}.npz", model=file, ids=ids.astype(np.int32),
        top_id=top.astype(np.uint32), top_logprob=np.take_along_axis(logprob, top, 1),
        next_logprob=logprob[np.arange(N - 1), ids[1:]], greedy_prompt=prompt_ids.astype(np.int32),
        greedy=np.array(greedy(reference, prompt_ids), np.int32),
        llama_kl=figures["kl"], llama_top1=figures["top1"], llama_ppl=figures["ppl"])


if __name__ == "__main__":
    for model in sys.argv[1:] or MODELS:
        make(model, *MODELS[model])
