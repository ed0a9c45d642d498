#!/usr/bin/env python3
"""Writes seed files of the schema's fuzz target, a byte of options before each schema:
make_schema_corpus.py FOLDER"""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import random_schema  # noqa: E402

folder = pathlib.Path(sys.argv[1])
for i in range(200):
    schema = random_schema.Schemas(random.Random(i)).schema()
    (folder / f"seed-{i}").write_bytes(b"0123"[i % 4:i % 4 + 1] + json.dumps(schema).encode())
