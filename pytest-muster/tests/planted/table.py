"""Runs the planted suites, lets `muster triage` name the cause of each, and prints what it made of them.

    python table.py                     every suite
    python table.py fixed_port …        the named ones
    python table.py --prove 20 [NAME]   runs each suite so often, without a triage, and says how often its fault shows

Each folder of `suites/` is a small project with one fault, or with none; its `planted.toml`, which the project does not
see, says how to run it and what is wrong:

    about     one sentence
    args      what follows `pytest`
    cause     the planted cause; absent if the suite is healthy
    victims   patterns of the tests that may fail because of it
    polluter  the test that spoils the others, if one does

A triage is right if its first finding names the planted cause (and polluter), and no test but a victim. A healthy suite
is accused if there is any finding. Exit code 1 if one was wrong.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

SUITES = Path(__file__).parent / "suites"
RUN_TIMEOUT = 120.0  # seconds for one run
TRIAGE_TIMEOUT = 400.0  # seconds for one triage with its reruns
# Only the plugins that a run needs: what else is installed would cost most of the time.
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PLUGINS = ("-p", "xdist", "-p", "pytest_muster.plugin")


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    about: str
    args: tuple[str, ...]
    cause: str | None
    victims: tuple[str, ...]
    polluter: str | None

    def is_victim(self, test: str) -> bool:
        return any(fnmatchcase(test, pattern) for pattern in self.victims)


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    suite: Suite
    named: str
    """The cause of the first finding; empty without one."""
    confidence: float
    reruns: int
    took: float  # seconds of the triage
    wrong: str
    """Why the triage is not right; empty if it is."""


def suites(names: list[str] | None = None) -> list[Suite]:
    known = sorted(path.parent.name for path in SUITES.glob("*/planted.toml"))
    if unknown := set(names or ()) - set(known):
        raise SystemExit(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [_declared(name) for name in names or known]


def _declared(name: str) -> Suite:
    told = tomllib.loads((SUITES / name / "planted.toml").read_text())
    return Suite(
        name=name,
        about=told["about"],
        args=tuple(told["args"]),
        cause=told.get("cause"),
        victims=tuple(told.get("victims", ())),
        polluter=told.get("polluter"),
    )


@contextmanager
def a_copy(suite: Suite) -> Iterator[Path]:
    """The suite as a project of its own, outside of ours, without what tells the fault."""
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        project = Path(directory, "project")  # the names of some suites would tell
        shutil.copytree(SUITES / suite.name, project, ignore=shutil.ignore_patterns("planted.toml", "__pycache__"))
        (project / "pytest.ini").write_text("[pytest]\n")
        yield project


def run(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """One run of the project's tests."""
    # The leak detector would fail polluters themselves, which makes their victims too easy to explain.
    command = [sys.executable, "-m", "pytest", "-q", *PLUGINS, "-p", "no:cacheprovider", "--muster-leaks=report", *args]
    return subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False
    )


def environment() -> dict[str, str]:
    """Ours, without what a pytest around us says of itself."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_XDIST_", "COV_"))}
    return own | ENVIRONMENT


def outcomes(project: Path) -> dict[str, str]:
    """Test → outcome, of the newest run."""
    runs = project / ".muster" / "runs"
    if not runs.is_dir():
        return {}
    newest = max(runs.iterdir(), key=lambda path: path.stat().st_mtime)
    lines = (json.loads(line) for line in (newest / "record.jsonl").read_text().splitlines())
    return {line["test"]: line["outcome"] for line in lines if line["type"] == "test"}


def triage(project: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", "import sys; from pytest_muster.cli import main; sys.exit(main())"]
    command += ["triage", "--output", "json"]
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=TRIAGE_TIMEOUT, check=False
    )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"muster triage ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def judge(suite: Suite) -> RerunResult:
    with a_copy(suite) as project:
        done = run(project, *suite.args)
        failed = [test for test, outcome in outcomes(project).items() if outcome in {"failed", "infrastructure"}]
        since = time.monotonic()
        if bool(failed) != bool(suite.cause):
            wrong = f"the fault did not show: {done.stdout[-1500:]}" if suite.cause else f"fails: {', '.join(failed)}"
            return RerunResult(suite=suite, named="", confidence=0, reruns=0, took=0, wrong=wrong)
        try:
            told = triage(project)
        except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            return RerunResult(suite=suite, named="", confidence=0, reruns=0, took=0, wrong=str(error))
    findings = told["findings"]
    first = findings[0] if findings else {"cause": "", "confidence": 0.0}
    return RerunResult(
        suite=suite,
        named=first["cause"],
        confidence=first["confidence"],
        reruns=sum(finding["reruns"] for finding in findings),
        took=time.monotonic() - since,
        wrong=_fault_of(suite, findings, failed),
    )


def _fault_of(suite: Suite, findings: list[dict[str, Any]], failed: list[str]) -> str:
    if not suite.cause:
        return f"accused of {findings[0]['cause']}: {findings[0]['title']}" if findings else ""
    if not findings:
        return f"nothing named for {len(failed)} failed tests"
    first = findings[0]
    if first["cause"] != suite.cause:
        return f"named {first['cause']}: {first['title']}"
    if strangers := [test for test in first["tests"] if not suite.is_victim(test)]:
        return f"also blames {', '.join(strangers)}"
    if not first["tests"]:
        return "names no test"
    if suite.polluter and first["polluter"] != suite.polluter:
        return f"polluter {first['polluter']}, not {suite.polluter}"
    return ""


def prove(suite: Suite, times: int) -> bool:
    """Whether the fault shows in at least 95 % of runs, in victims only; a healthy suite never fails."""
    shown = 0
    strangers: set[str] = set()
    longest = 0.0
    for _ in range(times):
        with a_copy(suite) as project:
            since = time.monotonic()
            done = run(project, *suite.args)
            longest = max(longest, time.monotonic() - since)
            failed = [test for test, outcome in outcomes(project).items() if outcome in {"failed", "infrastructure"}]
            shown += bool(failed) if suite.cause else done.returncode != 0
            strangers |= {test for test in failed if not suite.is_victim(test)}
    fine = (shown >= 0.95 * times if suite.cause else shown == 0) and not strangers
    last = done.stdout.strip().splitlines()[-1:]
    print(f"{'ok   ' if fine else 'WRONG'} {suite.name:34} {shown}/{times} fail, {longest:.1f} s; {last}", flush=True)
    if strangers:
        print(f"      not declared as victims: {', '.join(sorted(strangers))}")
    if not fine and not strangers:
        print(done.stdout[-3000:], done.stderr[-3000:])
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--prove", type=int, metavar="TIMES")
    chosen = parser.parse_args()
    wanted = suites(chosen.names)
    if chosen.prove:
        proved = [prove(suite, chosen.prove) for suite in wanted]
        return int(not all(proved))
    print(f"{'suite':34} {'planted':32} {'first named':32} {'conf.':>5} {'reruns':>6} {'took':>6}  right")
    verdicts = []
    for suite in wanted:
        verdict = judge(suite)
        verdicts.append(verdict)
        columns = f"{suite.name:34} {suite.cause or 'healthy':32} {verdict.named or '-':32}"
        figures = f"{verdict.confidence:5.2f} {verdict.reruns:6} {verdict.took:5.1f}s"
        print(columns, figures, "", "yes" if not verdict.wrong else f"NO: {verdict.wrong}", flush=True)
    planted = [verdict for verdict in verdicts if verdict.suite.cause]
    healthy = [verdict for verdict in verdicts if not verdict.suite.cause]
    right = sum(not verdict.wrong for verdict in planted)
    accused = sum(bool(verdict.wrong) for verdict in healthy)
    print(f"{right} of {len(planted)} planted named first, {accused} of {len(healthy)} healthy accused")
    return int(right < len(planted) or accused > 0)


if __name__ == "__main__":
    sys.exit(main())
