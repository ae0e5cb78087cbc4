"""The Make target of the integration suite, for two who run it at once in one checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = os.path.relpath(Path(sys.executable).parents[1], ROOT)
"""Relative, because the path of the checkout may have blanks, which Make takes for separators."""


def start(log: Path, option: str) -> subprocess.Popen[str]:
    """The target, with an option that makes pytest only print something."""
    command = ["make", "--no-print-directory", "test-integration-signalprocessing", "PROCS=2", f"VENV={VENV}"]
    command += [f"SP_LOG={log}", f"ARGS={option}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_each_of_two_runs_has_its_own_log_and_the_known_path_leads_to_one(tmp_path):
    known = tmp_path / "logs" / "suite.log"

    outputs = [running.communicate(timeout=110)[0] for running in [start(known, "--version"), start(known, "--help")]]

    logs = sorted((path for path in known.parent.iterdir() if path != known), key=lambda path: path.stat().st_size)
    version, usage = (log.read_text() for log in logs)
    assert version.startswith("pytest ") and "usage:" not in version
    assert usage.startswith("usage:")
    assert known.resolve() in logs
    assert version in outputs[0] and usage in outputs[1]
