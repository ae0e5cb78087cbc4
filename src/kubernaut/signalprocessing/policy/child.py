"""Modules of ours that run as processes of their own, because the engine cannot be interrupted."""

import os
import subprocess
import sys
from pathlib import Path

import kubernaut


def environment() -> dict[str, str]:
    """Only what an import needs is handed over: no secret of ours belongs into a process that runs a policy."""
    path = [str(Path(kubernaut.__file__).parents[1]), *(entry for entry in sys.path if entry)]
    return {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def run(module: str, request: bytes, timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run a module with the request on its standard input. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-S", "-m", module],
        input=request,
        capture_output=True,
        timeout=timeout,
        check=False,
        env=environment(),
    )
