"""The integration suite with DataStorage in a container of its image, and what it says where there can be none."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_muster.records.temporary import user_directory
from pytest_muster.workspace import names
from support.containers import ROOT, built_image, skip_without_containers
from support.suite import container
from support.suite.polling import eventually

SPECS = ["tests/integration/signalprocessing/specs", "-k", "test_setup or processed_signal"]


def suite(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command, env = command_and_environment(folder, env)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=250, check=False)


def command_and_environment(folder: Path, env: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--muster-live=off", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBEBUILDER_"))}
    return [*command, f"--muster-directory={folder}", *SPECS], kept | env


def run_in(folder: Path) -> str:
    """The id of the newest run; empty if there is none yet."""
    return max((path.name for path in folder.glob("runs/*")), default="")


def containers_of(run: str) -> list[str]:
    """The containers of a run: those of runc, in whatever state, and their file systems."""
    known = json.loads(output("runc", "list", "--format=json")) or []
    mounted = json.loads(output("buildah", "containers", "--json") or "null") or []
    prefix = f"{container.NAME}-{name_of(run)}"
    return [
        each
        for each in [*(one["id"] for one in known), *(one["containername"] for one in mounted)]
        if each.startswith(prefix)
    ]


def name_of(run: str) -> str:
    """What the names of a run's things begin with."""
    return names.name("", run=run, worker="controller", test=None).partition("-")[0]


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def processes_of(run: str) -> list[int]:
    """Those that the run has started, and theirs; in a container too."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MUSTER_RUN") == run:
                found.append(process.pid)
    return found


def worker_pids(folder: Path) -> set[int]:
    return {int(file.read_text() or 0) for file in folder.glob("runs/*/workers/*.pid")}


def has_run_a_spec(run: str, folder: Path) -> bool:
    record = folder / "runs" / run / "record.jsonl"
    return record.exists() and '"type":"test"' in record.read_text()


@pytest.mark.timeout(560)
def test_the_specs_pass_on_a_container_which_is_gone_after(tmp_path):
    skip_without_containers()
    with built_image("datastorage") as image:
        env = {"ENGINE": "buildah", "REGISTRY": image.rpartition("/")[0]}
        changed = checkout_with_another_requirement(tmp_path / "changed")

        done = suite(tmp_path / "muster", **env, DATASTORAGE="container")
        _, of_other_sources = container.choose(os.environ | env, changed)

    assert done.returncode == 0, done.stdout[-4000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("✓", "DataStorage runs"))]
    assert lines == [
        f"DataStorage runs as a container ({image.rpartition(':')[0]}:e2e-test by buildah)",
        "✓ DataStorage is healthy (PostgreSQL + Redis ready)",
        "✓ SignalProcessing Integration Infrastructure Ready",
        "✓ All services started and healthy",
        "✓ Audit store configured",
        "✓ SignalProcessing integration test environment ready!",
    ]
    run = next((tmp_path / "muster" / "runs").iterdir()).name
    assert containers_of(run) == []  # and buildah's is gone too, else its image could not have been removed
    assert "was built from other sources: run `make image`" in of_other_sources


def is_mounted(run: str, folder: Path) -> bool:
    return bool(run) and bool(containers_of(run))


@pytest.mark.timeout(560)
async def test_container_of_a_run_that_was_killed_is_removed_by_the_next_run(tmp_path):
    skip_without_containers()
    with built_image("datastorage") as image:
        env = {"ENGINE": "buildah", "REGISTRY": image.rpartition("/")[0], "DATASTORAGE": "container"}
        for moment, with_children in ((is_mounted, True), (has_run_a_spec, False)):
            folder = tmp_path / moment.__name__
            await kill_at(moment, folder, env, with_children=with_children)
            killed = run_in(folder)
            assert containers_of(killed) != []
            if not with_children:  # the reaper lives
                await eventually(
                    lambda run=killed: not processes_of(run), timeout=30, description="its processes ended"
                )

            done = suite(folder, **env)

            assert done.returncode == 0, done.stdout[-4000:]
            assert run_in(folder) != killed
            assert containers_of(killed) == []
            assert processes_of(killed) == []
            assert [path.name for path in user_directory().glob(f"{killed[-6:]}-*")] == []


async def kill_at(
    moment: Callable[[str, Path], bool], folder: Path, env: dict[str, str], *, with_children: bool
) -> None:
    """Start the suite, and kill controller and workers with SIGKILL at a moment of its run; or all that it started."""
    command, env = command_and_environment(folder, env)
    with folder.with_suffix(".log").open("w") as log:
        running = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            await eventually(lambda: moment(run_in(folder), folder), timeout=200, description=moment.__name__)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                owner = psutil.Process(running.pid)
                workers = worker_pids(folder)
                for process in (owner, *owner.children()):
                    if with_children or process.pid in {running.pid, *workers}:
                        process.kill()
            await running.wait()


def checkout_with_another_requirement(path: Path) -> Path:
    """Links to this checkout, and one more line in a file that the image is made from."""
    for name in ("scripts", "src", "deploy", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        path.mkdir(exist_ok=True)
        (path / name).symlink_to(ROOT / name)
    (path / "requirements").mkdir()
    for file in (ROOT / "requirements").iterdir():
        (path / "requirements" / file.name).write_text(file.read_text() + "\n")
    return path


def test_a_container_that_cannot_be_ends_the_run_before_anything_is_started(tmp_path):
    done = suite(tmp_path, DATASTORAGE="container", ENGINE="kaniko")

    assert done.returncode == 10, done.stdout
    assert "DATASTORAGE=container: ENGINE=kaniko: it is one of docker, podman, buildah" in done.stdout
    assert "postgres_server ready" not in done.stdout


def test_without_an_engine_it_is_a_process_and_says_why():
    image, reason = container.choose({"PATH": "/nonexistent"})

    assert image is None
    assert reason == "docker is not installed; podman is not installed; buildah is not installed"
    assert container.choose({"DATASTORAGE": "process"}) == (None, "DATASTORAGE=process")
