"""Child processes live in a group of their own, and never longer than their owner."""

import os
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from pytest_muster.workspace import processes, reaper
from pytest_muster.workspace.leases import read_leases, started
from pytest_muster.workspace.reaper import MARK
from pytest_muster.workspace.workspace import run_workspace

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
FAMILY = (
    "import subprocess, sys, time; child = subprocess.Popen(['sleep', '300']); print(child.pid, flush=True); "
    "time.sleep({})"
)

OWNER = """
import os, signal, sys, time
from pathlib import Path
from pytest_muster.workspace.workspace import Workspace
from pytest_muster.records.journal import Journal
from pytest_muster.records.run import Role, Run

directory = Path(sys.argv[1])
run = Run(id="run-1", role=Role.ALONE, directory=directory, worker="main", slot=1, workers=1,
          journal=Journal(directory / "record.jsonl"))
workspace = Workspace(run)
"""


@pytest.fixture
def workspace(a_run):
    workspace = run_workspace(a_run())
    yield workspace
    workspace.close()


def an_owner(tmp_path, body):
    """A process that starts others; its first line of output is their process ids."""
    command = [sys.executable, "-c", OWNER + body, tmp_path / "run"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def is_gone(pid):
    return started(pid) is None


def test_processes_end_with_an_owner_that_is_killed(tmp_path, eventually):
    body = f"""
family = workspace.start([sys.executable, "-c", {FAMILY.format(300)!r}])
deaf = workspace.start([sys.executable, "-c", {DEAF!r}], log="deaf.log")
workspace.wait_until(lambda: family.tail() and deaf.tail())
print(family.pid, family.tail(), deaf.pid, flush=True)
time.sleep(300)
"""
    with an_owner(tmp_path, body) as owner:
        pids = [int(pid) for pid in owner.stdout.readline().split()]

        owner.kill()

        assert len(pids) == 3
        eventually(lambda: all(is_gone(pid) for pid in pids))


def test_a_child_that_the_owner_has_forked_keeps_nothing_alive(tmp_path, eventually):
    body = """
sleeper = workspace.start(["sleep", "300"])
fork = os.fork()
if fork:
    print(sleeper.pid, fork, flush=True)
time.sleep(300)
"""
    with an_owner(tmp_path, body) as owner:
        sleeper, fork = (int(pid) for pid in owner.stdout.readline().split())

        owner.kill()

        eventually(lambda: is_gone(sleeper))
        assert not is_gone(fork)
        os.kill(fork, signal.SIGKILL)


NOTE = "echo $$ > pid; exec sleep 300"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
AWAY = [
    pytest.param(["setsid", "sh", "-c", NOTE], id="orphan with the environment"),
    pytest.param(["setsid", "env", "-i", "sh", "-c", NOTE], id="orphan without"),
    pytest.param(["setsid", "--wait", "env", "-i", "sh", "-c", NOTE], id="child without"),
    pytest.param(
        ["setsid", "--wait", "env", "-i", "sh", "-c", f"({NOTE}) > /dev/null 2>&1"], id="child without, log elsewhere"
    ),
    pytest.param(
        ["sh", "-c", f"setsid sh -c '{NOTE}' > /dev/null 2>&1 & wait"], id="child of the group, log elsewhere"
    ),
    pytest.param(["su", "-", "-s", "/bin/sh", "-c", f"cd $OLDPWD; {NOTE}", "root"], id="su", marks=needs_root),
    pytest.param(["setpriv", "--reset-env", "--", "sh", "-c", f"cd $OLDPWD; {NOTE}"], id="setpriv", marks=needs_root),
]
"""Ways to be in a session of one's own, most of them without the mark in the environment."""


def into(directory, argv):
    """A login changes the directory, and tells of no other one."""
    return [part.replace("$OLDPWD", shlex.quote(str(directory))) for part in argv]


@pytest.mark.parametrize("argv", AWAY)
def test_a_child_in_a_session_of_its_own_ends_with_the_owner(argv, tmp_path, eventually):
    body = f"""
directory.mkdir(exist_ok=True)
workspace.start({into(tmp_path / "run", argv)!r}, cwd=directory)
while not (directory / "pid").exists() or not (directory / "pid").read_text():
    time.sleep(0.01)
print((directory / "pid").read_text(), flush=True)
time.sleep(300)
"""
    with an_owner(tmp_path, body) as owner:
        daemon = int(owner.stdout.readline())

        owner.kill()

        eventually(lambda: is_gone(daemon))


@pytest.mark.parametrize("argv", AWAY)
def test_a_child_in_a_session_of_its_own_ends_with_the_place(argv, a_run, tmp_path, eventually):
    workspace = run_workspace(a_run())
    workspace.start(into(tmp_path, argv), cwd=tmp_path)
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())

    workspace.close()

    eventually(lambda: is_gone(int((tmp_path / "pid").read_text())))


def test_what_another_process_has_started_is_left_alone_though_it_has_the_same_log(workspace, tmp_path, eventually):
    other = workspace.start(["setsid", "--wait", "env", "-i", "sh", "-c", NOTE], cwd=tmp_path, log="both.log")
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process = workspace.start(["sleep", "300"], log="both.log")

    process.stop()

    assert other.poll() is None
    assert not is_gone(int((tmp_path / "pid").read_text()))


def test_who_writes_to_a_log_outside_of_the_run_is_left_alone(workspace, tmp_path):
    log = tmp_path / "of-others.log"
    with log.open("w") as output, subprocess.Popen(["sleep", "300"], stdout=output) as stranger:
        workspace.start(["sleep", "300"], log=log).stop()

        assert stranger.poll() is None
        stranger.kill()


def test_a_process_outlives_the_thread_that_started_it(workspace):
    started = []
    thread = threading.Thread(target=lambda: started.append(workspace.start(["sleep", "300"])))

    thread.start()
    thread.join()

    with pytest.raises(TimeoutError, match="sleep 300"):
        started[0].wait(0.2)


def test_a_process_whose_start_was_not_reported_any_more_is_found(eventually):
    with subprocess.Popen([sys.executable, "-I", "-S", reaper.__file__, str(os.getpid())], stdin=-1) as watcher:
        watcher.stdin.write(b"expect run-1/unreported - 0\n")
        watcher.stdin.flush()
        with subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: "run-1/unreported"}) as child:
            watcher.stdin.close()

            eventually(lambda: child.poll() is not None)


def test_the_terminal_does_not_reach_a_process(workspace):
    process = workspace.start(["sleep", "300"])

    assert os.getsid(process.pid) == process.pid == process.pgid


def test_stop_asks_first(workspace):
    trap = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    process = workspace.start(["sh", "-c", trap])
    workspace.wait_until(process.tail)

    assert process.stop() == 3
    assert process.tail(1) == "asked"
    assert process.died is None


def test_stop_kills_who_does_not_listen(workspace):
    process = workspace.start([sys.executable, "-c", DEAF])
    workspace.wait_until(process.tail)

    assert process.stop(grace=0.05) == -signal.SIGKILL
    assert is_gone(process.pid)


def test_a_group_ends_with_its_first_process(workspace, eventually):
    process = workspace.start([sys.executable, "-c", FAMILY.format(0)])

    process.wait(20)

    eventually(lambda: is_gone(int(process.tail())))


def test_an_end_that_nobody_asked_for_is_noted(workspace):
    process = workspace.start(["sh", "-c", "exit 7"])

    process.wait(20)

    assert process.died.returncode == 7


def test_an_ended_process_has_no_lease(workspace, a_run):
    process = workspace.start(["sleep", "300"])
    held = read_leases(a_run().directory / "leases")
    process.kill()
    left = read_leases(a_run().directory / "leases")

    assert [lease.fields["argv"] for lease in held if lease.kind == "process"] == [["sleep", "300"]]
    assert [lease.kind for lease in left] == ["owner"]


def test_what_cannot_start_leaves_no_lease(workspace, a_run):
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        workspace.start(["no-such-command"])

    assert [lease.kind for lease in read_leases(a_run().directory / "leases")] == ["owner"]


def test_a_reaper_that_was_killed_is_replaced_and_knows_all(tmp_path, eventually):
    body = """
from pytest_muster.workspace import processes
first = workspace.start(["sleep", "300"])
reaper = processes.reaper_pid()
os.kill(reaper, signal.SIGKILL)
os.waitid(os.P_PID, reaper, os.WEXITED | os.WNOWAIT)
second = workspace.start(["sleep", "300"])
print(first.pid, second.pid, processes.reaper_pid() != reaper, flush=True)
time.sleep(300)
"""
    with an_owner(tmp_path, body) as owner:
        first, second, replaced = owner.stdout.readline().split()

        owner.kill()

        assert replaced == "True"
        eventually(lambda: is_gone(int(first)) and is_gone(int(second)))


def test_a_process_has_one_reaper(workspace):
    workspace.start(["sleep", "300"])
    first = processes.reaper_pid()
    workspace.start(["sleep", "300"])

    assert processes.reaper_pid() == first


@needs_root
def test_a_process_can_run_as_another_user_who_enters_the_directory(workspace):
    (workspace.directory / "note").write_text("hello")

    process = workspace.start(["sh", "-c", "id -un; cat note"], cwd=workspace.directory, user="nobody")
    process.wait(20)

    assert process.tail() == "nobody\nhello"
