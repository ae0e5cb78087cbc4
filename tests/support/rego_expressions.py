"""Rego expressions that compose every builtin of OPA with ordinary and odd values, from a seed."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from support.rego_values import (
    ARRAYS,
    BASE64S,
    CIDRS,
    DURATIONS,
    FORMATS,
    GLOB_TEXTS,
    GLOBS,
    HEXES,
    JSONS,
    LAYOUTS,
    NUMBER_STRINGS,
    NUMBERS,
    OBJECTS,
    OTHERS,
    QUERIES,
    REGEXES,
    REPLACEMENTS,
    SEMVERS,
    SETS,
    STRINGS,
    TIMES,
    UNITS,
    UUIDS,
)

_POOLS: dict[str, list[list[Any]]] = {
    "to_number": [NUMBER_STRINGS + OTHERS + [1, 1.5]],
    "format_int": [[*NUMBERS], [2, 8, 10, 16, 10, 16, 3, 36, 0]],
    "sprintf": [
        FORMATS,
        [[x] for x in (*NUMBERS, *STRINGS[:20], *OTHERS)]
        + [[1, 2], ["a", "b"], [], [[1, 2]], [{"a": 1}], ["x", 5], [1, "b", 2.5], [[]], [["a", True, None]]],
    ],
    "concat": [["", ",", "-", "日"], [["a", "b"], [], ["a"], ["a", 1], ["", ""], ["ä", " "]]],
    "split": [STRINGS, ["", ",", " ", "a", "-", "ab", "日"]],
    "substring": [STRINGS, [0, 1, 2, -1, 100, 5], [0, 1, 2, -1, -5, 100]],
    "indexof": [STRINGS, ["", "a", "b", "日", "本", "o", "x"]],
    "indexof_n": [STRINGS, ["", "a", "b", "日", "ab", "x"]],
    "strings.count": [STRINGS, ["", "a", "aa", "ab", "日", ","]],
    "strings.replace_n": [[{"a": "b"}, {"a": "b", "b": "c"}, {}, {"": "x"}, {"ab": "1", "a": "2"}], STRINGS],
    "strings.split_n": [STRINGS, ["", ",", "a"], [-1, 0, 1, 2, 5]],
    "strings.render_template": [["a{{.x}}", "{{", "x"], [{"x": 1}]],
    "replace": [STRINGS, ["", "a", "b", "日", "aa"], ["", "x", "日"]],
    "trim": [STRINGS, ["", " ", "a", "abc", "\t\n ", "日語"]],
    "trim_left": [STRINGS, ["", " ", "a", "abc", "日"]],
    "trim_right": [STRINGS, ["", " ", "a", "c", "語"]],
    "trim_prefix": [STRINGS, ["", "a", "ab", "日", "p"]],
    "trim_suffix": [STRINGS, ["", "c", "bc", "語", "1"]],
    "regex.match": [REGEXES, STRINGS],
    "re_match": [REGEXES, STRINGS],
    "regex.is_valid": [REGEXES],
    "regex.split": [REGEXES, STRINGS],
    "regex.replace": [STRINGS, REGEXES, REPLACEMENTS],
    "regex.find_n": [REGEXES, STRINGS, [-1, 0, 1, 2]],
    "regex.find_all_string_submatch_n": [REGEXES, STRINGS, [-1, 0, 1, 2]],
    "regex.template_match": [["a{b}c", "{.*}x", "urn:{[a-z]+}"], STRINGS, ["{"], ["}"]],
    "regex.globs_match": [["a.*", "b+", "[a-z]"], ["abc", "b.*", "[0-9]"]],
    "glob.match": [GLOBS, [None, [], ["."], ["/"], ["-"], [".", ":"], ["日"]], GLOB_TEXTS],
    "glob.quote_meta": [GLOBS],
    "net.cidr_contains": [CIDRS, CIDRS],
    "net.cidr_intersects": [CIDRS, CIDRS],
    "net.cidr_overlap": [CIDRS, CIDRS],
    "net.cidr_is_valid": [CIDRS],
    "net.cidr_expand": [["10.0.0.0/30", "10.0.0.1/32", "::1/127", "x", "10.0.0.0"]],
    "net.cidr_merge": [[["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/8", "10.1.0.0/16"], ["x"], []]],
    "net.cidr_contains_matches": [["10.0.0.0/8", ["10.0.0.0/8", "::/0"]], ["10.1.1.1", ["10.1.1.1", "::1"]]],
    "semver.compare": [SEMVERS, SEMVERS],
    "semver.is_valid": [[*SEMVERS, 1]],
    "units.parse": [UNITS],
    "units.parse_bytes": [UNITS],
    "json.unmarshal": [JSONS],
    "json.is_valid": [[*JSONS, 1]],
    "json.patch": [
        OBJECTS,
        [
            [{"op": "add", "path": "/x", "value": 1}],
            [{"op": "remove", "path": "/a"}],
            [{"op": "bad"}],
            [{"op": "replace", "path": "a", "value": 2}],
            [{"op": "test", "path": "/a", "value": 1}],
        ],
    ],
    "json.filter": [OBJECTS, [["a"], ["a/b"], [["a", "b"]], [], ["zz"], ["/a"]]],
    "json.remove": [OBJECTS, [["a"], ["a/b"], [["a", "b"]], [], ["zz"], ["/a"]]],
    "yaml.unmarshal": [["a: 1", "- 1", "{", "a: yes", ""]],
    "yaml.is_valid": [["a: 1", "{", 1]],
    "base64.decode": [BASE64S],
    "base64url.decode": [BASE64S],
    "base64.is_valid": [[*BASE64S, 1]],
    "hex.decode": [HEXES],
    "urlquery.decode": [QUERIES],
    "urlquery.encode": [STRINGS + QUERIES],
    "urlquery.decode_object": [QUERIES],
    "urlquery.encode_object": [[{"a": "1"}, {"a": ["1", "2"]}, {"b": "x y", "a": "ä"}, {}, {"a": 1}]],
    "time.parse_rfc3339_ns": [TIMES],
    "time.parse_ns": [LAYOUTS, TIMES],
    "time.parse_duration_ns": [DURATIONS],
    "time.format": [
        [
            0,
            1767225600000000000,
            1767225600123456789,
            -1,
            1.5,
            [1767225600000000000, "Europe/Berlin"],
            [1767225600123456789, "", "RFC1123"],
            [0, "UTC", "2006-01-02"],
            [1782000000000000000, "America/New_York", "RFC822"],
            [0, "Mars/Base"],
            9223372036854775807,
        ]
    ],
    "time.date": [[0, 1767225600000000000, [1767225600000000000, "America/New_York"], -1, [0, "x"], "a", 1.5]],
    "time.clock": [[0, 1767225600000000000, [1767225600000000000, "Asia/Kolkata"], -1, 1782037845000000000]],
    "time.weekday": [[0, 1767225600000000000, [1767225600000000000, "America/New_York"], -1]],
    "time.add_date": [
        [0, 1767225600000000000, 1709164800000000000, -1],
        [0, 1, -1, 300],
        [0, 1, 13, -1],
        [0, 1, 31, -1],
    ],
    "time.diff": [
        [0, 1767225600000000000, 1709164800000000000, [1767225600000000000, "UTC"]],
        [0, 1709251200000000000, 1767225600000000001, 1.5],
    ],
    "numbers.range": [[0, 1, 5, -2, 1.5], [0, 3, -3, 10, 2.5]],
    "numbers.range_step": [[0, 10, -5], [10, 0, 5], [1, 2, 3, 0, -1]],
    "uuid.parse": [UUIDS],
    "uri.parse": [["http://a.b/c?d#e", "x", "", "%zz"]],
    "uri.is_valid": [["http://a.b", "x", ""]],
    "object.get": [OBJECTS, ["a", "zz", ["a", "b"], ["a"], [], 1, ""], [None, 0, "d"]],
    "array.slice": [ARRAYS, [0, 1, -1, 5], [0, 2, -1, 9]],
    "graph.reachable": [OBJECTS, [["a"], [], ["zz"]]],
    "graph.reachable_paths": [OBJECTS, [["a"], [], ["zz"]]],
    "crypto.hmac.sha256": [STRINGS, STRINGS],
    "cast_string": [["a", 1]],
    "bits.lsh": [[0, 1, 5, -1, 1.5, 255], [0, 1, 8, -1, 40]],
    "bits.rsh": [[0, 1, 5, -1, 1.5, 255], [0, 1, 8, -1, 40]],
    "strings.any_prefix_match": [["abc", ["abc", "x"], ["", "a"], "日本"], ["a", ["b", "x"], [], "日"]],
    "strings.any_suffix_match": [["abc", ["abc", "x"], ["", "a"], "日本"], ["c", ["b", "x"], [], "本"]],
}

NOT_COMPARED = frozenset(
    {
        "http.send",
        "net.lookup_ip_addr",
        "opa.runtime",
        "rego.parse_module",
        "time.now_ns",
        "rand.intn",
        "uuid.rfc4122",
        "internal.print",
        "internal.member_2",
        "internal.member_3",
        "internal.template_string",
        "internal.test_case",
        "print",
        "trace",
        "assign",
        "eq",
        "rego.metadata.chain",
        "rego.metadata.rule",
        "walk",
    }
)
"""Builtins that depend on more than their operands, are no functions, or are the parser's own."""

_POOLS_ONLY = frozenset({"numbers.range", "numbers.range_step"})
"""Builtins of which other operands make lists that no memory holds, in OPA too."""

_CALCULATIONS = ("{a} / {b}", "{a} * {b}", "{a} + {b}", "{a} - {b}", "{a} / {b} * {c}", "{a} / {b} - {c} / {a}")
_USES = (
    *("{x}", "{x} < {y}", "{x} >= {n}", "{n} > {x}", "{x} == {y}", "[{x}, {y}] < [{x}]", '{{"r": {x}}}', "{x} % 3"),
    *('[{x} < "a", {x} < null, {x} > true]', "[[q] | q := {x}; q > 0.5]", "[q * 3 | q := {x}]", "{x} in [{y}, 1]"),
    *(
        "round({x})",
        "ceil({x})",
        "floor({x})",
        "abs({x})",
        "to_number({x})",
        "format_int({x}, 10)",
        "round({x} * 100) / 100",
    ),
    *("sum([{x}, {y}, {n}])", "product([{x}, {n}])", "product([{n}, {x}, {y}])", "max([{x}, {y}])", 'min(["a", {x}])'),
    *("sort([{x}, {y}, {n}, null])", "count([q | some q in [{x}, {y}]; q <= {n}])", "count({x})", "max({{{x}, {n}}})"),
    *(
        'sprintf("%v %.3f %d %e", [{x}, {y}, {x}, {y}])',
        'sprintf("%8.2f|%+v|%g|%s", [{x}, {y}, {x}, {y}])',
        "json.marshal({x})",
    ),
    *(
        "type_name({x})",
        "is_number({x})",
        "is_string({x})",
        "is_array({x})",
        'concat("", [{x}])',
        'startswith({x}, "a")',
    ),
    *(
        "lower({x})",
        'object.get({{"a": {x}}}, "a", 0)',
        "array.concat([{x}], [1])",
        "[{x}][0] + 1",
        '{{"a": {x}}} < {{"a": {y}}}',
    ),
    *(
        "[i | some i, q in [{x}, {y}]; q == {x}]",
        'regex.match(".", {x})',
        "[v | walk([{x}], [p, v])]",
        "units.parse({x})",
    ),
)
"""Uses of the results of calculations; most have more digits than a double."""

_OPERATORS = ("+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&", "|")


class Expressions:
    """Makes expressions from the declarations of `opa capabilities`; the same seed makes the same ones."""

    def __init__(self, builtins: list[dict[str, Any]], seed: int, refused: frozenset[str] = frozenset()) -> None:
        self._random = random.Random(seed)
        self._builtins = {each["name"]: each for each in builtins if each["name"] not in NOT_COMPARED}
        self._refused = refused
        self._input: dict[str, Any] = {}

    def make(self, per_builtin: int, operators: int, compositions: int) -> list[tuple[str, dict[str, Any]]]:
        """Expressions with their inputs: some of each builtin, of the operators, of calculations, and compositions."""
        usable = sorted(self._builtins.keys() - self._refused)
        found: dict[str, tuple[str, dict[str, Any]]] = {}

        def add(make: Callable[[], str]) -> None:
            self._input = {}
            expression = make()
            found[expression + json.dumps(self._input)] = (expression, self._input)

        for name in sorted(self._builtins):
            for _ in range(1 if name in self._refused else per_builtin):
                add(lambda name=name: self.call(name))
        for _ in range(operators):
            add(self.operation)
            add(self.calculation)
        for _ in range(compositions):
            add(lambda: self.call(self._random.choice(usable), depth=self._random.choice((1, 1, 2))))
        return [*found.values()]

    def call(self, name: str, depth: int = 0) -> str:
        declared = self._builtins[name]["decl"].get("args") or []
        pools = _POOLS.get(name, [])
        operands = []
        for place, argument in enumerate(declared):
            if name in _POOLS_ONLY:
                operands.append(self._operand(self._random.choice(pools[place])))
            elif depth and self._random.random() < 0.5:
                operands.append(self._nested(argument, depth - 1))
            elif place < len(pools) and self._random.random() < 0.93:
                operands.append(self._operand(self._random.choice(pools[place])))
            else:
                operands.append(self._operand_of(argument))
        return f"{name}({', '.join(operands)})"

    def calculation(self) -> str:
        """What people do with ratios: numbers that have no exact double."""
        places = {name: self._operand(self._number()) for name in "abcn"}
        x, y = (f"({self._random.choice(_CALCULATIONS)})".format(**places) for _ in range(2))
        return self._random.choice(_USES).format(x=x, y=y, n=places["n"])

    def _number(self) -> float:
        """Not 0: OPA writes a product with it as `-0` at times, and the engine never does, as the guide says."""
        number = self._random.choice((0.1, 3, 7, 1e9, self._random.randint(-20, 20), self._random.uniform(-50, 50)))
        return round(number, self._random.randint(1, 4)) or 0.5

    def operation(self, depth: int = 1) -> str:
        operator = self._random.choice(_OPERATORS)
        return f"({self._term(operator, depth)} {operator} {self._term(operator, depth)})"

    def _term(self, operator: str, depth: int) -> str:
        if operator in "&|" or (operator == "-" and self._random.random() < 0.2):
            return self._random.choice(SETS)
        if depth and self._random.random() < 0.3:
            return self.operation(depth - 1)
        odd = operator in ("<", "<=", ">", ">=", "==", "!=") and self._random.random() < 0.5
        values = STRINGS + ARRAYS + OBJECTS + OTHERS if odd or self._random.random() < 0.08 else NUMBERS
        return self._operand(self._random.choice(values))

    def _nested(self, argument: Mapping[str, Any], depth: int) -> str:
        wanted = argument.get("type")
        matching = [
            name
            for name, each in sorted(self._builtins.items())
            if name not in self._refused and (each["decl"].get("result") or {}).get("type") in (wanted, "any")
        ]
        if not matching or wanted not in ("string", "number", "boolean", "array", "object", "set"):
            return self._operand_of(argument)
        return self.call(self._random.choice(matching), depth)

    def _operand_of(self, argument: Mapping[str, Any]) -> str:
        kind = argument.get("type")
        if kind == "any" and argument.get("of"):
            return self._operand_of(self._random.choice(argument["of"]))
        if self._random.random() < 0.12 or kind in ("any", None):
            kind = self._random.choice(("number", "string", "array", "object", "set", "boolean", "null"))
        match kind:
            case "set":
                return self._random.choice(SETS)
            case "number":
                return self._operand(self._random.choice(NUMBERS))
            case "string":
                return self._operand(self._random.choice(STRINGS))
            case "array":
                return self._operand(self._random.choice(ARRAYS))
            case "object":
                return self._operand(self._random.choice(OBJECTS))
            case "boolean":
                return self._operand(self._random.choice((True, False)))
            case _:
                return "null"

    def _operand(self, value: Any) -> str:
        """A literal, or an input, whose type no type checker knows."""
        if self._random.random() < 0.35:
            return json.dumps(value, ensure_ascii=False)
        name = "abcdefghijklmnopqrstuvwxyz"[len(self._input) % 26]
        self._input[name] = value
        return f"input.{name}"
