"""The same answers as OPA, or none: its stored answers to expressions and policies, and what is refused at load.

`make opa-compare` made the answers, and compares others that nobody has stored.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from kubernaut.signalprocessing import default_policy
from kubernaut.signalprocessing.policy.analysis import analyse
from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.engines import Regorus
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.policy.rewrite import rewritten
from kubernaut.signalprocessing.policy.sources import from_text
from kubernaut.signalprocessing.policy.syntax import parse
from support.opa import FAILED, ask_engine, ask_engine_policy, difference, same, written_cases

STORED = Path(__file__).parent / "opa"
EXPRESSIONS = [
    row
    for name in ("written", "expressions")
    for row in json.loads((STORED / f"{name}.json").read_text(), parse_float=Decimal)
]
POLICIES = json.loads((STORED / "policies.json").read_text(), parse_float=Decimal)
INPUTS = json.loads((STORED / "inputs.json").read_text())
BUILTINS = json.loads((STORED / "builtins.json").read_text())
PARTS = 12
MAX_FAILED = 2
"""Of the answers to one policy; its rule says so, and falls back."""

POLICY = """package signalprocessing

import rego.v1

environment := {"environment": "Test", "source": "x"}

severity := "info"

priority := {"priority": "P3", "policy_name": "x"}

"""


def a_case(expression: str, document: dict[str, object]) -> tuple[str, dict[str, object]]:
    return expression, json.loads(json.dumps(document, default=float))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_answer_differs_from_opa_in_silence(part: int):
    rows = EXPRESSIONS[part::PARTS]

    found = ask_engine([a_case(expression, document) for expression, document, _ in rows])

    different = [
        (row, str(ours)) for row, ours in zip(rows, found, strict=True) if difference(row[2], ours) is not None
    ]
    assert different == []


def test_there_are_enough_expressions_and_most_have_an_answer():
    found = ask_engine([a_case(expression, document) for expression, document, _ in EXPRESSIONS[::PARTS]])

    assert len(EXPRESSIONS) >= 1_000
    assert sum(isinstance(answer, list) for answer in found) > 0.8 * len(found)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policy_answers_as_opa(name: str):
    found = ask_engine_policy(STORED / "policies" / name, INPUTS)

    different = [
        (number, rule, theirs[rule], ours[rule])
        for number, (theirs, ours) in enumerate(zip(POLICIES[name], found, strict=True))
        for rule in theirs
        if not same(theirs[rule], ours[rule]) and ours[rule] != FAILED
    ]
    failed = sum(
        ours[rule] == FAILED != theirs[rule]
        for theirs, ours in zip(POLICIES[name], found, strict=True)
        for rule in ours
    )
    assert different == []
    assert failed <= MAX_FAILED


def test_every_written_expression_has_opas_answer():
    written = json.loads((STORED / "written.json").read_text(), parse_float=Decimal)

    assert [a_case(*row[:2]) for row in written] == written_cases(STORED / "written.txt")


SETS_BESIDE_OBJECTS = (
    "[y | some y in {q | some q in input.mixed}]",
    "sort([q | some q in input.mixed])",
    "[min([q | some q in input.mixed]), max([[q] | some q in input.mixed])]",
    "[b | some q in input.mixed; some r in input.mixed; b := q < r]",
    "[k | some k, _ in {q: 1 | some q in input.mixed}]",
    "{[1, q] | some q in input.mixed}",
    '{{"a": q} | some q in input.mixed}',
    "object.keys({q: 1 | some q in input.mixed})",
    "union({{q | some q in input.mixed; is_set(q)}, {q | some q in input.mixed; is_object(q)}})",
    "{q | some q in input.mixed; is_set(q)} | {q | some q in input.mixed; is_object(q)}",
    "[{r | some r in q} | q := input.mixed]",
    "[q | some q in data.mixed.partial]",
)
"""Each sorts a set beside an object, and none says so by a literal."""


@pytest.mark.parametrize("expression", SETS_BESIDE_OBJECTS)
def test_sets_beside_objects_fail_their_rule_where_opa_orders_them_otherwise(expression: str):
    engine = Regorus({})
    values = 'values := [{"a": 1}, {1}]\npartial contains q if some q in values\n'
    engine.add_module("mixed.rego", f"package mixed\nimport rego.v1\n{values}")
    text = f"answer := {expression.replace('input.mixed', 'data.mixed.values')}"
    engine.add_module("p.rego", f"package kubernaut_entry\nimport rego.v1\n{text}\n")

    (answer,) = engine.evaluate("{}", ["answer"])

    assert isinstance(answer, RuleError)
    assert "sets and objects are compared here" in answer.message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{q | some q in [{1}, {2}, set()]}", [[], [1], [2]]),
        ('{q | some q in [{"n": {1}}, {"m": {"b": 1}}]}', [{"m": {"b": 1}}, {"n": [1]}]),
        ('[x | x := [q | q := [{"a": 1}, {1}]]]', [[[{"a": 1}, [1]]]]),
        ('count({q | some q in [{"n": "x", "tags": {"a"}}, {"n": "y", "tags": set()}]})', 2),
    ],
)
def test_sets_that_are_compared_with_sets_only_are_as_in_opa(expression: str, value: object):
    assert ask_engine([(expression, {})]) == [[value]]


def test_policy_without_sets_of_collections_runs_without_checks_of_order():
    text = Path(default_policy.__file__).with_name("policy.rego").read_text()
    module = analyse("policy.rego", text, parse("policy.rego", text))

    assert not [form for form in (False, True) if "ordered(" in rewritten(module, exact=form).text]


def test_every_builtin_of_opa_is_in_the_table():
    assert sorted(table.sources()) == BUILTINS


def test_conflicting_rules_fail_as_in_opa():
    found = ask_engine_policy(STORED / "policies" / "11-conflict.rego", INPUTS)

    assert found[2]["severity"] == FAILED


@pytest.mark.parametrize("name", [name for name in BUILTINS if not table.is_available(name)])
async def test_other_builtin_is_refused_at_load_with_its_place(name: str):
    if name.startswith("internal.") or name in ("assign", "eq"):
        pytest.skip("it cannot be written")
    with pytest.raises(PolicyError, match=r"policy\.rego:11:6: .* is not available") as caught:
        async with open_policy(from_text(POLICY + f"x := {name}(input.signal.name)\n")):
            pass

    assert (caught.value.file, caught.value.line) == ("policy.rego", 11)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("x := plus(1, 2)", "11:6", "write it as the operator \\+"),
        ("x := y if { lower(input.signal.name, y) }", "11:13", "takes 1 operands"),
        ("x := -input.a", "11:6", "write 0 - x"),
        (
            "x := time.now_ns()",
            "11:6",
            "time.now_ns is not available to policies: a decision depends on its input only",
        ),
        ('x := json.patch(input, [{"op": "remove", "path": "/signal"}])', "11:6", "json.patch is not available"),
        ("x := time.clock([1])", "11:6", "takes a time or an array of a time and a zone"),
        ("x := y if { y := input.a with lower as upper }", "11:", "parts of input and data"),
        ('x := sprintf("%v", [1.50])', "11:21", "without exponent and final zeros"),
        ("x := 12345678901234567890123", "11:6", "more digits"),
        ("lower(x) := x", "11:1", "must not have the name of the builtin lower"),
        ('x := [lower("ä"), nofunc(1)]', "11:19", "there is no such function"),
        ('x := {\n\t"b": nofunc(input.a),\n} if input.b', "12:7", "there is no such function"),
        ("net contains 1 if net.cidr_is_valid(input.a)", "11:19", "the rule net hides net.cidr_is_valid"),
        ('x := y if some {"kind": y} in input.a', "11:16", "exactly these keys in OPA"),
        ('x := 1 if some _, [{"kind": "a"}] in input.a', "11:20", "exactly these keys in OPA"),
        ('x := y if { {"kind": y} := input.a }', "11:13", "exactly these keys in OPA"),
        ('x := [y | {"kind": y} = input.a[_]]', "11:11", "exactly these keys in OPA"),
        ('x := y if { z := input.a; [{"kind": y}] = z }', "11:28", "exactly these keys in OPA"),
        ('f({"kind": y}) := y', "11:3", "exactly these keys in OPA"),
        ('x := 1 if walk(input.a, [_, {"kind": y}])', "11:29", "exactly these keys in OPA"),
        ("x := input.a if not input.b[_] == 1", "11:29", "var _ is unsafe in a negated expression"),
        ("x := 1 if not startswith(input.b[_].c, input.d)", "11:34", "var _ is unsafe in a negated expression"),
        ("x := {\n\tinput.b, `a\nb`} if input.b", "11:6", "make it a rule of its own"),
    ],
)
async def test_what_cannot_be_made_equal_is_refused_at_load(text: str, place: str, reason: str):
    with pytest.raises(PolicyError, match=f"^policy.rego:{place}.*{reason}"):
        async with open_policy(from_text(POLICY + text + "\n")):
            pass


@pytest.mark.parametrize(
    "text",
    [
        'x := y if { y = {"kind": input.a} }',
        'x := y if { {"kind": input.a} = y }',
        'x := 1 if not upper(input.b[_].c) == "A"',
        "x := 1 if not 1 in [y | y := input.b[_]]",
    ],
)
async def test_assignments_of_objects_and_what_opa_takes_out_of_negations_load(text: str):
    async with open_policy(from_text(POLICY + text + "\n")):
        pass


async def test_a_failure_in_a_head_of_several_lines_is_told_with_its_place():
    text = '\n\nvalues contains {\n\t"n": sprintf("%c", [input.n]) # a sign\n} if {\n\tinput.n\n}\n'
    engine = Regorus({})
    engine.add_module("p.rego", f"package kubernaut_entry{text}")

    (answer,) = engine.evaluate('{"n": 1}', ["values"])

    assert isinstance(answer, RuleError)
    assert (answer.file, answer.line, answer.column) == ("p.rego", 4, 14)


def test_a_table_of_one_long_line_beside_a_reference_is_no_longer_a_line_than_allowed():
    table = ", ".join(f'"n{number}": [input.n, "a"]' for number in range(900))
    engine = Regorus({})
    engine.add_module(
        "p.rego", "package kubernaut_entry\n\nvalues := {\n" + table.replace(", ", ",\n") + "\n}.n7[0] if input.n\n"
    )

    assert [*engine.evaluate('{"n": 1}', ["values"])] == [b"1"]
