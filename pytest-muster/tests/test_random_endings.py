"""One run for each way in which a run can end: everything is torn down, once and in order, and nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WAYS = 20
ONCE_WRONG = (50, 2073)
"""Seeds that have found something: signals while the session begins."""


@pytest.mark.timeout(240)  # a machine that has much else to do
@pytest.mark.parametrize("seed", [*range(WAYS), *ONCE_WRONG])
def test_whatever_ends_a_run_nothing_is_left(seed):
    done = subprocess.run(
        [sys.executable, "-m", "endings"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "SEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("1 endings, 0 wrong\n")
