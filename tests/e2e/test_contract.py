"""The contract: /openapi.json has every route and every field, and docs/api.md is written from it.

API_DOC=write writes the tables of docs/api.md anew.
"""
import json
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = ROOT / "docs/api.md"
BEGIN, END = "<!-- contract: written by tests/e2e/test_contract.py -->", "<!-- end of the contract -->"
USES = {"honoured": "honoured", "no effect": "accepted without effect", "refused": "refused"}
# The page and its parts are no API.
NOT_IN_IT = {"/", "/assets/"}


def document(server):
    status, _, answer = server.get("/openapi.json")
    assert status == 200
    return json.loads(answer)


def routes():
    """(path, methods) of the gateway's table; a path that ends in / has everything below it."""
    text = (ROOT / "src/gateway/routes.c").read_text()
    found = re.findall(r'\{"(/[^"]*)",\s*([A-Z |]+),', text)
    assert len(found) > 10
    return [(path, set(methods.replace(" ", "").split("|"))) for path, methods in found if path not in NOT_IN_IT]


def test_every_route_is_in_the_document(fake_server):
    paths = document(fake_server)["paths"]
    have = {}
    for path, operations in paths.items():
        have.setdefault(path.split("{")[0], set()).update(m.upper() for m in operations)
    for path, methods in routes():
        assert methods <= have.get(path, set()), f"{path}: {methods - have.get(path, set())} is not in src/api/contract.c"
    assert set(have) == {path for path, _ in routes()}, "the contract has what is not served"


def shape_of(schema):
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = " or ".join(k for k in kind if k != "null")
    words = kind or "any"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if low is not None and schema.get("maximum") is not None:
        word = "above" if "exclusiveMinimum" in schema else "from"
        high = schema["maximum"]
        words += f" {word} {low:g}" + (f" to {high:g}" if high < 2**31 - 1 else "")
    return words


def rows(schema, prefix=""):
    for name, field in schema.get("properties", {}).items():
        yield prefix + name, shape_of(field), USES[field.get("x-hearth-use", "honoured")], field.get("description", "")
        yield from rows(field, prefix + name + ".")


def escape(text):
    return text.replace("|", "\\|")


def table(document):
    out, group = [], None
    for path, operations in document["paths"].items():
        for method, o in operations.items():
            if o["tags"][0] != group:
                group = o["tags"][0]
                out += [f"## {group}", ""]
            key = " No key is asked for." if o.get("security") == [] else ""
            out += [f"### `{method.upper()} {path}`", "", f"{o['summary']}.{key}", ""]
            body = o.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            fields = list(rows(body))
            if fields and not o["summary"].startswith(("The same", "As ")):
                out += ["| Field | Type | Use | |", "|---|---|---|---|"]
                out += [f"| `{n}` | {escape(t)} | {u} | {escape(w)} |" for n, t, u, w in fields] + [""]
    return "\n".join(out)


def test_the_documentation_is_the_contract(fake_server):
    made = table(document(fake_server))
    text = DOC.read_text()
    before, rest = text.split(BEGIN)
    written, after = rest.split(END)
    if os.environ.get("API_DOC") == "write":
        DOC.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}")
        return
    assert written.strip() == made.strip(), "run the test with API_DOC=write"


def test_what_is_refused_or_without_effect_says_why(fake_server):
    for path, operations in document(fake_server)["paths"].items():
        for o in operations.values():
            body = o.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            for name, _, use, why in rows(body):
                assert use == "honoured" or why, f"{path}: '{name}' is {use} and does not say why"


def test_it_is_an_openapi_document(fake_server):
    d = document(fake_server)
    assert d["openapi"] == "3.1.0" and d["info"]["title"] == "Hearth"
    assert json.dumps(d)  # no NaN
    for path, operations in d["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        for o in operations.values():
            assert [p["name"] for p in o.get("parameters", [])] == names
            assert "200" in o["responses"]
