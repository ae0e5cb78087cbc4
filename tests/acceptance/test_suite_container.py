"""The integration suite with DataStorage in a container of its image, and what it says where there can be none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.containers import ROOT, built_image, skip_without_containers
from support.suite import container

SPECS = ["tests/integration/signalprocessing/specs", "-k", "test_setup or processed_signal"]


def suite(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--muster-live=off", "-p", "no:cacheprovider"]
    command += [f"--muster-directory={folder}", *SPECS]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBEBUILDER_"))}
    return subprocess.run(command, cwd=ROOT, env=kept | env, capture_output=True, text=True, timeout=250, check=False)


def containers_of(run: str) -> list[str]:
    """The containers whose files are in a run's directory."""
    running = json.loads(subprocess.run(["runc", "list", "--format=json"], capture_output=True, check=True).stdout)
    return [each["id"] for each in running or [] if f"/{run.rpartition('-')[2]}-" in each["bundle"]]


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
