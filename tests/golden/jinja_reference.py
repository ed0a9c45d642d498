"""The reference for chat templates: Jinja2, set up as Hugging Face transformers does.

render_both() gives a list of jobs to `hearth render --batch` and to Jinja2.
"""
import datetime
import json
import subprocess

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = 1753000000  # strftime_now, for both


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: marks what the assistant said; changes nothing."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_support")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _support(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def strftime_now(fmt):
    return datetime.datetime.fromtimestamp(NOW).strftime(fmt)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


ENV = environment()
_compiled = {}


def reference(template, variables):
    """("ok", text), or ("error", why)."""
    try:
        if template not in _compiled:
            _compiled[template] = ENV.from_string(template)
        return "ok", _compiled[template].render(**variables)
    except RecursionError:
        return "error", "RecursionError"
    except Exception as e:  # whatever Python raises, the template fails
        return "error", f"{type(e).__name__}: {e}"


def hearth(hearth_bin, jobs, *options):
    """jobs: (template, variables). A list of ("ok", text) and ("error", why)."""
    lines = "".join(json.dumps({"template": t, "vars": v}) + "\n" for t, v in jobs)
    done = subprocess.run([hearth_bin, "render", "--batch", "--now", str(NOW), *options],
                          input=lines.encode(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == len(jobs)
    return [next(iter(a.items())) for a in answers]


def differences(hearth_bin, jobs):
    """(template, variables, reference, hearth) of all jobs that do not come out the same."""
    out = []
    for (t, v), got in zip(jobs, hearth(hearth_bin, jobs)):
        want = reference(t, v)
        if want[0] != got[0] or (want[0] == "ok" and want[1] != got[1]):
            out.append((t, v, want, got))
    return out
