"""Cancelling the start of a policy leaves no process behind, whenever it comes."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from kubernaut.signalprocessing.config import ClassifierConfig
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy.live import open_live_policy, open_policy
from kubernaut.signalprocessing.policy.sources import builtin
from support.cancellation import MAIN, Cancellation, Moment, run_cancelled
from support.eventually import eventually

NewLoop = Callable[[], asyncio.AbstractEventLoop]
Program = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    return request.param


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def start_and_close() -> None:
    async with open_policy(builtin()):
        await asyncio.sleep(0)


async def restart_and_close() -> None:
    async with open_policy(builtin()) as policy:
        os.kill(policy.process.pid, signal.SIGKILL)
        await eventually(lambda: policy.process.restarts == 1)


def reload_and_close(directory: Path) -> Program:
    async def program() -> None:
        (directory / "policy.rego").write_text(POLICY)
        config = ClassifierConfig(policy_dir=directory)
        async with open_live_policy(config, PolicyMetrics(CollectorRegistry())) as live:
            (directory / "policy.rego").write_text(POLICY + "# changed\n")
            await live.reload()
            assert live.current.sources.files[0][1].endswith("# changed\n")

    return program


POLICY = """package signalprocessing

severity := "info"

priority := {"priority": "P3"}
"""


def distinct(total: int) -> list[int]:
    """The awaits of a start; of the smoke test, which waits at one line for each of its signals, the first and last."""
    return [*range(4), *range(total - 5, total)]


def leaked_processes(program: Program, cancellation: Cancellation | None, new_loop: NewLoop) -> set[int]:
    before = children()
    run_cancelled(program, cancellation, new_loop)
    gc.collect()  # a transport that was not closed warns here, which is an error
    return children() - before


@pytest.mark.parametrize("moment", Moment)
def test_cancelled_start_leaves_no_process(moment: Moment, new_loop: NewLoop):
    total = run_cancelled(start_and_close, None, new_loop)[MAIN]

    assert total > 40
    for number in distinct(total):
        assert not leaked_processes(start_and_close, Cancellation(MAIN, number, moment), new_loop), number


@pytest.mark.parametrize("moment", Moment)
def test_cancelled_restart_leaves_no_process(moment: Moment):
    new_loop = uvloop.new_event_loop  # that of the service
    total = run_cancelled(restart_and_close, None, new_loop)["policy-process"]

    for number in range(total):
        assert not leaked_processes(restart_and_close, Cancellation("policy-process", number, moment), new_loop), number


@pytest.mark.parametrize("moment", Moment)
def test_cancelled_reload_leaves_no_process(moment: Moment, tmp_path: Path):
    new_loop = uvloop.new_event_loop  # that of the service
    program = reload_and_close(tmp_path)
    awaits = run_cancelled(program, None, new_loop)
    first_version = awaits["policy-version"] // 2

    for number in distinct(awaits["policy-version"] - first_version):
        cancellation = Cancellation("policy-version", first_version + number, moment)
        assert not leaked_processes(program, cancellation, new_loop), number
