"""The wheel, installed alone into an empty environment."""

import json
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheel(tmp_path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (built,) = (tmp_path / "dist").glob("*.whl")
    return built


def test_wheel_holds_the_package_and_its_licence_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    folders = {name.split("/")[0] for name in names}
    assert len(folders) == 2
    assert "pocketkube" in folders
    assert {name.rsplit("/")[-1] for name in names} >= {
        "py.typed",
        "definitions.jsonl",
        "protobuf_fields.jsonl",
        "LICENSE",
        "NOTICE",
    }


@pytest.mark.timeout(300)
def test_wheel_alone_serves(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # The versions that the other tests ran with, so that a release of somebody else's cannot break this one.
    constraints = "".join(f"{found.name}=={found.version}\n" for found in metadata.distributions() if found.name)
    ours = ("kubernaut", "pocketkube", "pytest-muster")
    pinned = [line for line in constraints.splitlines() if not line.startswith(ours)]
    (tmp_path / "constraints.txt").write_text("\n".join(pinned))
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", tmp_path / "constraints.txt", wheel]
    subprocess.run(install, check=True, timeout=240)
    installed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True, timeout=60
    )
    names = {package["name"].lower() for package in json.loads(installed.stdout)}

    assert not [name for name in names if name.startswith(("kubernaut", "pytest"))]
    command = [tmp_path / "env" / "bin" / "pocketkube", "run", "--output", "json", "--stop-on-eof"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = json.loads(process.stdout.readline())
        version = httpx2.get(f"{server['url']}/version", timeout=5, verify=False).json()
        process.stdin.close()
        assert process.wait(10) == 0
    assert version["gitVersion"].endswith("+pocketkube")
