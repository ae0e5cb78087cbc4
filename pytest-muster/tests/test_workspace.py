"""A workspace gives out what nobody else has, and takes it back."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from pytest_muster import NotReady
from pytest_muster.workspace.leases import read_leases, started
from pytest_muster.workspace.workspace import WorkspaceClosed, run_workspace, test_workspace, worker_workspace

SERVER = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('up', flush=True); s.accept()"
)

SUITE = """
import json
import socket
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(4))
def test_place(muster_worker, muster_test, number):
    process = muster_test.start(["sleep", "300"])
    seen = {
        "worker": [muster_worker.worker, muster_worker.slot, str(muster_worker.directory), muster_worker.port()],
        "test": [muster_test.test, muster_test.slot, str(muster_test.directory), muster_test.port()],
        "names": [muster_worker.name("table"), muster_test.name("table"), muster_test.name("table")],
        "pid": process.pid,
    }
    Path(f"seen-{number}.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def workspace(a_run):
    workspace = run_workspace(a_run())
    yield workspace
    workspace.close()


def kinds(run):
    return sorted(lease.kind for lease in read_leases(run.directory / "leases") if lease.kind != "owner")


def test_a_directory_has_room_for_a_socket_and_lets_others_through(workspace):
    directory = workspace.directory

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / ".s.PGSQL.5432-with-some-more-room-for-a-name"))
    assert len(os.fsencode(directory)) <= 60
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711
    assert workspace.directory == directory


def test_everything_is_leased_and_taken_back(a_run):
    run = a_run()
    workspace = run_workspace(run)
    process = workspace.start(["sleep", "300"])
    directory, port = workspace.directory, workspace.port()
    workspace.on_sweep(["true"])
    (directory / "deep").mkdir(mode=0o500)
    held = kinds(run)

    workspace.close()
    workspace.close()

    assert held == ["command", "directory", "process"]
    assert kinds(run) == []
    assert not directory.exists()
    assert started(process.pid) is None
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_place_that_has_ended_gives_nothing_out(a_run):
    workspace = test_workspace(a_run(), "test_a.py::test_b")
    workspace.close()

    for ask in (
        lambda: workspace.directory,
        workspace.port,
        lambda: workspace.start(["true"]),
        lambda: workspace.on_sweep(["true"]),
    ):
        with pytest.raises(WorkspaceClosed, match=r"the workspace of test_a\.py::test_b is closed"):
            ask()
    assert kinds(a_run()) == []


def test_a_start_that_is_interrupted_leaves_nothing(a_run, monkeypatch):
    children = []
    workspace = run_workspace(a_run())
    workspace.start(["true"])
    with monkeypatch.context() as patch:
        popen = subprocess.Popen

        def interrupted(*args, **options):
            children.append(popen(*args, **options))
            raise KeyboardInterrupt

        patch.setattr(subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workspace.start(["sleep", "300"])

    workspace.close()

    assert children[-1].wait(20) == -signal.SIGKILL
    assert kinds(a_run()) == []


def test_an_end_that_is_interrupted_can_be_repeated(a_run, monkeypatch):
    workspace = run_workspace(a_run())
    process = workspace.start(["sleep", "300"])
    directory = workspace.directory
    workspace.on_sweep(["true"])
    with monkeypatch.context() as patch:
        patch.setattr("pytest_muster.workspace.workspace.remove_tree", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            workspace.close()
    held = kinds(a_run())

    workspace.close()

    assert held == ["directory"]
    assert kinds(a_run()) == []
    assert not directory.exists()
    assert started(process.pid) is None


def _interrupt(path):
    raise KeyboardInterrupt


def test_a_directory_that_somebody_else_has_made_is_not_trusted(a_run, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"muster-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("pytest_muster.records.temporary.temp_root", lambda: tmp_path)
    workspace = run_workspace(a_run())

    with pytest.raises(PermissionError, match="is not a directory of this user; remove it"):
        _ = workspace.directory
    workspace.close()

    assert kinds(a_run()) == []


def test_commands_can_be_left_to_the_sweeper(a_run):
    workspace = run_workspace(a_run())
    workspace.on_sweep(["true"])

    workspace.close(keep_commands=True)

    assert kinds(a_run()) == ["command"]


def test_what_cannot_be_removed_stays_leased(a_run, monkeypatch):
    workspace = run_workspace(a_run())
    directory = workspace.directory
    monkeypatch.setattr("pytest_muster.workspace.workspace.remove_tree", _refuse)

    with pytest.raises(PermissionError, match="refused"):
        workspace.close()

    assert kinds(a_run()) == ["directory"]
    directory.rmdir()


def _refuse(path):
    raise PermissionError("refused")


def test_places_have_logs_of_their_own(a_run):
    run = a_run(worker="gw1")
    workspaces = [run_workspace(run), worker_workspace(run), test_workspace(run, "tests/test_a.py::test_b[x/y]")]

    logs = [
        workspace.start(["true"], log="server.log").log.relative_to(run.directory / "logs") for workspace in workspaces
    ]
    for workspace in workspaces:
        workspace.close()

    assert [str(log) for log in logs] == [
        "server.log",
        "gw1/server.log",
        "gw1/tests-test_a.py-test_b-x-y/server.log",
    ]


def test_waiting_ends_when_the_check_holds(workspace):
    port = workspace.port()
    workspace.start([sys.executable, "-c", SERVER, str(port)])

    workspace.wait_until(
        lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, description="it answers"
    )


def test_what_is_late_is_named_with_the_last_error_and_the_log(workspace):
    process = workspace.start(["sh", "-c", "echo starting; echo loading data; exec sleep 300"], log="database.log")
    workspace.wait_until(lambda: "loading" in process.tail())

    with pytest.raises(NotReady) as late:
        workspace.wait_until(lambda: {}["answer"], timeout=0.2, description="the database answers")

    assert str(late.value) == (
        "not ready within 0.2 s: the database answers; last error: KeyError: 'answer'\n"
        f"  {process.log} ends with\n    starting\n    loading data"
    )
    assert late.value.waited >= 0.2
    assert late.value.tails == {process.log: "starting\nloading data"}


def test_a_process_that_dies_ends_the_wait_at_once(workspace):
    process = workspace.start(["sh", "-c", "echo no disk; exit 4"])

    with pytest.raises(NotReady, match=r"(?s)the database answers: sh ended with exit code 4.*no disk"):
        workspace.wait_until(lambda: False, timeout=300, description="the database answers")
    assert process.died.returncode == 4


def test_a_process_whose_end_was_waited_for_is_no_news(workspace):
    workspace.start(["true"]).wait(20)

    workspace.wait_until(lambda: True)
    with pytest.raises(NotReady, match=r"within 0.1 s"):
        workspace.wait_until(lambda: False, timeout=0.1)


async def test_an_async_check_is_awaited_and_cut_short(workspace):
    import asyncio

    async def ready():
        return True

    async def hangs():
        await asyncio.sleep(300)

    await workspace.wait_until_async(ready)
    await workspace.wait_until_async(lambda: True)
    with pytest.raises(NotReady, match=r"within 0.1 s: it answers; last error: TimeoutError"):
        await workspace.wait_until_async(hangs, timeout=0.1, description="it answers")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_fixtures_give_a_place_to_each_worker_and_test(tmp_path, workers):
    (tmp_path / "test_place.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "-p", "no:cacheprovider", "--rootdir", ".", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    seen = [json.loads((tmp_path / f"seen-{number}.json").read_text()) for number in range(4)]

    names = [name for one in seen for name in one["names"]]
    workspaces = {one["worker"][2] for one in seen} | {one["test"][2] for one in seen}
    assert len(set(names)) == 12
    assert {one["worker"][0] for one in seen} <= ({"main"} if workers == "0" else {"gw0", "gw1"})
    assert len({one["test"][0] for one in seen}) == 4
    assert not any(os.path.exists(workspace) for workspace in workspaces)  # noqa: PTH110
    assert not any(started(one["pid"]) for one in seen)
    assert not list(tmp_path.glob(".muster/runs/*/leases"))
