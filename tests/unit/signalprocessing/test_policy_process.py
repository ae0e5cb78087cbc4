"""The process of a policy: its limits, its deaths, and what it cannot reach."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.facts import Facts
from kubernaut.signalprocessing.policy.live import Limits, open_policy
from kubernaut.signalprocessing.policy.sources import builtin, of_text
from support.eventually import eventually
from support.signals import a_context, a_signal

HEADER = "package signalprocessing\n\nimport rego.v1\n\n"
REST = 'environment := {"environment": "Test", "source": "mine"}\npriority := {"priority": "P3"}\n'


def a_policy(severity: str):
    return of_text(HEADER + f"severity := {severity}\n" + REST)


def facts(severity: str = "critical", **labels: str) -> Facts:
    return Facts(signal=a_signal(severity, labels=labels).spec.signal, context=a_context())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("severity := }", "policy.rego:5:13"),
        ("severity := foo", "policy.rego:5:13"),
        ("severity := nofunc(1)", "policy.rego:5:19"),
        ('severity := "info"\nseverity := "high"', "policy.rego:6:1"),
        ('severity := "info" { true }', "policy.rego:5:20"),
    ],
)
async def test_policy_that_cannot_work_is_refused_with_its_place(text: str, place: str):
    with pytest.raises(PolicyError, match=f"^{place}: "):
        async with open_policy(of_text(HEADER + text + "\n" + REST)):
            pass


@pytest.mark.parametrize(
    "text", ["package elsewhere\n\nseverity := 1\n", HEADER + 'severity := "info"\n', "package signalprocessing\n"]
)
async def test_policy_without_vital_rules_is_refused(text: str):
    with pytest.raises(PolicyError, match="answers any signal"):
        async with open_policy(of_text(text)):
            pass


async def test_policy_that_never_ends_is_refused_at_load():
    endless = '"info" if count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000)]) > 0'

    with pytest.raises(PolicyError, match="took more than"):
        async with open_policy(a_policy(endless), Limits(seconds=0.05)):
            pass


async def test_evaluation_that_never_ends_costs_its_signal_the_policy_and_no_other():
    endless = "count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000)]) > 0"
    source = a_policy(f'"high" if {{ input.signal.labels.trap; {endless} }} else := "info"')
    async with open_policy(source, Limits(seconds=0.2)) as policy:
        found = await asyncio.gather(*(policy.decide(facts(trap="yes") if n == 3 else facts()) for n in range(8)))

    assert [decision.severity for decision in found] == ["info"] * 3 + ["unknown"] + ["info"] * 4
    assert "took more than 0.2 s" in found[3].vital_failure.message
    assert policy.process.restarts == 1


async def test_killed_process_is_replaced_and_every_question_answered():
    async with open_policy(builtin()) as policy:
        before = policy.process.pid
        os.kill(before, signal.SIGSTOP)  # it answers none of them
        asked = [asyncio.create_task(policy.decide(facts())) for _ in range(20)]
        await asyncio.sleep(0)
        os.kill(before, signal.SIGKILL)

        found = await asyncio.gather(*asked)

        assert {decision.priority for decision in found} == {"P0"}
        assert not any(decision.failures for decision in found)
        assert policy.process.pid != before


async def test_caller_that_gives_up_leaves_the_others_in_order():
    async with open_policy(builtin()) as policy:
        asked = [asyncio.create_task(policy.decide(facts(severity))) for severity in ("info", "high", "warning")]
        await asyncio.sleep(0)
        asked[1].cancel()

        assert [(await asked[0]).severity, (await asked[2]).severity] == ["info", "warning"]


async def test_policy_sees_neither_our_environment_nor_the_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_OF_OURS", "hidden")
    async with open_policy(builtin()) as policy:
        environment = await asyncio.to_thread(_environment_of, policy.process.pid)

    assert "SECRET_OF_OURS" not in environment


def _environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


PARENT = """
import asyncio, sys
from kubernaut.signalprocessing.policy.live import Limits, open_policy
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
    async with open_policy(a_policy(greedy), Limits(seconds=10.0, memory_bytes=400 * 2**20)) as policy:
        trapped = await policy.decide(facts("x" * 2000, trap="yes"))
        after = await policy.decide(facts())

    assert trapped.severity == "unknown"
    assert trapped.vital_failure is not None
    assert after.severity == "info"
