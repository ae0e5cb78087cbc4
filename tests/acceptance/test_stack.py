"""The whole system on one machine: it starts, survives kills, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.audit import open_client as open_store_client
from kubernaut.embedded.demo import scenario
from kubernaut.embedded.directory import DirectoryInUse
from kubernaut.embedded.errors import ProcessFailed
from kubernaut.embedded.stack import StackConfig, open_stack
from kubernaut.kube.client import ClientConfig, ListOptions, open_client
from support.eventually import eventually
from support.processes import descendants, is_gone, script

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]

OWNER = """
import asyncio, json, sys
from pathlib import Path
from kubernaut.embedded.stack import StackConfig, open_stack
async def own():
    async with open_stack(StackConfig(directory=Path(sys.argv[1])), lambda what: None) as stack:
        print(json.dumps({"webhook": stack.webhook, "kubeconfig": str(stack.kubeconfig),
                          "datastorage": stack.datastorage_url, "namespace": stack.namespace}), flush=True)
        await stack.raise_on_exit()
asyncio.run(own())
"""


@asynccontextmanager
async def owned_stack(directory):
    """A stack with an owner that can be killed: the process and where everything is."""
    owner = await asyncio.create_subprocess_exec(
        *script(OWNER), str(directory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        while not (line := await owner.stdout.readline()).startswith(b"{"):
            assert line, f"the stack did not start; see {directory}"
        yield owner, json.loads(line)
    finally:
        if owner.returncode is None:
            owner.terminate()
        await owner.communicate()


async def test_a_killed_owner_leaves_no_process_and_the_next_start_goes_on(own_directory):
    async with owned_stack(own_directory / "data") as (owner, first):
        await scenario.send(first["webhook"], scenario.payload(datetime.now(UTC)))
        await eventually(lambda: ended_signals(first), timeout=30)
        before = await ledger_length(first)
        processes = descendants(owner.pid)
        assert len(processes) > 6
        owner.kill()
        await owner.wait()

        await eventually(lambda: all(is_gone(pid) for pid in processes), timeout=5)

    async with owned_stack(own_directory / "data") as (owner, second):
        assert second == first
        assert len(await ended_signals(second)) == 6
        assert await ledger_length(second) >= before


async def test_two_stacks_run_side_by_side(own_directory):
    async with (
        open_stack(StackConfig(directory=own_directory / "one")) as one,
        open_stack(StackConfig(directory=own_directory / "two")) as two,
    ):
        await scenario.send(one.webhook, scenario.payload(datetime.now(UTC)))

        assert one.webhook != two.webhook
        assert len(await signals(one.kubeconfig, one.namespace)) == 6
        assert await signals(two.kubeconfig, two.namespace) == []


async def test_a_part_that_dies_ends_the_stack_and_is_named(own_directory):
    config = StackConfig(directory=own_directory / "data")
    with pytest.raises(ProcessFailed, match=r"DataStorage exited unexpectedly \(killed by SIGKILL\)"):
        async with open_stack(config) as stack:
            with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}"):
                async with open_stack(config):
                    pass
            victim = next(process for process in stack.processes if process.name == "DataStorage")
            os.kill(victim.pid, signal.SIGKILL)

            await stack.raise_on_exit()
    assert descendants(os.getpid()) & {process.pid for process in stack.processes} == set()


async def test_a_part_that_dies_is_restarted_and_everything_goes_on(own_directory):
    said: asyncio.Queue[str] = asyncio.Queue()
    async with open_stack(StackConfig(directory=own_directory / "data")) as stack:
        supervisor = asyncio.create_task(stack.supervise(said.put_nowait))
        for name in ("DataStorage", "PostgreSQL", "Valkey", "gateway"):
            victim = next(process for process in stack.processes if process.name == name)
            before = victim.pid
            os.kill(before, signal.SIGKILL)

            assert await said.get() == f"{name} exited (killed by SIGKILL), restarting it"
            assert (await said.get()).startswith(f"{name} runs again after")
            assert victim.pid != before
        await scenario.send(stack.webhook, scenario.payload(datetime.now(UTC)))

        where = {"kubeconfig": stack.kubeconfig, "namespace": stack.namespace, "datastorage": stack.datastorage_url}
        assert len(await eventually(lambda: ended_signals(where), timeout=30)) == 6
        await eventually(lambda: ledger_length(where), timeout=30)
        assert not supervisor.done()
        supervisor.cancel()
        await asyncio.wait([supervisor])


async def test_what_fails_because_a_part_has_died_is_told_as_that(own_directory):
    with pytest.raises(ProcessFailed, match="Valkey exited unexpectedly") as raised:
        async with open_stack(StackConfig(directory=own_directory / "data")) as stack:
            victim = next(process for process in stack.processes if process.name == "Valkey")
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
            raise ConnectionRefusedError("nobody answers")
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)


async def ended_signals(where):
    """The signals, once there are some and all have ended."""
    found = await signals(where["kubeconfig"], where["namespace"])
    return found if found and all(signal.status.phase and signal.status.phase.is_final for signal in found) else []


async def signals(kubeconfig, namespace):
    async with open_client(ClientConfig(kubeconfig=kubeconfig)) as client:
        return (await client.list(scenario.SIGNALS, ListOptions(namespace=namespace))).items


async def ledger_length(where):
    """The number of events of a ledger that verifies."""
    async with open_store_client(StoreConfig(url=where["datastorage"])) as store:
        verdict = await store.verify()
    assert verdict.is_valid, verdict
    return verdict.verified_events
