"""Runs public suites without and with pytest-muster in its default settings, and says what differs.

`python strangers.py [NAME…] [--work DIR]`: each package is downloaded from PyPI as a source distribution, and
installed into a virtual environment of its own beside the plugin of this checkout. Its tests run with two workers, with
`-p no:muster` and without. The plugin may add lines of its own; exit code, verdicts, warnings, and what other plugins
and pytest print must be the same. A suite that is not green without the plugin is compared all the same.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

PLUGIN = Path(__file__).parent.parent
PACKAGES = {
    "attrs": ("cloudpickle", "hypothesis"),
    "cachetools": (),
    "click": (),
    "iniconfig": (),
    "itsdangerous": ("freezegun",),
    "jinja2": ("trio",),
    "markupsafe": (),
    "more-itertools": (),
    "msgspec": ("attrs", "pyyaml", "tomli_w"),
    "packaging": ("hypothesis", "pretend"),
    "pluggy": (),
    "pyparsing": (),
    "structlog": ("freezegun", "pretend", "pytest-asyncio", "time-machine"),
}
"""Each with what its tests need."""
RUN_TIMEOUT = 600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Result:
    """What can be seen of one run."""

    code: int
    verdicts: Counter[tuple[str, str]]
    counts: str
    """pytest's last line, without the time."""
    lines: Counter[str]
    took: float


def prepare(name: str, work: Path) -> tuple[Path, Path]:
    """The environment's interpreter, and the directory of the sources."""
    root = work / name
    python = root / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(root / "venv", with_pip=True)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        call([*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", root, name])
        archive = next(root.glob("*.tar.gz"))
        with tarfile.open(archive) as file:
            file.extractall(root, filter="data")
        call([*pip, "install", archive, "pytest", "pytest-xdist", *PACKAGES.get(name, ()), PLUGIN])
    return python, next(path for path in root.iterdir() if path.is_dir() and path.name != "venv")


def call(command: list[object]) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=RUN_TIMEOUT)


def run(python: Path, sources: Path, *options: str) -> Result:
    report = sources.parent / "report.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", f"--junitxml={report}", *options]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
    suite = ET.parse(report).getroot().find("testsuite") if report.exists() else None  # noqa: S314 - pytest wrote it
    verdicts = Counter(
        (f"{case.get('classname')}::{case.get('name')}", ",".join(sorted(child.tag for child in case)) or "passed")
        for case in (suite if suite is not None else ())
    )
    text = done.stdout + done.stderr
    counts = re.findall(r"^=*\s*((?:\d+ \w+,? ?)+) in [\d.]+s", text, re.MULTILINE)
    return Result(
        code=done.returncode,
        verdicts=verdicts,
        counts=counts[-1] if counts else "no last line",
        lines=Counter(filter(None, map(comparable, text.splitlines()))),
        took=float(suite.get("time", 0)) if suite is not None else 0.0,
    )


def comparable(line: str) -> str:
    """A line without what differs from run to run, and nothing for a line that shows progress."""
    if re.fullmatch(r"[.FEsxXpI]*\s*(\[ *\d+%\])?", line) or line.lstrip("> ").startswith(
        ("plugins: ", "available fixtures: ")
    ):
        return ""
    line = re.sub(r"0x[0-9a-f]+|\b\d+\.\d+ ?s\b( \(\d:\d\d:\d\d\))?|\bgw\d\b", "_", line)
    return re.sub(r"=+|-{3,}|/tmp/\S+", "", line).strip()


OWN = re.compile(r"muster|^Ran \d+ of \d+ Specs|^(PASS|FAIL)! -- ")


def differences(without: Result, own: Result) -> list[str]:
    found = []
    if without.code != own.code:
        found.append(f"exit code {without.code} became {own.code}")
    if without.verdicts != own.verdicts:
        changed = [*(own.verdicts - without.verdicts), *(without.verdicts - own.verdicts)]
        found.append(f"{len(changed)} verdicts differ, such as {changed[0]}")
    if without.counts != own.counts:
        found.append(f"'{without.counts}' became '{own.counts}'")
    added = [line for line in own.lines - without.lines if not OWN.search(line)]
    missing = [*(without.lines - own.lines)]
    found += [f"printed only with the plugin: {line}" for line in added[:10]]
    found += [f"printed only without it: {line}" for line in missing[:10]]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*PACKAGES])
    parser.add_argument("--work", type=Path, help="keep environments here; otherwise they are removed at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        print("| suite | without the plugin | with it | differs |\n|---|---|---|---|", flush=True)
        wrong = 0
        for name in arguments.names:
            try:
                python, sources = prepare(name, work)
            except subprocess.CalledProcessError as error:
                print(f"| {name} | not prepared: {error} | | |", flush=True)
                continue
            without, own = run(python, sources, "-p", "no:muster"), run(python, sources)
            differ = differences(without, own)
            wrong += bool(differ)
            cells = [f"{sources.name}", f"{without.code}: {without.counts}", f"{own.code}: {own.counts}"]
            print(f"| {' | '.join([*cells, '; '.join(differ) or 'nothing'])} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
