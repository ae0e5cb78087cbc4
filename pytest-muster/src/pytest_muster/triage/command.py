"""`muster triage [RUN]`: what made the tests of a run fail, how sure that is, and what to change."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from pytest_muster import reading
from pytest_muster.record import Outcome
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Finding, Triage
from pytest_muster.triage.rerun import Rerun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recorded", nargs="?", metavar="RUN", help="id or directory of a run (default: the newest)")
    parser.add_argument("--output", choices=("terminal", "json"), default="terminal", help="(default: terminal)")
    parser.add_argument("--file", type=Path, metavar="PATH", help="write there rather than to standard output")
    parser.add_argument("--no-reruns", action="store_true", help="judge by the record only; run no test")
    parser.add_argument("--reruns", type=int, default=60, metavar="N", help="make at most N reruns (default: 60)")
    parser.add_argument(
        "--within", type=float, default=300.0, metavar="SECONDS", help="rerun for at most so long (default: 300)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 no failures, 1 findings, 2 wrong usage, 3 no such run."""
    try:
        record = reading.load(reading.find(arguments.recorded))
    except reading.RecordProblem as problem:
        sys.stderr.write(f"muster triage: {problem}\n")
        return 3
    rerun = None
    if not arguments.no_reruns:
        rerun = Rerun(record, most=arguments.reruns, within=arguments.within, say=_progress)
    result = triage(record, rerun=rerun)
    text = _text(result) if arguments.output == "terminal" else json.dumps(asdict(result), indent=2) + "\n"
    if arguments.file:
        arguments.file.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    failed = any(test.outcome in {Outcome.FAILED, Outcome.INFRASTRUCTURE} for test in record.tests)
    return int(failed or bool(result.findings))


def _progress(text: str) -> None:
    """On a terminal, the line that says what is run again right now."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


def _text(result: Triage) -> str:
    lines = [f"run {result.run}"]
    for number, finding in enumerate(result.findings, 1):
        lines += _finding(number, finding)
    if result.unexplained:
        lines.append(f"not explained: {len(result.unexplained)}")
        lines += [f"  {test}" for test in result.unexplained]
    if not result.findings and not result.unexplained:
        lines.append("no test failed")
    return "\n".join(lines) + "\n"


def _finding(number: int, finding: Finding) -> list[str]:
    lines = [f"{number}. {finding.cause} ({finding.confidence:.0%}): {finding.title}"]
    lines += [
        f"   {evidence.text}" + (f" ({evidence.source})" if evidence.source else "") for evidence in finding.evidence
    ]
    lines += [f"   explains {len(finding.tests)} failed tests", f"   {finding.remedy}"]
    return lines
