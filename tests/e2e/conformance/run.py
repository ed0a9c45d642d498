#!/usr/bin/env python3
"""Runs the conformance checks against a server, or several, and prints the table.

    run.py NAME=BASE_URL... [--model NAME] [--embedder NAME] [--key KEY] [--doc FILE]

--doc writes the table into FILE, between its two marks. tests/e2e/test_conformance.py runs the same checks on Hearth.
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import checks  # noqa: E402
from client import Client  # noqa: E402

BEGIN, END = "<!-- conformance: written by tests/e2e/conformance/run.py -->", "<!-- end of the conformance table -->"


def outcome(function, client):
    """None: it conforms; else why not."""
    try:
        function(client)
        return None
    except Exception as e:  # whatever a server does, it is this check's result
        return f"{type(e).__name__}: {e}".splitlines()[0][:300]


def table(names, results):
    out = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for group, function in checks.CHECKS:
        marks = ["yes" if results[n][function.__name__] is None else "no" for n in names]
        out.append(f"| {group}: {function.__doc__.replace('|', chr(92) + '|')} | " + " | ".join(marks) + " |")
    good = [sum(v is None for v in results[n].values()) for n in names]
    out.append("| **of " + str(len(checks.CHECKS)) + "** | " + " | ".join(f"**{g}**" for g in good) + " |")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="+", help="NAME=BASE_URL")
    parser.add_argument("--model", required=True)
    parser.add_argument("--embedder")
    parser.add_argument("--key")
    parser.add_argument("--doc")
    args = parser.parse_args()
    names, results = [], {}
    for server in args.server:
        name, _, url = server.partition("=")
        client = Client(url, args.model, args.embedder, args.key)
        names.append(name)
        results[name] = {}
        for group, function in checks.CHECKS:
            why = results[name][function.__name__] = outcome(function, client)
            print(f"{name:14} {group:20} {function.__name__:28} {'yes' if why is None else 'NO  ' + why}", flush=True)
    made = table(names, results)
    print("\n" + made)
    if args.doc:
        path = pathlib.Path(args.doc)
        before, rest = path.read_text().split(BEGIN)
        path.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}")
    return 0


sys.exit(main()) if __name__ == "__main__" else None
