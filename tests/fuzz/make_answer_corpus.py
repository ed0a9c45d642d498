"""Seeds for fuzz_answer: what tests/unit/test_answer_parser.c has of each dialect, for every dialect.

make_answer_corpus.py FOLDER
"""
import ast
import hashlib
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
N_SOURCES = 23  # of fuzz_answer.c
LITERAL = r'"(?:[^"\\\n]|\\.)*"'


def texts():
    source = (HERE.parent / "unit" / "test_answer_parser.c").read_text()
    names = dict(re.findall(r"^#define (\w+) +(" + LITERAL + ")", source, re.M))
    for call in re.findall(r"check\(\w+, \w+,\s*((?:" + LITERAL + r"|\w+|\s)+),", source):
        parts = re.findall(LITERAL + r"|\w+", call)
        try:
            yield "".join(ast.literal_eval(names.get(p, p)) for p in parts)
        except (ValueError, SyntaxError):
            pass  # made of other names


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(texts()):
        for source in {i % N_SOURCES, (7 * i + 3) % N_SOURCES}:
            data = bytes([source, i % 8, i, 3]) + text.encode()
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


main(pathlib.Path(sys.argv[1]))
