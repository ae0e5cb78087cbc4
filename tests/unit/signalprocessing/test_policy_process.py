"""The process of a policy: its limits, how it ends, and what it cannot reach."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.process import Limits
from kubernaut.signalprocessing.policy.sources import builtin, from_text
from support.eventually import eventually
from support.signals import a_context, a_signal

HEADER = "package signalprocessing\n\nimport rego.v1\n\n"
REST = 'environment := {"environment": "Test", "source": "mine"}\npriority := {"priority": "P3"}\n'


def a_policy(severity: str):
    return from_text(HEADER + f"severity := {severity}\n" + REST)


def an_input(severity: str = "critical", **labels: str) -> PolicyInput:
    return PolicyInput(signal=a_signal(severity, labels=labels).spec.signal, context=a_context())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("severity := }", "policy.rego:5:13"),
        ("severity := foo", "policy.rego:5:13"),
        ("severity := nofunc(1)", "policy.rego:5:13"),
        ('severity := "info"\nseverity := "high"', "policy.rego:6:1"),
        ('severity := "info" { true }', "policy.rego:5:20"),
    ],
)
async def test_invalid_policy_is_rejected_with_line_and_column(text: str, place: str):
    with pytest.raises(PolicyError, match=f"^{place}: "):
        async with open_policy(from_text(HEADER + text + "\n" + REST)):
            pass


@pytest.mark.parametrize(
    "text", ["package elsewhere\n\nseverity := 1\n", HEADER + 'severity := "info"\n', "package signalprocessing\n"]
)
async def test_policy_without_required_rules_is_rejected(text: str):
    with pytest.raises(PolicyError, match="are undefined for every test signal"):
        async with open_policy(from_text(text)):
            pass


async def test_policy_that_never_ends_is_rejected_at_load():
    endless = '"info" if count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000)]) > 0'

    with pytest.raises(PolicyError, match="took more than"):
        async with open_policy(a_policy(endless), Limits(evaluation_timeout=0.05)):
            pass


async def test_evaluation_that_never_ends_fails_for_its_signal_and_no_other():
    endless = "count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000)]) > 0"
    source = a_policy(f'"high" if {{ input.signal.labels.trap; {endless} }} else := "info"')
    async with open_policy(source, Limits(evaluation_timeout=0.2)) as policy:
        found = await asyncio.gather(*(policy.decide(an_input(trap="yes") if n == 3 else an_input()) for n in range(8)))

    assert [decision.severity for decision in found] == ["info"] * 3 + ["unknown"] + ["info"] * 4
    failure = found[3].required_failure
    assert failure.rule == "severity"
    assert "policy.rego: evaluation took more than 0.2 s, in rule severity" in failure.message
    assert policy.process.restarts == 2  # the second evaluation names the rule


async def test_rule_that_is_slow_for_many_signals_is_named_once_and_not_evaluated_twice_each_time():
    endless = "count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000)]) > 0"
    source = a_policy(f'"high" if {{ input.signal.labels.trap; {endless} }} else := "info"')
    async with open_policy(source, Limits(evaluation_timeout=0.1)) as policy:
        found = [await policy.decide(an_input(trap="yes")) for _ in range(3)]

    assert policy.process.restarts <= 4  # the last one may not have begun yet
    assert "; the last one that did was in rule severity" in found[2].required_failure.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f(x) := f(x)", "policy.rego:8:1: rule f is recursive: f calls itself"),
        ("f(x) := g(x)\n\ng(x) := f(x)", "policy.rego:8:1: rule f is recursive: it calls g, and that f"),
        ("f(x) := data.signalprocessing.f(x)", "policy.rego:8:1: rule f is recursive: f calls itself"),
    ],
)
async def test_recursive_function_is_rejected_with_its_place(text: str, message: str):
    source = from_text(f"{a_policy('f(1)').files[0][1].rstrip()}\n\n{text}\n")
    line = source.files[0][1][: source.files[0][1].index(text)].count("\n") + 1

    with pytest.raises(PolicyError, match=re.escape(message.replace(":8:", f":{line}:"))):
        async with open_policy(source):
            pass


async def test_recursive_rule_is_rejected_with_its_place_and_name():
    with pytest.raises(PolicyError, match=r"policy\.rego:\d+:1: severity: recursion detected when evaluating rule"):
        async with open_policy(a_policy("severity")):
            pass


async def test_killed_process_is_restarted_and_every_request_answered():
    async with open_policy(builtin()) as policy:
        before = policy.process.pid
        os.kill(before, signal.SIGSTOP)  # it answers none of them
        pending = [asyncio.create_task(policy.decide(an_input())) for _ in range(20)]
        await asyncio.sleep(0)
        os.kill(before, signal.SIGKILL)

        found = await asyncio.gather(*pending)

        assert {decision.priority for decision in found} == {"P0"}
        assert not any(decision.failures for decision in found)
        assert policy.process.pid != before


async def test_cancelled_caller_leaves_the_others_in_order():
    async with open_policy(builtin()) as policy:
        pending = [asyncio.create_task(policy.decide(an_input(severity))) for severity in ("info", "high", "warning")]
        await asyncio.sleep(0)
        pending[1].cancel()

        assert [(await pending[0]).severity, (await pending[2]).severity] == ["info", "warning"]


@pytest.mark.requirement("BR-SP-102")
async def test_policy_sees_neither_our_environment_nor_the_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_OF_OURS", "hidden")
    async with open_policy(builtin()) as policy:
        environment = await asyncio.to_thread(_environment_of, policy.process.pid)

    assert "SECRET_OF_OURS" not in environment


def _environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


PARENT = """
import asyncio, sys
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.sources import builtin

async def main():
    async with open_policy(builtin()) as policy:
        print(policy.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_process_ends_when_its_parent_is_killed():
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()

    await eventually(lambda: not Path(f"/proc/{pid}").exists(), timeout=5)


async def test_memory_beyond_the_limit_fails_the_rule_and_not_the_controller():
    line = 'concat("", [s | some i in numbers.range(1, 900); s := input.signal.severity])'
    big = f'concat("", [{line} | some j in numbers.range(1, 900)])'
    greedy = f'"high" if {{ input.signal.labels.trap; count({big}) > 0 }} else := "info"'
    async with open_policy(a_policy(greedy), Limits(evaluation_timeout=10.0, max_memory=400 * 2**20)) as policy:
        trapped = await policy.decide(an_input("x" * 2000, trap="yes"))
        after = await policy.decide(an_input())

    assert trapped.severity == "unknown"
    assert trapped.required_failure is not None
    assert after.severity == "info"
