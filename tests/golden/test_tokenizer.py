"""Token ids equal the reference's: expected files where they are, Hugging Face tokenizers on
random texts over all of Unicode."""
import pathlib
import subprocess

import gguf
import pytest

from hf_tokenizer import CONTROL, UNKNOWN, USER, Vocab, build
from random_text import texts

N_TEXTS = 15000          # times eight vocabularies: 120,000
N_TEXTS_ALONE = 60000    # times the two models, where the shared vocabularies are absent
N_SPECIAL_TEXTS = 2000
SEED = 20250101
EXPECTED = ["bert-bge", "deepseek-llm", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "phi-3",
            "qwen2"]
SEPARATOR = b"\n__ggml_vocab_test__\n"


def encode(hearth_bin, path, many, *flags):
    """many: bytes without NUL. A list of lists of ids."""
    done = subprocess.run([hearth_bin, "tokenize", "-0", "--no-bos", *flags, path],
                          input=b"".join(t + b"\0" for t in many), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().split("\n")[:-1]
    assert len(lines) == len(many)
    return [[int(x) for x in line.split()] for line in lines]


@pytest.mark.parametrize("name", EXPECTED)
def test_expected_files(hearth_bin, shared_dir, name):
    path = shared_dir / "data" / "vocab" / f"ggml-vocab-{name}.gguf"
    inputs = pathlib.Path(f"{path}.inp").read_bytes().split(SEPARATOR)
    if inputs[-1] == b"":
        inputs.pop()
    expected = [[int(x) for x in line.split()] for line in
                pathlib.Path(f"{path}.out").read_text().split("\n")[:-1]]
    assert len(inputs) == len(expected) > 40
    got = encode(hearth_bin, path, inputs)
    for text, ids, want in zip(inputs, got, expected):
        assert ids == want, text.decode()


@pytest.fixture(params=["SmolLM2", "gemma-3", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm",
                        "bert-bge", "llama-spm"])
def vocab_path(request):
    if request.param == "SmolLM2":
        return request.getfixturevalue("smollm2_path")
    if request.param == "gemma-3":
        return request.getfixturevalue("gemma3_path")
    shared = request.getfixturevalue("shared_dir")
    return shared / "data" / "vocab" / f"ggml-vocab-{request.param}.gguf"


def compare(hearth_bin, path, vocab, special, n, seed):
    pool = vocab.tokens[:: max(1, len(vocab.tokens) // 3000)]
    pool = pool + vocab.of_type(CONTROL, UNKNOWN, USER)[:300] * 3
    many = texts(seed, n, pool)
    reference = build(vocab, special)
    want = [e.ids for e in reference.encode_batch(many, add_special_tokens=False)]
    got = encode(hearth_bin, path, [t.encode() for t in many], *(["--special"] if special else []))
    wrong = [i for i in range(n) if got[i] != want[i]]
    if wrong:
        i = min(wrong, key=lambda i: len(many[i]))
        pytest.fail(f"{len(wrong)} of {n} texts differ; the shortest is {many[i]!a}:\n"
                    f"got  {got[i]}\nwant {want[i]}\n"
                    f"want {[reference.id_to_token(x) for x in want[i]]}")


def test_equals_reference_on_random_texts(hearth_bin, vocab_path, request):
    try:
        request.getfixturevalue("shared_dir")
        n = N_TEXTS
    except pytest.skip.Exception:
        n = N_TEXTS_ALONE
    vocab = Vocab(vocab_path)
    compare(hearth_bin, vocab_path, vocab, False, n, SEED)
    compare(hearth_bin, vocab_path, vocab, True, N_SPECIAL_TEXTS, SEED + 1)


@pytest.mark.parametrize("pre", ["qwen35", "gpt-4o", "tekken", "deepseek-v3", "deepseek-coder"])
def test_pre_tokenizers_without_a_vocabulary_here(hearth_bin, shared_dir, tmp_path, pre):
    """GPT-2's tokens and merges behind another model's pre-tokenizer."""
    vocab = Vocab(shared_dir / "data" / "vocab" / "ggml-vocab-gpt-2.gguf")
    vocab.pre = pre
    path = tmp_path / "vocab.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    writer.add_token_merges(vocab.merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    compare(hearth_bin, path, vocab, False, 2000, SEED + 2)


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm", "gemma-4"])
def test_decode_gives_the_text_back(hearth_bin, shared_dir, name):
    path = shared_dir / "data" / "vocab" / f"ggml-vocab-{name}.gguf"
    many = [t for t in texts(SEED + 3, 1000, ["<s>", "hello"]) if "\u2581" not in t]
    lines = "".join(" ".join(map(str, ids)) + "\n" for ids in
                    encode(hearth_bin, path, [t.encode() for t in many]))
    done = subprocess.run([hearth_bin, "tokenize", "--decode", "-0", path], input=lines.encode(),
                          capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == many


def test_one_text_and_flags(hearth_bin, smollm2_path, gemma3_path):
    def run(*args, text="<|im_end|>"):
        return subprocess.run([hearth_bin, "tokenize", *args], input=text.encode(),
                              capture_output=True, check=True).stdout.decode()

    assert run(smollm2_path, "--special") == "2\n"
    assert len(run(smollm2_path).split()) > 3
    assert run(gemma3_path, text="Hello world\n").split()[0] == "2"
    assert run(gemma3_path, "--no-bos", text="Hello").split()[0] != "2"
    assert run(smollm2_path, text="") == "\n"


@pytest.mark.parametrize("args, says", [
    (["/nonexistent.gguf"], "nonexistent"), ([], "tokenize"),
])
def test_errors_are_one_line(hearth_bin, tmp_path, args, says):
    done = subprocess.run([hearth_bin, "tokenize", *args], input=b"", capture_output=True,
                          env={"HEARTH_MODELS": str(tmp_path)})
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert says in done.stderr.decode()
