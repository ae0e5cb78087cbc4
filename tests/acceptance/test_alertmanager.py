"""A real Alertmanager in front of the real system."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROOF = Path(__file__).resolve().parents[2] / "scripts" / "alertmanager-proof"


@pytest.mark.alertmanager
@pytest.mark.timeout(150)
@pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None,
    reason="prometheus-alertmanager is not installed (apt-get install prometheus-alertmanager)",
)
def test_a_real_alertmanager_delivers_everything_once():
    ran = subprocess.run([sys.executable, str(PROOF)], capture_output=True, text=True, timeout=140, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("all checks passed\n")
