"""What bench/compare.py measures: rows of the tables in docs/performance.md."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Model:
    """A file that `hearth synth` makes in a true shape, or a real one among the test models."""

    shape: str = ""
    type: str = ""
    layers: int = 0
    pure: bool = False
    real: str = ""

    def file_name(self):
        parts = [self.shape, self.type.lower()] + ([f"{self.layers}layers"] if self.layers else [])
        return "-".join(parts) + (".pure" if self.pure else "") + ".gguf"

    def synth_words(self):
        words = [self.shape, "--type", self.type]
        return words + (["--layers", str(self.layers)] if self.layers else []) + (["--pure"] if self.pure else [])


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    table: str
    label: str
    model: Model
    cell: dict = dataclasses.field(compare=False)
    seconds: float  # of a round on a machine of two cores, both sides and opening, about
    goal: float = 0  # ratio to llama.cpp
    kind: str = "speed"
    kv_type: str = "f16"


LLAMA_1B = Model("llama-3.2-1b", "Q4_K_M")
LLAMA_8B = Model("llama-3.1-8b", "Q4_K_M")
SMOLLM2 = Model(real="SmolLM2-135M-Instruct.Q4_1.gguf")
GEMMA3 = Model(real="gemma-3-270m-q4_k_m.gguf")
LAYERS = 4  # of the models of one type each


def prefill(n):
    return {"test": "prefill", "prompt": n}


def decode(batch, steps, depth=0):
    return {"test": "decode", "batch": batch, "steps": steps} | ({"depth": depth} if depth else {})


def of_type(type_, seconds):
    model = Model("llama-3.2-1b", type_, LAYERS, pure=True)
    name = type_.replace("_M", "") if type_ == "Q5_K_M" else type_
    return Row(f"type-{name.lower()}", "types", name, model, prefill(512), seconds, 1.5)


ROWS = [
    Row("prefill-1b", "speed", "prefill 512, Llama 3.2 1B Q4_K_M", LLAMA_1B, prefill(512), 9, 3.0),
    Row("decode-1b", "speed", "decode, 1 sequence, 1B", LLAMA_1B, decode(1, 16), 2, 1.0),
    Row("decode-1b-x8", "speed", "decode, 8 sequences, 1B", LLAMA_1B, decode(8, 16), 7, 3.0),
    Row("decode-1b-x32", "speed", "decode, 32 sequences, 1B", LLAMA_1B, decode(32, 16), 22, 3.0),
    Row("decode-8b", "speed", "decode, 1 sequence, Llama 3.1 8B Q4_K_M", LLAMA_8B, decode(1, 8), 8, 1.0),
    Row("prefill-8b", "speed", "prefill 512, 8B", LLAMA_8B, prefill(512), 60, 3.0),
    Row("depth-8b", "speed", "decode at depth 16384, 8B, q8_0 keys and values", LLAMA_8B, decode(1, 8, 16384), 25,
        1.5, kv_type="q8_0"),
    of_type("Q8_0", 4), of_type("Q6_K", 5), of_type("Q5_K_M", 5), of_type("Q4_0", 4), of_type("IQ4_XS", 5),
    of_type("F16", 5), of_type("BF16", 5),
    Row("smollm2-prefill", "real", "prefill 512, SmolLM2 135M Q4_1", SMOLLM2, prefill(512), 3),
    Row("smollm2-decode", "real", "decode, SmolLM2 135M Q4_1", SMOLLM2, decode(1, 64), 2),
    Row("gemma3-prefill", "real", "prefill 512, Gemma 3 270M Q4_K_M", GEMMA3, prefill(512), 3),
    Row("gemma3-decode", "real", "decode, Gemma 3 270M Q4_K_M", GEMMA3, decode(1, 64), 3),
    Row("start-8b", "process", "second start to first token, 8B", LLAMA_8B, {}, 15, 3.0, kind="start"),
    Row("memory-1b", "process", "peak memory, 1B, context 1024", LLAMA_1B, {"ctx": 1024}, 5, kind="memory"),
    Row("memory-8b", "process", "peak memory, 8B, context 1024", LLAMA_8B, {"ctx": 1024}, 12, kind="memory"),
]
