"""Fractions of more digits than a double has: from module to module, and not mistaken for texts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from kubernaut.signalprocessing.policy.builtins import results
from kubernaut.signalprocessing.policy.engines import Regorus
from kubernaut.signalprocessing.policy.protocol import RuleError

LIBRARY = """package lib
import rego.v1
ratio := 1 / 3
limits := {"low": 1 / 3, "high": 0.5}
is_high(x) if x > 0.2
shown(x) := sprintf("%v", [x])
"""


def answer(expression: str, document: dict[str, Any], imports: str = "") -> Any:
    engine = Regorus({})
    engine.add_module("lib.rego", LIBRARY)
    module = f"package kubernaut_entry\nimport rego.v1\n{imports}\nanswer := [q | q := {expression}]\n"
    engine.add_module("case.rego", module)
    (found,) = engine.evaluate(json.dumps(document), ["answer"])
    return found if isinstance(found, RuleError) else json.loads(found, parse_float=Decimal)


@pytest.mark.parametrize(
    ("expression", "imports", "expected"),
    [
        ("data.lib.ratio", "", Decimal("0.33333333333333333334")),
        ("data.lib.ratio > 0.3", "", True),
        ("data.lib.ratio < 0.3", "", False),
        ("lib.ratio >= input.least", "import data.lib", True),
        ("round(ratio * 100)", "import data.lib.ratio", 33),
        ("data.lib.limits.low < data.lib.limits.high", "", True),
        ("data.lib.limits[input.which] < 0.4", "", True),
        ("[data.lib.limits.low] < [data.lib.limits.high]", "", True),
        ("data.lib.limits < data.lib.ratio", "", False),
        ("max([v | some v in data.lib.limits])", "", Decimal("0.5")),
        ("type_name(data.lib.ratio)", "", "number"),
        ("data.lib.ratio == 1 / 3", "", True),
        ("data.lib.is_high(input.least)", "", True),
    ],
)
def test_fraction_of_another_module_is_a_number(expression: str, imports: str, expected: Any):
    assert answer(expression, {"least": 0.25, "which": "low"}, imports) == [expected]


@pytest.mark.parametrize(
    "expression", ["data.lib.is_high(1 / 3)", "data.lib.shown(1 / 3)", 'contains(data.lib.ratio, "3")']
)
def test_fraction_that_is_not_looked_for_fails_the_rule(expression: str):
    found = answer(expression, {})

    assert isinstance(found, RuleError)
    assert "`round` it first" in found.message


@pytest.mark.parametrize("text", ["\0", results.MARK[:-1], "\0" + "0" * 16 + ":0.5"], ids=["nul", "mark", "other mark"])
def test_text_of_an_input_is_no_fraction(text: str):
    assert answer("[is_string(input.text), is_number(input.text), input.text > 1 / 3]", {"text": text}) == [
        [True, False, True]
    ]
