"""The Makefile in a shell that was set up for another project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {
    "PIP_USER": "1",
    "PIP_TARGET": "/elsewhere",
    "PIP_PREFIX": "/elsewhere",
    "PIP_ROOT": "/elsewhere",
    "PYTHONHOME": "/elsewhere",
    "PYTHONPATH": "/elsewhere",
    "VIRTUAL_ENV": "/elsewhere",
}
OWN = {"PIP_INDEX_URL": "https://pypi.example.com/simple", "HTTPS_PROXY": "http://proxy.example.com:3128"}


def test_recipes_do_not_install_elsewhere_and_keep_the_index_and_the_proxy():
    done = subprocess.run(
        ["make", "--no-print-directory", "--eval", "environment: ; @env -0", "environment"],
        cwd=ROOT, env={**os.environ, **FOREIGN, **OWN}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert {name: seen.get(name) for name in FOREIGN} == {**dict.fromkeys(FOREIGN), "PIP_USER": "0"}
    assert OWN.items() <= seen.items()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_an_environment_below_an_umlaut_starts_in_every_locale(locale, tmp_path):
    folder = tmp_path / "Büro Umgebung"
    environment, source = folder / ".venv", folder / "src"
    source.mkdir(parents=True)
    (source / "ours.py").write_text("print('started')\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    (packages / "_editable_impl_ours.pth").write_text(str(source))

    subprocess.run([sys.executable, ROOT / "scripts" / "ascii-pth", environment], check=True)

    done = subprocess.run(
        [environment / "bin" / "python", "-c", "import ours"], env={"LC_ALL": locale}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
