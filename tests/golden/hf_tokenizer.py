"""Builds the Hugging Face tokenizer that a GGUF file's vocabulary came from."""
import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|"
         r"%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")


class Vocab:
    def __init__(self, path):
        fields = gguf.GGUFReader(path).fields

        def get(key, default=None):
            field = fields.get("tokenizer.ggml." + key)
            return default if field is None else field.contents()

        self.model, self.pre = get("model"), get("pre", "default")
        self.tokens, self.types = get("tokens"), get("token_type")
        self.scores, self.merges = get("scores"), get("merges")
        self.space_prefix = get("add_space_prefix", True)

    def of_type(self, *types):
        return [t for t, kind in zip(self.tokens, self.types) if kind in types]


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(use_regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def pre_tokenizer(name):
    digits = pre_tokenizers.Digits(individual_digits=True)
    stages = {
        "gpt-2": [byte_level(True)],
        "smollm": [digits, byte_level(True)],
        "llama-bpe": [split(CONTRACTIONS + WORDS % r"\p{N}{1,3}"), byte_level()],
        "qwen2": [split(CONTRACTIONS + WORDS % r"\p{N}"), byte_level()],
        "deepseek-llm": [
            split("[\r\n]"), split(r"\s?[" + DEEPSEEK_LETTERS + "]+"),
            split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
            split(r"\s+$"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits,
            byte_level()],
        "qwen35": [split(CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
                         r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
                   byte_level()],
        "gpt-4o": [split(CASED % (SUFFIX, SUFFIX, r"\p{N}{1,3}")), byte_level()],
        "tekken": [split(CASED % ("", "", r"\p{N}")), byte_level()],
        "deepseek-v3": [
            split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
            split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
                  r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|"
                  r"\s+(?!\S)|\s+"), byte_level()],
        "deepseek-coder": [
            split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
            split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits, byte_level()],
    }[name]
    return pre_tokenizers.Sequence(stages)


def bpe(v):
    merges = [(m[:i], m[i + 1:]) for m in v.merges for i in [m.index(" ", 1)]]
    t = Tokenizer(models.BPE({x: i for i, x in enumerate(v.tokens)}, merges,
                             ignore_merges=v.pre in ("llama-bpe", "tekken")))
    if v.pre in ("qwen2", "qwen35"):
        t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizer(v.pre)
    return t


def sentencepiece(v):
    """Merges from scores, as transformers makes them; what text may not become takes no part."""
    plain = {t: s for t, s, kind in zip(v.tokens, v.scores, v.types)
             if kind not in (CONTROL, UNKNOWN, BYTE)}
    merges = [(score, t[:i], t[i:]) for t, score in plain.items() for i in range(1, len(t))
              if t[:i] in plain and t[i:] in plain]
    merges.sort(key=lambda m: (m[0], len(m[1]), len(m[2])), reverse=True)
    t = Tokenizer(models.BPE({x: i for i, x in enumerate(v.tokens)},
                             [(left, right) for _, left, right in merges],
                             unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Prepend("\u2581")] if v.space_prefix else []
    t.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "\u2581")])
    return t


def wordpiece(v):
    def original(token):
        if token.startswith("\u2581"):
            return token[1:]
        return token if token[0] == "[" and token[-1] == "]" else "##" + token

    t = Tokenizer(models.WordPiece({original(x): i for i, x in enumerate(v.tokens)},
                                   unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return t


def build(v, special):
    """special: text may spell control tokens, too."""
    t = {"gpt2": bpe, "llama": sentencepiece, "bert": wordpiece}[v.model](v)
    t.add_tokens([AddedToken(x, normalized=False) for x in v.of_type(USER)])
    if special:
        t.add_special_tokens([AddedToken(x, normalized=False) for x in
                              v.of_type(CONTROL, UNKNOWN)])
    return t
