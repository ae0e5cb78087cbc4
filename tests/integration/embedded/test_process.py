"""Child processes: readiness, logs, endings of every kind."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from kubernaut.embedded import process as module
from kubernaut.embedded import supervision
from kubernaut.embedded.errors import NoFreePort, ProcessFailed
from kubernaut.embedded.ports import free_port, open_on_free_port
from kubernaut.embedded.process import ProcessSpec, open_process
from kubernaut.embedded.supervision import supervise
from support.eventually import eventually
from support.processes import is_gone, script


async def at_once(process):
    return True


async def said_ready(process):
    return "ready" in process.log_tail().splitlines()


def a_spec(tmp_path, code, **changes):
    return ProcessSpec(
        **{"name": "helper", "command": script(code), "log": tmp_path / "helper.log", "ready": said_ready} | changes
    )


WAITING = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()"

# A process that owns a child, says its number, and can be killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from kubernaut.embedded import process
from kubernaut.embedded.process import ProcessSpec, open_process
from kubernaut.embedded.supervision import supervise
if {by_watcher}:
    process._has_parent_death_signal = lambda: False
async def ready(child):
    return "ready" in child.log_tail()
async def own():
    child = ProcessSpec(name="child", command=[sys.executable, "-c", {code!r}], log=Path({log!r}), ready=ready)
    async with open_process(child) as running:
        print(running.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(own())
"""


async def test_the_child_is_ready_inside_and_gone_after_the_block(tmp_path):
    async with open_process(a_spec(tmp_path, WAITING)) as child:
        pid = child.pid
        assert child.is_running
        assert "ready" in child.log_tail()

    assert is_gone(pid)


async def test_a_child_that_does_not_listen_is_killed(tmp_path):
    async with open_process(a_spec(tmp_path, STUBBORN, stop_timeout=0.05)) as child:
        pass

    assert is_gone(child.pid)
    assert await child.wait() == -signal.SIGKILL


async def test_a_child_that_ends_early_is_named_with_the_end_of_its_log(tmp_path):
    spec = a_spec(tmp_path, "import sys; print('no such table'); sys.exit(7)")

    with pytest.raises(ProcessFailed) as raised:
        async with open_process(spec):
            pass
    assert "helper exited before it was ready (exit code 7)" in str(raised.value)
    assert "no such table" in str(raised.value)
    assert str(spec.log) in str(raised.value)


async def test_a_child_that_is_never_ready_is_named_and_stopped(tmp_path):
    async def never(process):
        pids.append(process.pid)
        return False

    pids = []
    with pytest.raises(ProcessFailed, match=r"helper was not ready after 0\.1 s \(still running\)"):
        async with open_process(a_spec(tmp_path, WAITING, ready=never, ready_timeout=0.1)):
            pass
    assert is_gone(pids[0])


async def test_a_probe_that_hangs_is_bounded_too(tmp_path):
    async def hang(process):
        await asyncio.Event().wait()

    with pytest.raises(ProcessFailed, match="was not ready after"):
        async with open_process(a_spec(tmp_path, WAITING, ready=hang, ready_timeout=0.1)):
            pass


async def test_a_program_that_does_not_exist_is_an_error_of_ours(tmp_path):
    with pytest.raises(ProcessFailed, match="cannot start helper"):
        async with open_process(a_spec(tmp_path, "", command=["/nowhere/program"])):
            pass


async def test_a_death_is_noticed_and_named(tmp_path):
    async with open_process(a_spec(tmp_path, WAITING)) as child:
        os.kill(child.pid, signal.SIGKILL)

        with pytest.raises(ProcessFailed, match=r"helper exited unexpectedly \(killed by SIGKILL\)"):
            await child.raise_on_exit()


async def test_only_the_log_of_this_run_is_shown(tmp_path):
    async with open_process(a_spec(tmp_path, "print('first run');" + WAITING)):
        pass
    async with open_process(a_spec(tmp_path, WAITING)) as again:
        assert "first run" not in again.log_tail()

    assert "first run" in (tmp_path / "helper.log").read_text()


async def test_a_long_log_is_put_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_LOG_BYTES", 5)
    (tmp_path / "helper.log").write_text("old text")

    async with open_process(a_spec(tmp_path, WAITING)):
        pass

    assert (tmp_path / "helper.log.1").read_text() == "old text"


async def test_cancelling_the_start_leaves_no_child(tmp_path):
    async def never(process):
        pid.set_result(process.pid) if not pid.done() else None
        return False

    async def start():
        async with open_process(a_spec(tmp_path, WAITING, ready=never)):
            pass

    pid = asyncio.get_running_loop().create_future()
    starting = asyncio.ensure_future(start())
    child = await pid
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting

    assert is_gone(child)


@pytest.mark.parametrize("by_watcher", [False, True], ids=["by the kernel", "by a watcher"])
async def test_the_child_of_a_killed_owner_is_gone(tmp_path, by_watcher):
    # The child ignores what can be ignored.
    code = OWNER.format(code=STUBBORN, log=str(tmp_path / "log"), by_watcher=by_watcher)
    owner = await asyncio.create_subprocess_exec(*script(code), stdout=subprocess.PIPE)
    pid = int(await owner.stdout.readline())
    assert not is_gone(pid)
    owner.kill()
    await owner.communicate()

    await eventually(lambda: is_gone(pid), timeout=5)


async def test_the_watcher_ends_with_its_child(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_has_parent_death_signal", lambda: False)

    async with open_process(a_spec(tmp_path, WAITING)) as child:
        watcher = child._watcher.pid

    assert is_gone(watcher)


def test_a_wanted_port_is_given_if_it_is_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port([port]) != port

    assert free_port([port]) == port


# Exits without a word when it cannot listen, as nobody should have to read why.
LISTEN_ON = """
import os, socket, signal, sys
try:
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(sys.argv[1])))
        server.listen()
        print("ready", flush=True)
        signal.pause()
except OSError:
    os._exit(1)
"""


@pytest.fixture
def bind():
    """Binds a port, as another process would that comes first."""
    with contextlib.ExitStack() as stack:

        def bound(port):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", port))
            taken.listen()

        yield bound


async def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path, bind):
    tried = []

    def spec(port):
        if not tried:
            bind(port)
        tried.append(port)
        return a_spec(tmp_path, "", command=[sys.executable, "-c", LISTEN_ON, str(port)])

    async with open_on_free_port(spec) as (child, port):
        assert child.is_running
        assert port == tried[1]


async def test_ports_that_are_always_taken_end_the_attempts(tmp_path, bind):
    def spec(port):
        bind(port)
        return a_spec(tmp_path, "", command=[sys.executable, "-c", LISTEN_ON, str(port)])

    with pytest.raises(NoFreePort, match=r"5 ports of 127\.0\.0\.1 in a row were in use"):
        async with open_on_free_port(spec):
            pass


async def test_what_a_server_writes_does_not_count_as_a_port_in_use(tmp_path):
    starts = []

    def spec(port):
        starts.append(port)
        return a_spec(tmp_path, "import sys; sys.exit('bind: Address already in use')")

    with pytest.raises(ProcessFailed, match=r"exited before it was ready \(exit code 1\)"):
        async with open_on_free_port(spec):
            pass
    assert len(starts) == 1


async def test_a_supervised_process_is_started_again_whenever_it_exits(tmp_path):
    said: asyncio.Queue[str] = asyncio.Queue()
    async with open_process(a_spec(tmp_path, WAITING)) as child:
        supervisor = asyncio.create_task(supervise([child], said.put_nowait))
        pids = {child.pid}
        for _ in range(3):
            os.kill(child.pid, signal.SIGKILL)
            assert await said.get() == "helper exited (killed by SIGKILL), restarting it"
            assert (await said.get()).startswith("helper runs again after")
            pids.add(child.pid)
        supervisor.cancel()
        await asyncio.wait([supervisor])

    assert len(pids) == 4
    assert all(is_gone(pid) for pid in pids)


async def test_a_supervised_process_that_keeps_exiting_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "MIN_DELAY", 0.001)
    once = tmp_path / "once"
    code = f"import os, sys\nif os.path.exists({str(once)!r}): sys.exit('no room')\nopen({str(once)!r}, 'w')\n{WAITING}"
    async with open_process(a_spec(tmp_path, code)) as child:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ExceptionGroup) as raised:
            await supervise([child], lambda description: None)

    assert raised.group_contains(ProcessFailed, match=r"helper exited 6 times within 60 s(.|\n)*no room")
