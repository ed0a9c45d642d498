"""Makes small random templates, most of which mean something: expressions by kind of value, and
statements around them.

`set` never takes the name of a given variable: see the note on names in src/text/jinja.h."""
import random

VARS = {
    "s": "Hello, Wörld! It's \"x\"", "e": "", "t": "  pad\tded \n", "u": "ÀßİǅΣΑΣ ﬁ \U0001f468\u200d\U0001f469",
    "m": "line 1\nline 2\r\n\nlast", "w": "one two-three (four) [five] <six>", "num": " 42 ",
    "i": 7, "j": -3, "z": 0, "big": 9007199254740993, "f": 2.5, "g": -0.125, "h": 1e22, "k": 100.0,
    "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "B", "a"], "le": [], "lm": [1, "a", None, 2.5, [1], True],
    "ll": [[1, 2], [3, 4], [5]], "d": {"b": 1, "a": 2, "C": 3}, "de": {},
    "dn": {"x": {"y": [1, {"z": "deep"}]}, "items": 5, "k v": "sp", "n": None},
    "users": [{"name": "Bo", "age": 30, "ok": True}, {"name": "al", "age": 25, "ok": False},
              {"name": "Cy", "age": 30}],
    "html": "<a href='x'>&amp;</a>",
}
STR = ["s", "e", "t", "u", "m", "w", "num", "html"]
INT = ["i", "j", "z", "big"]
FLT = ["f", "g", "h", "k"]
LST = ["l", "ls", "le", "lm", "ll", "users"]
DCT = ["d", "de", "dn"]
LITERAL_STR = ["'a'", "''", "' '", "'l'", "'ß'", "'%s'", "'x y'", "'\\n'", "'é\\t\"'", "'o,'",
               "\"it's\"", "'\\u00e9\\x41'", "'aXbXc'", "'1.5'", "'0x1f'", "'-12'", "'{}'", "'A'"]
TESTS0 = ["defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number",
          "string", "mapping", "iterable", "sequence", "callable", "escaped", "lower", "upper",
          "odd", "even", "filter", "test"]
TESTS1 = ["divisibleby", "in", "sameas", "eq", "ne", "lt", "le", "gt", "ge", "equalto", "lessthan",
          "greaterthan"]


SEPARATORS = "separators=[',', ':']"
ROUND = ["2", "1", "0", "-1", "1, 'ceil'", "1, 'floor'", "method='floor'", "3"]
WHERE = ["", ", 'defined'", ", 'eq', true"]
DICTSORT = ["", "(true)", "(by='value')", "(reverse=true)"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def str(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.15:
            return self.pick(r.choice(STR), r.choice(LITERAL_STR))
        a = n - 1
        return self.pick(
            lambda: f"({self.str(a)} + {self.str(a)})",
            lambda: f"({self.any(a)} ~ {self.any(a)})",
            lambda: f"{self.str(a)} * {r.randint(-1, 3)}" if r.random() < .5 else f"({self.str(a)} * {self.int(0)} if {self.int(0)} < 9 else '')",
            lambda: f"({self.str(a)})[{self.slice()}]",
            lambda: f"({self.str(a)})[{self.int(0)}]",
            lambda: f"({self.str(a)}).{self.pick('upper', 'lower', 'strip', 'title', 'capitalize', 'swapcase', 'casefold', 'lstrip', 'rstrip', 'expandtabs')}()",
            lambda: f"({self.str(a)}).{self.pick('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({self.str(0)})",
            lambda: f"({self.str(a)}).replace({self.str(0)}, {self.str(0)}{self.pick('', ', 1', ', 0', ', -1')})",
            lambda: f"({self.str(a)}).{self.pick('center', 'ljust', 'rjust')}({r.randint(-1, 30)}{self.pick('', ', chr', ', 0|string', ', nil')[:0]})",
            lambda: f"({self.str(a)}).zfill({r.randint(0, 30)})",
            lambda: f"({self.str(0)}).join({self.list(a)} | map('string'))",
            lambda: f"({self.any(a)} | {self.pick('string', 'upper', 'lower', 'title', 'capitalize', 'trim', 'escape', 'e', 'urlencode', 'tojson')})",
            lambda: f"({self.str(a)} | {self.pick('reverse', 'indent', 'indent(2)', 'indent(3, true)', 'indent(1, false, true)', 'indent(blank=true)', 'truncate(9)', 'truncate(5, true)', 'truncate(8, false, chr)'[:12], 'center(20)', 'forceescape', 'safe', 'string')})",
            lambda: f"({self.any(a)} | replace({self.str(0)}, {self.str(0)}{self.pick('', ', 1', ', count=2')}))",
            lambda: f"({self.list(a)} | join{self.pick('', '()', f'({self.str(0)})', f'(d={self.str(0)})')})",
            lambda: f"(users | join(',', attribute={self.pick('%s', '%s', '%s')[:0]}'{self.pick('name', 'age', 'ok', 'name.0')}'))",
            lambda: f"({self.any(a)} | tojson({self.pick('', 'indent=2', 'indent=0', 'ensure_ascii=true', 'sort_keys=true', SEPARATORS, 'indent=1, sort_keys=true', 'false, 4')}))",
            lambda: f"('{self.pick('%s', '%r', '%10s|', '%-10s|', '%.3s', '%a', '%%%s')}' % ({self.any(a)},))",
            lambda: f"('{self.pick('%d', '%5d', '%05d', '%-5d|', '%+d', '% d', '%x', '%#x', '%o', '%X', '%i', '%.3d', '%c')}' % {self.int(a)})",
            lambda: f"('{self.pick('%f', '%.2f', '%e', '%g', '%10.3f', '%-10.1f|', '%+.0f', '%G', '%#.3g', '%010.2f')}' % {self.number(a)})",
            lambda: f"('{self.pick('%s %s', '%s', '%(a)s', '%s %d', '100%')}' | format({self.any(a)}, {self.int(a)}))",
            lambda: f"'{self.pick('{}', '{0}', '{!r}', '{0!s:>12}', '{:<12}|', '{:^9}|', '{:*>9}', '{0[0]}', '{{}}{}', '{:>{1}}')}'.format({self.any(a)}, 8)",
            lambda: f"'{self.pick('{:d}', '{:5}', '{:05}', '{:+}', '{:,}', '{:_}', '{:x}', '{:#b}', '{:o}', '{:e}', '{:.2f}', '{:>8}', '{:010,}', '{:%}', '{:c}', '{:=+8}')}'.format({self.int(a)})",
            lambda: f"'{self.pick('{}', '{:.2f}', '{:8.1f}', '{:e}', '{:g}', '{:.3}', '{:+.1f}', '{:,.2f}', '{:%}', '{:.0f}', '{:08.2f}', '{:<8}|', '{:G}', '{:n}')}'.format({self.float(a)})",
            lambda: f"({self.number(a)} | {self.pick('string', 'filesizeformat', 'filesizeformat(true)')})",
            lambda: f"'%s' % {self.any(a)}",
            lambda: f"(dict({self.pick('a', 'b')}={self.any(a)}) | xmlattr)",
            lambda: f"({self.list(a)} | {self.pick('first', 'last')})",
        )()

    def int(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.2:
            return self.pick(r.choice(INT), str(r.randint(0, 20)), "-" + str(r.randint(1, 9)), "1_000")
        a = n - 1
        return self.pick(
            lambda: f"({self.int(a)} {self.pick('+', '-', '*')} {self.int(a)})",
            lambda: f"({self.int(a)} {self.pick('//', '%')} {self.int(a)})",
            lambda: f"({self.pick('i', 'j', '2')} ** {r.randint(0, 9)})",
            lambda: f"(-{self.int(a)})",
            lambda: f"({self.any(a)} | {self.pick('length', 'count', 'wordcount', 'int', 'int(5)', 'abs')})",
            lambda: f"({self.str(a)} | int({r.randint(0, 9)}, {self.pick(10, 16, 0, 2, 8)}))",
            lambda: f"({self.list(a)} | {self.pick('length', 'sum', 'max', 'min')})",
            lambda: f"({self.str(a)}).{self.pick('find', 'rfind', 'count', 'index')}({self.str(0)}{self.pick('', ', 1', ', 1, -1', ', -3')})",
            lambda: f"({self.list(a)}).{self.pick('index', 'count')}({self.any(0)})",
            lambda: f"({self.number(a)} | round{self.pick('', '(0)', '(-1)', '(1)')} | int)",
            lambda: f"({self.bool(a)} + {self.int(a)})",
            lambda: f"({self.list(a)})[{self.int(0)}]",
            lambda: f"users[{r.randint(-3, 3)}].age",
            lambda: "users | sum(attribute='age')",
        )()

    def float(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.2:
            return self.pick(r.choice(FLT), "1.5", "0.1", "1e3", "2.5e-7", "1_0.5", "123456789.125")
        a = n - 1
        return self.pick(
            lambda: f"({self.number(a)} / {self.number(a)})",
            lambda: f"({self.float(a)} {self.pick('+', '-', '*', '//', '%')} {self.number(a)})",
            lambda: f"({self.any(a)} | float{self.pick('', '(1.5)')})",
            lambda: f"({self.number(a)} | round({r.choice(ROUND)}))",
            lambda: f"({self.pick('2', '1.5', 'f')} ** {self.pick('-1', '0.5', '-2', '3')})",
            lambda: f"({self.float(a)} | abs)",
        )()

    def number(self, n):
        return self.pick(self.int, self.float)(n)

    def bool(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.1:
            return self.pick("yes", "no", "true", "False")
        a = n - 1
        return self.pick(
            lambda: f"({self.any(a)} is {self.pick('', 'not ')}{r.choice(TESTS0)})",
            lambda: f"({self.any(a)} is {self.pick('', 'not ')}{r.choice(TESTS1)}({self.any(a)}))",
            lambda: f"({self.int(a)} is {r.choice(TESTS1[:1])} {r.randint(1, 5)})",
            lambda: f"({self.any(a)} {self.pick('==', '!=')} {self.any(a)})",
            lambda: f"({self.number(a)} {self.pick('<', '<=', '>', '>=', '==', '!=')} {self.number(a)})",
            lambda: f"({self.str(a)} {self.pick('<', '<=', '>', '>=')} {self.str(a)})",
            lambda: f"({self.number(0)} < {self.number(0)} <= {self.number(0)})",
            lambda: f"({self.any(a)} {self.pick('in', 'not in')} {self.any(a)})",
            lambda: f"(not {self.any(a)})",
            lambda: f"({self.str(a)}).{self.pick('isupper', 'islower', 'isalpha', 'isdigit', 'isalnum', 'isspace', 'istitle', 'isascii', 'isidentifier', 'isprintable', 'isnumeric', 'isdecimal')}()",
            lambda: f"({self.str(a)}).{self.pick('startswith', 'endswith')}({self.pick(self.str(0), '(' + self.str(0) + ', ' + self.str(0) + ')')})",
        )()

    def list(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.15:
            return self.pick(r.choice(LST), "[]", "[1, 2]", "()", "('a',)", "range(4)")
        a = n - 1
        return self.pick(
            lambda: "[" + ", ".join(self.any(a) for _ in range(r.randint(0, 3))) + "]",
            lambda: "(" + ", ".join(self.any(a) for _ in range(r.randint(2, 3))) + ")",
            lambda: f"({self.list(a)} + {self.list(a)})",
            lambda: f"({self.list(a)} * {r.randint(-1, 2)})",
            lambda: f"({self.list(a)})[{self.slice()}]",
            lambda: f"range({r.randint(-3, 6)}{self.pick('', f', {r.randint(-5, 9)}', f', {r.randint(-5, 9)}, {r.randint(-3, 3)}')})",
            lambda: f"({self.str(a)}).{self.pick('split()', 'rsplit()', 'splitlines()', 'splitlines(true)', 'split(none, 1)', 'rsplit(none, 1)', 'split(maxsplit=1)')}",
            lambda: f"({self.str(a)}).{self.pick('split', 'rsplit', 'partition', 'rpartition')}({self.str(0)})",
            lambda: f"({self.str(a)}).{self.pick('split', 'rsplit')}({self.str(0)}, {r.randint(-1, 2)})",
            lambda: f"({self.any(a)} | list)",
            lambda: f"({self.list(a)} | sort{self.pick('', '(true)', '(reverse=true)', '(case_sensitive=true)')})",
            lambda: f"(users | sort(attribute='{self.pick('name', 'age', 'ok', 'age,name')}'))",
            lambda: f"({self.list(a)} | {self.pick('reverse', 'unique', 'batch(2)', 'slice(2)', 'batch(3, 0)', 'slice(3, nil)', 'unique(true)', 'select', 'reject')} | list)",
            lambda: f"({self.list(a)} | {self.pick('select', 'reject')}('{self.pick('odd', 'string', 'number', 'none', 'in')}'{self.pick('', ', [1, 2]')}) | list)",
            lambda: f"(users | {self.pick('selectattr', 'rejectattr')}('{self.pick('ok', 'name', 'nope')}'{r.choice(WHERE)}) | list)",
            lambda: f"({self.list(a)} | map('{self.pick('string', 'upper', 'int', 'length', 'abs', 'tojson', 'default')}') | list)",
            lambda: f"(users | map(attribute='{self.pick('name', 'nope', 'ok')}'{self.pick('', ', default=9')}) | list)",
            lambda: f"(users | groupby('{self.pick('age', 'name', 'ok')}'{self.pick('', ', default=0')}))",
            lambda: f"({self.dict(a)} | dictsort{r.choice(DICTSORT)})",
            lambda: f"({self.dict(a)} | items | list)",
            lambda: f"{self.dict(a)}.{self.pick('items', 'keys', 'values')}(){self.pick('', ' | list')}",
        )()

    def dict(self, n):
        r = self.r
        if n <= 0 or r.random() < 0.4:
            return self.pick(r.choice(DCT), "{}", "{'q': 1}", "users[0]")
        a = n - 1
        return self.pick(
            lambda: "{" + ", ".join(f"{self.pick(self.str(0), self.int(0))}: {self.any(a)}" for _ in range(r.randint(0, 3))) + "}",
            lambda: f"dict(a={self.any(a)}, b={self.any(a)})",
            lambda: f"dict({self.dict(a)}, z={self.any(a)})",
            lambda: f"{self.dict(a)}.copy()",
        )()

    def slice(self):
        r = self.r
        part = lambda: self.pick("", str(r.randint(-6, 9)), "i", "j")
        return self.pick(f"{part()}:{part()}", f"{part()}:{part()}:{self.pick('', '1', '-1', '2', '-2')}")

    def any(self, n):
        r = self.r
        if n > 0 and r.random() < 0.2:
            a = n - 1
            return self.pick(
                lambda: f"({self.any(a)} if {self.bool(a)} else {self.any(a)})",
                lambda: f"({self.any(a)} if {self.bool(a)})",
                lambda: f"({self.any(a)} {self.pick('and', 'or')} {self.any(a)})",
                lambda: f"({self.any(a)} | default({self.any(a)}{self.pick('', ', true')}))",
                lambda: f"{self.dict(a)}.get({self.str(0)}{self.pick('', ', 5')})",
                lambda: f"{self.dict(a)}[{self.str(0)}]",
                lambda: "dn" + self.pick(".x.y[1].z", "['items']", ".items()|length", ".nope", "['k v']", ".x['y'][0]", ".n"),
                lambda: self.pick("nope", "nope.x", "nope['x']", "nil", "namespace(a=1)", "nope()"),
                lambda: f"({self.list(a)} | {self.pick('first', 'last', 'max', 'min', 'sum')})",
            )()
        return self.pick(self.str, self.str, self.int, self.float, self.bool, self.list, self.dict)(n)

    def statement(self, n):
        r = self.r
        a = n - 1
        dash = lambda: self.pick("", "", "-", "+")
        sp = lambda: self.pick("", " ", "\n", "\n  ", " \t", "text ", "\n\n ", "é\n")
        if n <= 0:
            return self.pick("{{" + self.pick("", "-") + f" {self.any(2)} " + self.pick("", "-") + "}}", "text", "\n",
                             f"{{#{dash()} comment {dash()}#}}")

        def tag(body):
            return f"{sp()}{{%{dash()} {body} {dash()}%}}{sp()}"

        inner = lambda: "".join(self.statement(a) for _ in range(r.randint(1, 2)))
        return self.pick(
            lambda: tag(f"if {self.any(2)}") + inner() + tag(f"elif {self.bool(2)}") + inner() + tag("else") + inner() + tag("endif"),
            lambda: tag(f"if {self.bool(2)}") + inner() + tag("endif"),
            lambda: tag(f"for q in {self.list(2)}") + "{{ q }}{{ loop.index }}" + inner() + tag("endfor"),
            lambda: tag(f"for q in {self.any(2)}{self.pick('', ' if q')}") + self.pick(
                "{{ loop.revindex }}/{{ loop.length }}{{ loop.last }}", "{{ loop.previtem }}<{{ loop.nextitem }}", "{{ loop.cycle(1, 2) }}{{ loop.changed(q) }}", "{{ loop }}{{ loop.first }}{{ loop.depth }}") + tag("else") + "none" + tag("endfor"),
            lambda: tag(f"for q, v in {self.dict(2)}.items()") + "{{ q }}={{ v }};" + tag("endfor"),
            lambda: tag(f"for q in {self.list(1)}") + tag(f"if {self.bool(1)}") + tag(self.pick("break", "continue")) + tag("endif") + "{{ q }}" + tag("endfor"),
            lambda: tag(f"set {self.pick('x', 'new', 'x')} = {self.any(3)}") + "{{ x }}{{ s }}" + inner(),
            lambda: tag(f"set x, y = {self.any(1)}, {self.any(2)}") + "{{ x }}{{ y }}",
            lambda: tag("set x") + inner() + tag("endset") + "{{ x | length }}{{ x }}",
            lambda: tag(f"set x | {self.pick('upper', 'trim', 'replace(1, 2)', 'indent')}") + inner() + tag("endset") + "{{ x }}",
            lambda: "{% set ns = namespace(n=0, s='') %}" + tag(f"for q in {self.list(1)}") + "{% set ns.n = ns.n + 1 %}{% set ns.s = ns.s ~ q %}" + inner() + tag("endfor") + "{{ ns.n }}{{ ns.s }}{{ ns }}",
            lambda: tag(f"macro mc(a, b={self.any(1)})") + "{{ a }}|{{ b }}" + self.pick("", "{{ varargs }}", "{{ kwargs }}", "{{ caller() }}", "{{ i }}") + inner() + tag("endmacro") + "{{ mc(" + self.pick("", "1", "1, 2", "1, 2, 3", "b=3", "a=1, b=2, c=3", "*[1, 2]", "**{'a': 5}") + ") }}",
            lambda: "{% macro mc(a) %}<{{ caller(a) }}>{% endmacro %}" + tag("call(v) mc(5)") + "{{ v }}" + inner() + tag("endcall"),
            lambda: tag(f"filter {self.pick('upper', 'trim', 'title | trim', 'length', 'tojson')}") + inner() + tag("endfilter"),
            lambda: tag(f"with x = {self.any(2)}, y = i") + "{{ x }}{{ y }}" + inner() + tag("endwith"),
            lambda: tag("raw") + "{{ x }} {% if %}" + tag("endraw"),
            lambda: tag("generation") + inner() + tag("endgeneration"),
            lambda: "{% set jn = joiner('|') %}{% for q in l %}{{ jn() }}{{ q }}{% endfor %}",
            lambda: "{% set cy = cycler(1, 'b') %}{{ cy.next() }}{{ cy.current }}{{ cy.next() }}{{ cy.next() }}",
            lambda: tag(f"for q in {self.list(1)} recursive") + "{{ q }}" + "{{ loop([1]) if loop.depth < 3 }}" + tag("endfor"),
            lambda: tag(f"for q in {self.any(1)}") + inner() + tag("endfor"),
        )()

    def template(self):
        if self.r.random() < 0.6:
            return "{{ " + self.any(self.r.randint(1, 4)) + " }}"
        return "".join(self.statement(self.r.randint(0, 3)) for _ in range(self.r.randint(1, 3)))
