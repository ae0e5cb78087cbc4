"""The environments that the Makefile prepares, also when several targets begin at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare"


def prepare(folder: Path, requirements: Path) -> subprocess.Popen[str]:
    command = [sys.executable, SCRIPT, folder, requirements]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_one_of_several_prepares_the_environment_and_the_others_wait(tmp_path: Path):
    requirements = tmp_path / "none.txt"
    requirements.write_text("# nothing\n")
    folder = tmp_path / "an environment"

    processes = [prepare(folder, requirements) for _ in range(3)]
    said = [process.communicate(timeout=100)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("preparing" in text for text in said) == 1
    assert (folder / ".ready").exists()
    assert subprocess.run([folder / "bin" / "pip", "--version"], check=False, timeout=60).returncode == 0


def test_an_environment_is_prepared_again_when_its_requirements_change_or_it_failed(tmp_path: Path):
    requirements, folder = tmp_path / "some.txt", tmp_path / "environment"
    requirements.write_text("no-such-distribution @ file:///nowhere/at-all.whl\n")
    failed = prepare(folder, requirements)
    _, said = failed.communicate(timeout=100)
    assert failed.returncode != 0
    assert "at-all.whl" in said
    assert not (folder / ".ready").exists()

    requirements.write_text("# nothing\n")
    assert prepare(folder, requirements).wait(100) == 0
    ready = (folder / ".ready").stat().st_mtime_ns
    assert prepare(folder, requirements).wait(100) == 0
    assert (folder / ".ready").stat().st_mtime_ns == ready

    future = time.time_ns() + 10**9
    os.utime(requirements, ns=(future, future))
    with prepare(folder, requirements) as again:
        assert again.wait(100) == 0
    assert (folder / ".ready").stat().st_mtime_ns > ready
