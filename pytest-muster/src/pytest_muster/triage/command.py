"""`muster triage [RUN]`: what made the tests of a run fail, how sure that is, and what to change."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from pytest_muster import reading
from pytest_muster.record import Outcome
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Triage
from pytest_muster.triage.rerun import Rerun

ENDINGS = {"markdown": "md", "json": "json", "html": "html"}
"""The reports for later, and how their files end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recorded", nargs="?", metavar="RUN", help="id or directory of a run (default: the newest)")
    parser.add_argument("--output", choices=("terminal", *ENDINGS), default="terminal", help="(default: terminal)")
    parser.add_argument("--file", type=Path, metavar="PATH", help="write there rather than to standard output")
    parser.add_argument(
        "--write", action="store_true", help="also write triage.md, triage.json and triage.html beside the record"
    )
    parser.add_argument(
        "--color", choices=("auto", "yes", "no"), default="auto", help="(default: auto; NO_COLOR is respected)"
    )
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
    colour = arguments.color == "yes" or (arguments.color == "auto" and not arguments.file and _shows_colours())
    text = rendered(result, record, arguments.output, colour=colour)
    if arguments.write:
        for output, ending in ENDINGS.items():
            (record.directory / f"triage.{ending}").write_text(rendered(result, record, output), encoding="utf-8")
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


def rendered(result: Triage, record: reading.RunRecord, output: str, *, colour: bool = False) -> str:
    """One of the reports: `terminal`, `markdown`, `json` or `html`."""
    render = import_module(f"pytest_muster.triage.reports.{output}").render  # only the one that is wanted
    text: str = render(result, record, colour=colour) if output == "terminal" else render(result, record)
    return text


def _shows_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
