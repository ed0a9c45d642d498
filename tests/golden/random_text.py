"""Random texts that tokenizers trip over: every script, runs, marks, controls, special tokens."""
import random

SPACES = " \t\n\r\x0b\x0c\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
CONTROLS = [chr(c) for c in range(1, 32)] + ["\x7f", "\x80", "\xad", "\u200b", "\u200d", "\ufeff",
                                             "\ufffd", "\u2060", "\U000e0041"]
SNIPPETS = ["'s", "'S", "'\u017f", "'ll", "'LL", "'Ve", "'re", "'d", "don't", "I'M", "...", "--",
            "://", "\r\n", "  ", "    ", "\n\n", " \n", "\t\t", "12", "345", "6789", "3.14",
            "\u00bd", "\u0661\u0662\u0663", "\u2460", "\u216b", "e\u0301", "\u00e9", "\ufb01",
            "\u1e9b\u0323", "\u0130", "I\u0307", "\u00df", "\u03a3\u03c2", "\uac01", "\u1100\u1161",
            "\u2581", "\u2581a", "a\u2581", "\ud55c\uad6d\uc5b4", "\u65e5\u672c\u8a9e\u306e",
            "\u30ab\u30bf", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\u0e44\u0e17\u0e22", "\u0928\u092e\u0938"
            "\u094d\u0924\u0947", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u202e", "\u037e",
            "\u212b", "\u2126", "\uf900", "\U0002f800", "a\u0323\u0307", "a\u0307\u0323", "\u0f73"]
# First and last of blocks with letters, marks, numbers, symbols.
BLOCKS = [(0x20, 0x7e), (0x20, 0x7e), (0xa0, 0xff), (0x100, 0x24f), (0x250, 0x2af),
          (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff), (0x530, 0x58f), (0x590, 0x5ff),
          (0x600, 0x6ff), (0x700, 0x8ff), (0x900, 0x97f), (0x980, 0xdff), (0xe00, 0xeff),
          (0xf00, 0xfff), (0x1000, 0x10ff), (0x1100, 0x11ff), (0x13a0, 0x13ff), (0x1700, 0x18af),
          (0x1c80, 0x1cff), (0x1dc0, 0x1eff), (0x1f00, 0x1fff), (0x2000, 0x206f),
          (0x2070, 0x218f), (0x2190, 0x27ff), (0x2c00, 0x2dff), (0x2e00, 0x2fff),
          (0x3000, 0x30ff), (0x3100, 0x33ff), (0x3400, 0x9fff), (0x4e00, 0x9fff), (0xa000, 0xabff),
          (0xac00, 0xd7ff), (0xe000, 0xf8ff), (0xf900, 0xfaff), (0xfb00, 0xfeff),
          (0xff00, 0xffff), (0x10000, 0x10fff), (0x11000, 0x11fff), (0x12000, 0x16fff),
          (0x1d000, 0x1dfff), (0x1e000, 0x1efff), (0x1f000, 0x1faff), (0x20000, 0x323af),
          (0xe0000, 0xe01ef), (0xf0000, 0x10fffd)]


def any_char(rng):
    while True:
        c = rng.randrange(1, 0x110000)
        if not 0xd800 <= c < 0xe000:
            return chr(c)


def from_blocks(rng):
    blocks = rng.choices(BLOCKS, k=rng.randrange(1, 4))
    out = []
    for _ in range(rng.randrange(1, 40)):
        first, last = rng.choice(blocks)
        c = rng.randint(first, last)
        out.append(" " if 0xd800 <= c < 0xe000 else chr(c))
        if rng.random() < 0.15:
            out.append(rng.choice(SPACES[:4]))
    return "".join(out)


def run(rng):
    c = rng.choice([rng.choice(SPACES), rng.choice("aA0-=.!'_\u4e2d\u0301\u3042\u00e9"),
                    any_char(rng), rng.choice(CONTROLS), from_blocks(rng)[0]])
    return from_blocks(rng)[:3] + c * rng.randrange(1, 200) + from_blocks(rng)[:3]


def text(rng, tokens):
    """tokens: texts of the vocabulary to put in, special ones among them."""
    kind = rng.randrange(8)
    if kind == 0:
        return "".join(any_char(rng) for _ in range(rng.randrange(1, 30)))
    if kind in (1, 2):
        return from_blocks(rng)
    if kind == 3:
        return run(rng)
    if kind == 4:
        return "".join(rng.choice(SNIPPETS) + rng.choice(["", "", " ", "\n"])
                       for _ in range(rng.randrange(1, 15)))
    if kind == 5:
        return "".join(rng.choice([rng.choice(CONTROLS), rng.choice(SPACES), rng.choice("ab1.=")])
                       for _ in range(rng.randrange(1, 25)))
    if kind == 6:
        return "".join(rng.choice(tokens) + rng.choice(["", "", " ", "x", "\n"])
                       for _ in range(rng.randrange(1, 12)))
    return "".join(rng.choice([from_blocks(rng)[:4], rng.choice(SNIPPETS), rng.choice(tokens),
                               any_char(rng)]) for _ in range(rng.randrange(1, 12)))


def texts(seed, n, tokens):
    rng = random.Random(seed)
    tokens = [t for t in tokens if "\0" not in t]
    return [text(rng, tokens) for _ in range(n)]
