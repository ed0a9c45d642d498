"""Answers to random schemas, made token by token under the mask, are all valid; and what is valid
and written as programs write it is taken.

HEARTH_SCHEMAS  how many schemas; default 100. The full run is 10000.
HEARTH_SCHEMA_SEED  where the random numbers begin; default 1
"""
import json
import os
import random
import subprocess
from fractions import Fraction

import jsonschema
import pytest

import random_schema

N_SCHEMA = int(os.environ.get("HEARTH_SCHEMAS", "100"))
SEED = int(os.environ.get("HEARTH_SCHEMA_SEED", "1"))
N_SAMPLE = 4
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


def multiple_of(validator, of, value, schema):
    """In decimals, as they are written: the package divides doubles, of which 0.3 is no multiple of 0.1."""
    if validator.is_type(value, "number") and (Fraction(repr(value)) / Fraction(repr(of))).denominator != 1:
        yield jsonschema.ValidationError(f"{value} is no multiple of {of}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"multipleOf": multiple_of})


class Walker:
    """The program schema_walk, one line in, one line out."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, schema, **options):
        self.process.stdin.write(json.dumps({"schema": schema, **options}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"schema_walk died of {json.dumps(schema)}"
        return json.loads(line)


@pytest.fixture(scope="module")
def walker(build_dir):
    w = Walker(build_dir / "tests" / "golden" / "schema_walk")
    yield w
    w.process.stdin.close()
    assert w.process.wait(10) == 0


def no_constant(text):
    raise AssertionError(f"{text} is no JSON")


def test_formats_are_checked():
    for name in random_schema.FORMATS:
        assert name in CHECKER.checkers, f"jsonschema does not check {name}: a package is missing"


def test_samples_are_valid(walker):
    """Every sample of every schema; those refused say where, and are few."""
    refused, cut, n_samples = {}, 0, 0
    for i in range(N_SCHEMA):
        rng = random.Random(SEED * 1_000_003 + i)
        schema = random_schema.Schemas(rng).schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        reply = walker.ask(schema, strict=True, compact=rng.random() < 0.2,
                           samples=N_SAMPLE, seed=i * 100,
                           tokens=rng.choice([5, 40, 150]))
        if "error" in reply:
            assert reply["error"]["code"] in ("invalid", "unsupported", "limit"), reply
            assert "#" in reply["error"]["text"] or reply["error"]["code"] == "limit", reply
            refused[reply["error"]["text"].partition(":")[2][:60]] = schema
            continue
        validator = Validator(schema, format_checker=CHECKER)
        for sample in reply["samples"]:
            n_samples += 1
            if not sample["ended"]:
                cut += 1
                continue
            value = json.loads(sample["text"], parse_constant=no_constant)
            error = next(validator.iter_errors(value), None)
            assert error is None, f"schema {i}: {json.dumps(schema)}\nsample: {sample['text']}\n{error}"
    print(f"{N_SCHEMA} schemas, {n_samples} samples, {cut} cut, refused: {len(refused)} kinds")
    assert n_samples > N_SCHEMA * N_SAMPLE * 0.75, sorted(refused)
    assert cut < n_samples * 0.02


def test_valid_texts_are_taken(walker):
    """Instances as Python writes them, compact, on one line and indented."""
    n_taken = 0
    for i in range(N_SCHEMA):
        rng = random.Random(SEED * 2_000_003 + i)
        schema = random_schema.Schemas(rng).schema()
        validator = jsonschema.Draft202012Validator(schema, format_checker=CHECKER)
        values = []
        for _ in range(4):
            try:
                value = random_schema.Instances(rng, schema).of(schema)
                if validator.is_valid(value):
                    values.append(value)
            except (random_schema.NoInstance, RecursionError):  # the package follows no endless $ref
                pass
        texts = []
        for value in values:
            texts += [json.dumps(value, separators=(",", ":"), ensure_ascii=False),
                      json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2, ensure_ascii=False),
                      json.dumps(value, indent=4, ensure_ascii=False)]
        reply = walker.ask(schema, texts=texts)
        if "error" in reply or not texts:
            continue
        for text, taken in zip(texts, reply["accepted"]):
            assert taken, f"schema {i}: {json.dumps(schema)}\nis valid and not taken: {text}"
            n_taken += 1
    assert n_taken > N_SCHEMA / 2


def test_escaped_strings_are_taken(walker):
    texts = [json.dumps(t) for t in ("é", "漢字", "😀", "a\x01\n\"\\/", "")]
    assert all(walker.ask({"type": "string"}, texts=texts)["accepted"])
    assert all(walker.ask({"type": "string", "maxLength": 9}, texts=texts)["accepted"])
