#!/usr/bin/env python3
"""Writes the seed files of the key file's fuzz target: make_key_file_corpus.py FOLDER"""
import json
import pathlib
import sys


def key(name, tenant, **more):
    return {"name": name, "hash": f"sha256:{tenant:064x}", "tenant": tenant, "priority": "agent", "requests_max": 2,
            "tokens_per_minute": 5000, "created_ms": 1760000000000, **more}


folder = pathlib.Path(sys.argv[1])
for i, keys in enumerate(([], [key("a", 1)], [key("a", 1), key("b.c-d_9", 2, priority="batch")],
                          [key("a", 2147483647, requests_max=0, tokens_per_minute=0)], [key("a", 1), key("a", 2)])):
    (folder / f"seed-{i}").write_text(json.dumps({"last_tenant": len(keys), "keys": keys}))
