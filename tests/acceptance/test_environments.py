"""The environments that the Makefile prepares, also when several targets begin at once."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare"


def prepare(folder: Path, requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, folder, requirements]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=100, check=False)


def test_one_of_several_prepares_the_environment_and_the_others_wait(tmp_path: Path):
    requirements = tmp_path / "none.txt"
    requirements.write_text("# nothing\n")
    folder = tmp_path / "an environment"

    with ThreadPoolExecutor() as threads:
        done = list(threads.map(prepare, [folder] * 3, [requirements] * 3))

    assert [each.returncode for each in done] == [0, 0, 0], done
    assert sum("preparing" in each.stderr for each in done) == 1
    assert (folder / ".ready").exists()
    assert subprocess.run([folder / "bin" / "pip", "--version"], check=False, timeout=60).returncode == 0


def test_an_environment_is_prepared_again_when_its_requirements_change_or_it_failed(tmp_path: Path):
    requirements, folder = tmp_path / "some.txt", tmp_path / "environment"
    requirements.write_text("no-such-distribution @ file:///nowhere/at-all.whl\n")
    failed = prepare(folder, requirements)
    assert failed.returncode != 0
    assert "at-all.whl" in failed.stderr
    assert not (folder / ".ready").exists()

    requirements.write_text("# nothing\n")
    assert prepare(folder, requirements).returncode == 0
    ready = (folder / ".ready").stat().st_mtime_ns
    assert prepare(folder, requirements).returncode == 0
    assert (folder / ".ready").stat().st_mtime_ns == ready

    future = time.time_ns() + 10**9
    os.utime(requirements, ns=(future, future))
    assert prepare(folder, requirements).returncode == 0
    assert (folder / ".ready").stat().st_mtime_ns > ready
