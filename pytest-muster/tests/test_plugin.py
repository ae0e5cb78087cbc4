"""The plugin loads by being installed, and leaves a run alone."""

import subprocess
import sys
from importlib.metadata import version


def test_a_run_names_the_version_and_is_left_alone(tmp_path):
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")

    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout
    assert f"muster: {version('pytest-muster')}" in done.stdout
    assert "1 passed" in done.stdout


def test_the_plugin_does_not_bring_kubernaut_along():
    code = "import pytest_muster.plugin, sys; sys.exit('kubernaut' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
