"""What a killed run has left is cleaned up by the next, or by hand; what lives is left alone."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pytest_muster.cli import main
from pytest_muster.records.temporary import user_directory
from pytest_muster.workspace import sweep as sweep_module
from pytest_muster.workspace.leases import Kind, Leases, identity, read_leases, started
from pytest_muster.workspace.sweep import prune, sweep
from pytest_muster.workspace.workspace import Workspace

A_RUN = f"20260102T030405Z-{secrets.token_hex(3)}"
"""Its end names directories outside of the project, so that each worker has one of its own."""

KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_muster.workspace import processes
from pytest_muster.workspace.workspace import Workspace
from pytest_muster.records.journal import Journal
from pytest_muster.records.run import Role, Run

directory = Path(sys.argv[1])
run = Run(id=directory.name, role=Role.ALONE, directory=directory, worker="main", slot=1, workers=1,
          journal=Journal(directory / "record.jsonl"))
workspace = Workspace(run)
process = workspace.start(sys.argv[3:] or ["sleep", "300"])
workspace.on_sweep(["sh", "-c", "echo swept $MUSTER_RUN >> swept"])
workspace.on_sweep(["sh", "-c", sys.argv[2]])
print(process.pid, workspace.directory, flush=True)
os.kill(processes.reaper_pid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""

SUITE = """
def test_one():
    pass
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / ".muster" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_killed_run(project, *, id=A_RUN, command="true", process=()):
    """A run that was killed together with its reaper: the id of a process it left, and its directory."""
    argv = [sys.executable, "-c", KILLED, project / ".muster" / "runs" / id, command, *process]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, directory = done.stdout.split()
    return int(pid), Path(directory)


def test_a_killed_run_is_swept(project, capsys):
    pid, directory = a_killed_run(project)
    left = started(pid) is not None and directory.exists()

    code = main(["sweep"])

    run = A_RUN
    assert left
    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{run}: ended process {pid} (sleep 300)",
        f"{run}: ran sh -c true",
        f"{run}: ran sh -c echo swept $MUSTER_RUN >> swept",
        f"{run}: removed {directory}",
    ]
    assert started(pid) is None
    assert not directory.exists()
    assert (project / "swept").read_text() == f"swept {run}\n"
    assert not (project / ".muster" / "runs" / run / "leases").exists()


@pytest.mark.parametrize("output", ["", "> /dev/null 2>&1"], ids=["in its log", "elsewhere"])
def test_a_process_in_another_session_without_our_environment_is_swept(output, project, eventually):
    script = f"trap '' TERM; (echo $$ > pid; exec sleep 300) {output}"
    a_killed_run(project, process=["setsid", "--wait", "env", "-i", "sh", "-c", script])
    eventually(lambda: (project / "pid").exists() and (project / "pid").read_text().strip())

    code = main(["sweep"])

    assert code == 0
    assert started(int((project / "pid").read_text())) is None


def test_a_second_sweep_has_nothing_to_do(project, capsys):
    a_killed_run(project)
    main(["sweep"])
    capsys.readouterr()

    assert main(["sweep"]) == 0
    assert capsys.readouterr().out == "nothing to sweep\n"
    assert (project / "swept").read_text().count("swept") == 1


def test_a_command_that_fails_is_said_and_tried_again(project, capsys):
    a_killed_run(project, command="echo no such bucket; test -e cured")

    first = main(["sweep"])
    said = capsys.readouterr().out
    (project / "cured").touch()
    second = main(["sweep"])

    assert first == 1
    assert "failed: sh -c echo no such bucket; test -e cured: exit code 1: no such bucket" in said
    assert second == 0
    assert (project / "swept").read_text().count("swept") == 1


def test_a_command_that_hangs_is_cut_off(project, monkeypatch):
    monkeypatch.setattr(sweep_module, "_COMMAND_TIMEOUT", 0.2)
    leases = a_dead_owner(project, A_RUN)
    leases.acquire(Kind.COMMAND, argv=["sh", "-c", "echo $$ > pid; sleep 300; true"], cwd=str(project))
    forget_me(leases)

    done = sweep(project / ".muster")

    assert done.failed == 1
    assert "sleep 300; true: not done within 0.2 s; the next sweep tries again" in done.lines[0]
    assert started(int((project / "pid").read_text())) is None
    assert [lease.kind for lease in read_leases(leases.directory)] == [Kind.COMMAND]


def test_a_muster_directory_can_be_named(project, tmp_path, capsys):
    pid, _ = a_killed_run(project)
    (project / ".muster").rename(project / "elsewhere")

    assert main(["sweep", str(project / "elsewhere")]) == 0
    assert started(pid) is None


def test_two_sweeps_at_once_share_the_work(project):
    pids = [a_killed_run(project, id=f"20260102T03040{number}Z-{A_RUN[-6:]}")[0] for number in range(3)]

    code = "import sys; from pytest_muster.cli import main; sys.exit(main(['sweep']))"
    command = [sys.executable, "-c", code]
    sweepers = [subprocess.Popen(command, cwd=project, stdout=-1, text=True) for _ in range(3)]
    said = [line for sweeper in sweepers for line in sweeper.communicate(timeout=60)[0].splitlines()]

    assert [sweeper.returncode for sweeper in sweepers] == [0, 0, 0]
    assert sum("ended process" in line for line in said) == 3
    assert (project / "swept").read_text().count("swept") == 3
    assert not any(started(pid) for pid in pids)


def test_a_run_that_lives_is_left_alone(project, a_run, capsys):
    run = a_run()
    workspace = Workspace(run)
    process = workspace.start(["sleep", "300"])
    directory = workspace.directory

    assert main(["sweep"]) == 0
    assert process.poll() is None
    assert directory.exists()
    assert capsys.readouterr().out == "nothing to sweep\n"
    workspace.close()


def test_a_process_that_has_the_number_of_a_dead_one_is_left_alone(project):
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        leases = a_dead_owner(project, A_RUN)
        leases.acquire(Kind.PROCESS, argv=["sleep"], pid=stranger.pid, pgid=stranger.pid, start="1", mark="x/1")
        forget_me(leases)

        done = sweep(project / ".muster")

        assert stranger.poll() is None
        assert done.lines == []
        assert not leases.directory.exists()
        stranger.kill()


def test_a_process_whose_start_was_not_noted_any_more_is_found_by_its_mark(project):
    mark = f"{A_RUN}/unnoted"
    with subprocess.Popen(["sleep", "300"], env={**os.environ, "MUSTER_LEASE": mark}) as child:
        leases = a_dead_owner(project, A_RUN)
        leases.acquire(Kind.PROCESS, argv=["sleep", "300"], mark=mark)
        forget_me(leases)

        sweep(project / ".muster")

        assert child.wait(20) == -signal.SIGTERM


def test_only_directories_of_workspaces_are_removed(project, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    leases = a_dead_owner(project, A_RUN)
    leases.acquire(Kind.DIRECTORY, path=str(precious))
    leases.acquire(Kind.DIRECTORY, path=str(user_directory() / "ports"))
    forget_me(leases)

    done = sweep(project / ".muster")

    assert precious.exists()
    assert (user_directory()).exists()
    assert done.failed == 2
    assert f"{precious} is not a directory of a workspace" in done.lines[-1]


def test_a_run_of_another_host_is_left_alone(project):
    leases = a_dead_owner(project, A_RUN, host="elsewhere")
    leases.acquire(Kind.COMMAND, argv=["touch", "ran"], cwd=str(project))
    forget_me(leases)

    done = sweep(project / ".muster")

    assert not (project / "ran").exists()
    assert done.lines == [f"{A_RUN}: left alone, it belongs to the host or container elsewhere"]


def test_the_next_run_sweeps_and_says_so(project):
    pid, directory = a_killed_run(project)
    (project / "test_one.py").write_text(SUITE)

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_one.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout
    assert "muster: swept up after a dead run: 2 commands, 1 directory, 1 process\n" in done.stdout
    assert started(pid) is None
    assert not directory.exists()


@pytest.mark.parametrize("where", ["set-up", "teardown"])
def test_what_a_failed_set_up_or_teardown_leaves_is_cleaned_up_by_the_run(project, where):
    (project / "test_three.py").write_text(
        "import pytest_muster as muster\n\n"
        "@muster.shared\n"
        "def service(muster_run):\n"
        "    muster_run.on_sweep(['touch', 'cleaned-up'])\n"
        f"    assert {where == 'teardown'}\n"
        "    yield\n"
        "    assert False\n\n"
        "def test_it(service):\n"
        "    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_three.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    assert f"shared {where} of service" in done.stdout
    assert "ran touch cleaned-up\n" in done.stdout
    assert (project / "cleaned-up").exists()
    assert not list(project.glob(".muster/runs/*/leases"))


def test_a_worker_that_is_killed_is_swept_while_the_run_goes_on(project):
    (project / "test_two.py").write_text(
        "import os, signal\n"
        "from pathlib import Path\n\n"
        "def test_a_killed(muster_test):\n"
        "    Path('directory').write_text(str(muster_test.directory))\n"
        "    muster_test.on_sweep(['touch', 'ran'])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n\n"
        "def test_b_later(muster_test):\n"
        "    muster_test.wait_until(lambda: Path('ran').exists(), timeout=20)\n"
        "    muster_test.wait_until(lambda: not Path(Path('directory').read_text()).exists(), timeout=20)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command += ["--rootdir", ".", "test_two.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert not list(project.glob(".muster/runs/*/leases"))


def test_old_records_go_but_not_those_that_are_needed(project):
    runs = project / ".muster" / "runs"
    for day in range(1, 8):
        (runs / f"202601{day:02}T000000Z-abc123").mkdir()
    living = Leases.of(runs / "20260101T000000Z-abc123", worker="main", slot=1)
    living.own()
    unswept = a_dead_owner(project, "20260102T000000Z-abc123")
    unswept.acquire(Kind.COMMAND, argv=["false"])
    forget_me(unswept)
    for run in runs.iterdir():
        os.utime(run, (time.time() - 3600, time.time() - 3600))

    pruned = prune(project / ".muster", keep=3)

    assert pruned == 2
    assert sorted(run.name[6:8] for run in runs.iterdir()) == ["01", "02", "05", "06", "07"]


def a_dead_owner(project, id, **changes):
    """Leases of a run whose owner is gone; `forget_me` afterwards."""
    leases = Leases.of(project / ".muster" / "runs" / id, worker="main", slot=1)
    leases.directory.mkdir(parents=True)
    gone = replace(identity(os.getpid()), pid=1, start="0", **changes)
    owner = {"kind": "owner", "owner": asdict(gone), "worker": "main", "slot": 1}
    (leases.directory / "owner-1.json").write_text(json.dumps(owner))
    return leases


def forget_me(leases):
    """This process has made them, but is not the owner of whom they tell."""
    for lease in read_leases(leases.directory):
        if lease.kind is Kind.OWNER and lease.owner == os.getpid():
            lease.release()
