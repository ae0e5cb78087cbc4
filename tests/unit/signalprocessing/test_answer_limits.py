"""A decision is made whatever a policy answers."""

import asyncio

import pytest

from kubernaut.signalprocessing.policy.evaluation import MAX_RESULT_BYTES, MAX_RESULT_DEPTH
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.process import Limits
from kubernaut.signalprocessing.policy.sources import from_text
from kubernaut.signalprocessing.policy.text import MAX_CHARS, shown
from support.signals import a_context, a_signal

POLICY = """package signalprocessing

import rego.v1

answer := json.unmarshal(object.get(input.signal.labels, "answer", "\\"x\\""))

environment := {"environment": "Test", "source": answer}

severity := "info"

priority := {"priority": "P3", "policy_name": answer}

cluster := answer

labels := {"answer": answer}
"""


UNHURRIED = Limits(evaluation_timeout=10)
"""A busy machine must not turn a large answer into a slow one."""


def an_input(answer: str) -> PolicyInput:
    signal = a_signal("critical", labels={"answer": answer}).spec.signal
    return PolicyInput(signal=signal, context=a_context())


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [MAX_RESULT_DEPTH + 2, 100, 127])
async def test_answer_that_nests_deep_is_a_failed_rule(depth: int):
    async with open_policy(from_text(POLICY), UNHURRIED) as policy:
        decided = await policy.decide(an_input(nested(depth)))

    assert {failure.rule for failure in decided.failures} == {"environment", "priority", "labels", "cluster"}
    assert f"nests deeper than {MAX_RESULT_DEPTH}" in decided.failures[0].message
    assert decided.severity == "info"


@pytest.mark.parametrize("depth", [500, 988, 1_000, 3_000])
async def test_answer_nested_by_the_policy_itself_stops_nobody(depth: int):
    """Decoding such an answer once failed in a way that left its signal waiting for ever."""
    levels = "\n".join(f"l{n} := [[[[[[[[l{n - 1}]]]]]]]]" for n in range(1, depth // 8 + 1))
    policy = POLICY.replace('{"answer": answer}', f'{{"deep": [x | answer == "trap"; x := l{depth // 8}]}}')
    async with open_policy(from_text(f"{policy}\nl0 := 1\n{levels}\n"), UNHURRIED) as live:
        decided = await asyncio.wait_for(asyncio.gather(*(live.decide(an_input('"trap"')) for _ in range(8))), 30)
        after = await live.decide(an_input('"fine"'))

    assert {failure.rule for decision in decided for failure in decision.failures} >= {"labels"}
    assert after.cluster == "fine"


async def test_answer_with_many_bytes_is_a_failed_rule():
    async with open_policy(from_text(POLICY), UNHURRIED) as policy:
        decided = await policy.decide(an_input('"' + "x" * 200_000 + '"'))

    assert f"at most {MAX_RESULT_BYTES}" in decided.failures[0].message
    assert all(len(failure.message) < 500 for failure in decided.failures)


async def test_long_text_is_cut_with_a_mark_and_nul_is_replaced():
    async with open_policy(from_text(POLICY), UNHURRIED) as policy:
        decided = await policy.decide(an_input('"' + "x" * 10_000 + '"'))
        with_nul = await policy.decide(an_input('"a\\u0000b"'))

    for text in (decided.environment_source, decided.policy_name, decided.cluster):
        assert (len(text), text[-1]) == (MAX_CHARS, "…")
    assert with_nul.policy_name == "a\ufffdb"
    assert with_nul.custom_labels == {"answer": ["ab"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 500, '"' + "x" * 80 + '…"'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({}, "an object"),
        ([], "an array"),
    ],
)
def test_invalid_value_in_a_message_is_short(value: object, expected: str):
    assert shown(value) == expected
