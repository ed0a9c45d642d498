"""Random JSON schemas of the keywords that are enforced, and random instances of them."""
import string

PATTERNS = ["^[a-z]{2,5}$", "^[A-Z][a-z]*$", "^\\d{3}-\\d{4}$", "ab", "^x", "z$", "^(foo|bar)+$",
            "^[^\"\\\\]*$", "^a?b?c?$", "\\w+@\\w+", "^[\\u00e0-\\u00ff]+$", "^.{1,4}$"]
FORMATS = ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid",
           "uri"]
NAMES = ["id", "name", "value", "kind", "x_a", "x_b", "items", "a b", "q\"uote", "über", "n", "next"]
NAME_PATTERNS = ["^x_", "_b$", "^[a-z]+$", "^n"]


class Schemas:
    def __init__(self, rng):
        self.rng = rng
        self.defs = []

    def schema(self):
        """A whole document: some definitions that may use each other, and the root."""
        self.defs = [f"d{i}" for i in range(self.rng.choice([0, 0, 1, 2, 3]))]
        bodies = {name: self.any(2) for name in self.defs}
        root = self.any(4)
        if bodies:
            root = {**root, "$defs": bodies}
        return root

    def any(self, depth):
        r = self.rng
        simple = [self.string, self.string, self.number, self.integer, self.integer, self.enum,
                  self.const, self.boolean, self.null, self.types, self.anything]
        deep = [self.object, self.object, self.object, self.array, self.array, self.any_of,
                self.one_of, self.all_of, self.conditional, self.negated]
        if self.defs and r.random() < 0.15:
            return {"$ref": "#/$defs/" + r.choice(self.defs)}
        if self.defs and r.random() < 0.03:
            return {"$ref": "#"}
        return r.choice(deep if depth > 0 and r.random() < 0.6 else simple)(depth)

    def string(self, depth):
        r = self.rng
        s = {"type": "string"}
        kind = r.randrange(8)
        if kind in (0, 1, 6):
            s["minLength"] = r.randrange(4)
        if kind in (1, 2, 6):
            s["maxLength"] = r.randrange(3, 12)
        if kind in (3, 6):
            s["pattern"] = r.choice(PATTERNS)
        if kind == 4:
            s["format"] = r.choice(FORMATS)
            if r.random() < 0.3:
                s["maxLength"] = r.choice([60, 254, 2048])
        if kind == 7 and r.random() < 0.3:
            s["not"] = {"enum": ["a", "", "name"]}
        return s

    def bounds(self, values):
        r = self.rng
        s = {}
        low, high = sorted(r.sample(values, 2))
        if r.random() < 0.6:
            s[r.choice(["minimum", "minimum", "exclusiveMinimum"])] = low
        if r.random() < 0.6:
            s[r.choice(["maximum", "maximum", "exclusiveMaximum"])] = high
        return s

    def integer(self, depth):
        r = self.rng
        s = {"type": "integer", **self.bounds([-1000, -37, -5, -1, 0, 1, 2, 9, 10, 99, 12345, 10**12])}
        if r.random() < 0.2:
            s["multipleOf"] = r.choice([2, 3, 5, 7, 10, 12, 25, 64, 100])
        return s

    def number(self, depth):
        r = self.rng
        s = {"type": "number",
             **self.bounds([-1e6, -12.5, -1, -0.25, 0, 0.001, 0.1, 0.3, 1, 2.75, 100, 1234.5678])}
        if r.random() < 0.25:
            s["multipleOf"] = r.choice([0.5, 0.25, 0.1, 0.01, 2.5, 0.05, 0.125, 1.5, 3])
        return s

    def values(self):
        r = self.rng
        pool = ["red", "green", "a", "ab", "", "ü", 1, 2, -3.5, 0, True, None, [1, "x"], {"k": [1]},
                1e20, "with \"quote\""]
        return r.sample(pool, r.randrange(1, 6))

    def enum(self, depth):
        s = {"enum": self.values()}
        if self.rng.random() < 0.3:
            s["type"] = self.rng.choice(["string", "number", ["string", "null"]])
        return s

    def const(self, depth):
        return {"const": self.values()[0]}

    def boolean(self, depth):
        return {"type": "boolean"}

    def null(self, depth):
        return {"type": "null"}

    def anything(self, depth):
        return self.rng.choice([{}, True, {"description": "anything"}]) if depth < 4 else {}

    def types(self, depth):
        r = self.rng
        names = ["string", "integer", "number", "boolean", "null", "array", "object"]
        s = {"type": r.sample(names, r.randrange(1, 4))}
        if r.random() < 0.5:
            s["maxLength"] = 5
            s["minimum"] = 0
            s["maxItems"] = 2
        return s

    def object(self, depth):
        r = self.rng
        names = r.sample(NAMES, r.randrange(0, 6))
        s = {"type": "object", "properties": {n: self.any(depth - 1) for n in names}}
        s["required"] = [n for n in names if r.random() < 0.5]
        kind = r.random()
        if kind < 0.5:
            s["additionalProperties"] = False
        elif kind < 0.65:
            s["additionalProperties"] = self.any(min(depth - 1, 1))
        elif kind < 0.7:
            s["additionalProperties"] = True
        if r.random() < 0.15:
            patterns = r.sample(NAME_PATTERNS, r.randrange(1, 3))
            s["patternProperties"] = {p: self.any(min(depth - 1, 1)) for p in patterns}
        if r.random() < 0.08:
            s["propertyNames"] = r.choice([{"pattern": "^[a-z_]*$"}, {"maxLength": 4},
                                           {"enum": NAMES}])
        if r.random() < 0.15:
            s["minProperties"] = r.randrange(0, 3)
        if r.random() < 0.15:
            s["maxProperties"] = r.randrange(2, 6)
        if len(names) > 1 and r.random() < 0.08:
            s["dependentRequired"] = {names[0]: [names[1]]}
        return s

    def array(self, depth):
        r = self.rng
        s = {"type": "array"}
        if r.random() < 0.3:
            s["prefixItems"] = [self.any(depth - 1) for _ in range(r.randrange(1, 4))]
        if r.random() < 0.1 and "prefixItems" not in s:
            s["items"] = {"enum": self.values()}
            s["uniqueItems"] = True
        elif r.random() < 0.7:
            s["items"] = self.any(depth - 1)
        elif r.random() < 0.3:
            s["items"] = False
        if r.random() < 0.4:
            s["minItems"] = r.randrange(0, 4)
        if r.random() < 0.4:
            s["maxItems"] = r.randrange(2, 6)
        if r.random() < 0.2 and "uniqueItems" not in s:
            s["contains"] = r.choice([self.integer, self.enum, self.boolean, self.null, self.types])(0)
            if r.random() < 0.4:
                s["minContains"] = r.randrange(0, 3)
            if r.random() < 0.3:
                s["maxContains"] = r.randrange(1, 4)
        return s

    def any_of(self, depth):
        return {"anyOf": [self.any(depth - 1) for _ in range(self.rng.randrange(1, 4))]}

    def one_of(self, depth):
        r = self.rng
        kind = r.randrange(4)
        if kind == 0:
            return {"oneOf": [self.string(0), self.integer(0), self.object(depth - 1)]}
        if kind == 1:
            branches = []
            for name in r.sample(["circle", "square", "line"], r.randrange(2, 4)):
                one = self.object(depth - 1)
                one["properties"] = {"kind": {"const": name}, **{
                    k: v for k, v in one["properties"].items() if k != "kind"}}
                one["required"] = ["kind"] + [n for n in one["required"] if n != "kind"]
                one.pop("propertyNames", None)
                one.pop("patternProperties", None)
                one.pop("maxProperties", None)
                branches.append(one)
            return {"oneOf": branches}
        if kind == 2:
            return {"type": "object", "properties": {"a": self.any(0), "b": self.any(0)},
                    "additionalProperties": False,
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
        return {"oneOf": [{"type": "integer", "minimum": r.randrange(5)},
                          {"type": "number", "maximum": r.randrange(10)},
                          {"enum": ["a", "b"]}]}

    def all_of(self, depth):
        a, b = self.object(depth - 1), self.object(depth - 1)
        for one in (a, b):
            one.pop("additionalProperties", None)
        return self.rng.choice([{"allOf": [a, b]}, {**a, "allOf": [b]},
                                {"allOf": [self.integer(0), {"minimum": -50}, {"maximum": 500}]}])

    def conditional(self, depth):
        return {"type": "object",
                "properties": {"kind": {"enum": ["a", "b", "c"]}, "value": self.any(depth - 1),
                               "id": self.integer(0)},
                "required": ["kind"], "additionalProperties": False,
                "if": {"properties": {"kind": {"const": "a"}}, "required": ["kind"]},
                "then": {"required": ["value"]}, "else": {"required": ["id"]}}

    def negated(self, depth):
        return self.rng.choice([
            {"type": ["string", "integer", "null"], "not": {"type": "integer"}},
            {"enum": ["a", "b", "c"], "not": {"const": "b"}},
            {"type": "string", "not": {"pattern": "^a"}},
            {"type": "integer", "not": {"minimum": 7}},
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}},
             "not": {"required": ["a", "b"]}, "additionalProperties": False},
            {"not": {"anyOf": [{"type": "object"}, {"type": "array"}, {"type": "string"}]}},
        ])


class NoInstance(Exception):
    """This generator has none; the schema may well have one."""


class Instances:
    """Values that a schema allows, as a program would write them: members in the schema's order."""

    def __init__(self, rng, root):
        self.rng = rng
        self.root = root

    def of(self, schema, depth=6):
        if depth < 0:
            raise NoInstance
        if schema is True or schema == {}:
            return self.rng.choice([1, "text", None, [1, 2], {"a": True}])
        if schema is False or any(k in schema for k in ("not", "if", "allOf", "pattern",
                                                        "dependentRequired", "propertyNames",
                                                        "patternProperties", "contains")):
            raise NoInstance
        if "$ref" in schema:
            ref = schema["$ref"]
            return self.of(self.root if ref == "#" else self.root["$defs"][ref.rpartition("/")[2]],
                           depth - 1)
        if "enum" in schema or "const" in schema:
            value = self.rng.choice(schema["enum"]) if "enum" in schema else schema["const"]
            if isinstance(value, float) and value > 1e15:
                raise NoInstance
            return value
        for key in ("anyOf", "oneOf"):
            if key in schema:
                if "properties" in schema:
                    raise NoInstance
                return self.of(self.rng.choice(schema[key]), depth)
        kind = schema.get("type", "null")
        kind = self.rng.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, "_" + kind)(schema, depth)

    def between(self, low, high):
        if low > high:
            raise NoInstance
        return self.rng.randrange(low, high + 1)

    def _null(self, schema, depth):
        return None

    def _boolean(self, schema, depth):
        return self.rng.random() < 0.5

    def _string(self, schema, depth):
        if "format" in schema:
            return {"date": "2024-02-29", "time": "12:30:00Z", "date-time": "2023-12-31T23:59:59+01:00",
                    "duration": "P1DT2H", "email": "jo.doe@example.org", "hostname": "www.example.org",
                    "ipv4": "192.168.0.1", "ipv6": "2001:db8::8a2e:370:7334",
                    "uuid": "123e4567-e89b-12d3-a456-426614174000",
                    "uri": "https://example.org/a/b?c=d#e"}[schema["format"]]
        low = schema.get("minLength", 0)
        n = self.between(low, schema.get("maxLength", low + 10))
        chars = string.ascii_letters + " \"\\/\n\t\r\b\f\x01éß漢😀{}[]:,'"
        return "".join(self.rng.choice(chars) for _ in range(n))

    def _integer(self, schema, depth):
        low = max(schema.get("minimum", -10**6), schema.get("exclusiveMinimum", -10**6 - 1) + 1)
        high = min(schema.get("maximum", 10**6), schema.get("exclusiveMaximum", 10**6 + 1) - 1)
        low, high = int(low), int(high)
        if low > high:
            raise NoInstance
        step = schema.get("multipleOf", 1)
        return self.rng.randint(low, high) // step * step

    def _number(self, schema, depth):
        low = max(schema.get("minimum", -1e7), schema.get("exclusiveMinimum", -1e7))
        high = min(schema.get("maximum", 1e7), schema.get("exclusiveMaximum", 1e7))
        if low >= high:
            raise NoInstance
        if "multipleOf" in schema:
            raise NoInstance
        value = round(self.rng.uniform(low, high), self.rng.choice([0, 1, 3, 6]))
        value = value or 0.0  # not -0.0
        return int(value) if self.rng.random() < 0.2 else value

    def _array(self, schema, depth):
        prefix, rest = schema.get("prefixItems", []), schema.get("items", True)
        n = self.between(schema.get("minItems", 0), schema.get("maxItems", 5))
        if rest is False:
            n = min(n, len(prefix))
        return [self.of(prefix[i] if i < len(prefix) else rest, depth - 1) for i in range(n)]

    def _object(self, schema, depth):
        value = {}
        required = schema.get("required", [])
        for name, inner in schema.get("properties", {}).items():
            if name in required or (depth > 2 and self.rng.random() < 0.5):
                value[name] = self.of(inner, depth - 1)
        other = schema.get("additionalProperties", not schema.get("properties"))
        if other not in (False, None) and self.rng.random() < 0.7:
            for name in self.rng.sample(["other", "más", "tab\t", "", "na", "named"], 2):
                value[name] = self.of(other, depth - 1)
        # docs/structured-output.md: members without a name in the schema count as one
        if len(set(value) & set(schema.get("properties", {}))) + 1 < schema.get("minProperties", 0):
            raise NoInstance
        return value
