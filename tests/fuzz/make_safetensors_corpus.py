#!/usr/bin/env python3
"""Writes the seed files of the safetensors fuzz target: make_safetensors_corpus.py FOLDER"""
import json
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
for i, head in enumerate((
        {}, {"__metadata__": {"format": "pt"}},
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
         "b": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}})):
    text = json.dumps(head).encode()
    (folder / f"seed-{i}").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
