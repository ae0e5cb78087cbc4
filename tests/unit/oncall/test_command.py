"""How `kubernaut oncall` refuses what it cannot do, before it reads anything."""

import subprocess
import sys

import pytest

from kubernaut.cli.app import run

PROGRAM = """
import sys
sys.modules[sys.argv[1]] = None
from kubernaut.cli.app import run
sys.exit(run(["oncall"]))
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-A", "-n", "shop"], "-A and -n exclude each other"),
        (["--port", "70000"], "--port 70000: a port is between 1 and 65535, or 0 for a free one"),
        (["--url", "ftp://store"], "--url 'ftp://store' is no http:// or https:// URL"),
    ],
)
def test_wrong_usage_is_refused(arguments, said, capsys):
    assert run(["oncall", *arguments]) == 2

    assert said in capsys.readouterr().err


@pytest.mark.parametrize("module", ["jinja2", "starlette", "lightkube", "uvicorn"])
def test_missing_library_names_the_extra(module):
    done = subprocess.run([sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f"the page needs {module}" in done.stderr
    assert "pip install 'kubernaut-signalprocessing[oncall]'" in done.stderr
