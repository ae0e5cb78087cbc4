"""`muster triage [RUN]`: what made the tests of a run fail, how sure that is, and what to change."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Protocol, TextIO

from pytest_muster.records import reader
from pytest_muster.records.run_record import RunRecord
from pytest_muster.triage import patterns
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Triage
from pytest_muster.triage.rerun import Rerun

SUFFIXES = {"json": "json", "markdown": "md", "html": "html"}
"""The reports that are kept, and the suffixes of their files."""
OUTPUTS = ("terminal", *SUFFIXES)


class Renderer(Protocol):
    """What each module of `reports` offers."""

    def render(self, triage: Triage, record: RunRecord) -> str: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recorded", nargs="?", metavar="RUN", help="id or directory of a run, latest, latest~1, … (default: latest)"
    )
    parser.add_argument("--output", choices=OUTPUTS, default="terminal", help="form of the answer (default: terminal)")
    parser.add_argument("--file", type=Path, metavar="PATH", help="write it there rather than to standard output")
    parser.add_argument(
        "--write", action="store_true", help="also write triage.json, triage.md and triage.html beside the record"
    )
    parser.add_argument("--no-reruns", action="store_true", help="judge by the record only; run no test again")
    parser.add_argument(
        "--max-reruns", type=_count, default=60, metavar="N", help="rerun at most N times (default: 60)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="rerun for at most so long (default: 300)"
    )
    parser.add_argument(
        "--check-patterns",
        action="store_true",
        help=f"only prove the examples of the project's patterns ({patterns.FILE} or pyproject.toml)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 nothing failed, 1 something did, 2 patterns that cannot be used, 3 no such run."""
    try:
        if arguments.check_patterns:
            return _check_patterns(Path.cwd())
        record = reader.load(reader.find(arguments.recorded))
        known = patterns.load(record.root)
    except reader.RecordError as problem:
        sys.stderr.write(f"muster triage: {problem}\n")
        return 3
    except patterns.PatternProblem as problem:
        sys.stderr.write(f"muster triage: {problem}\n")
        return 2
    progress = _Progress(sys.stderr)
    rerun = None
    if not arguments.no_reruns and arguments.max_reruns:
        rerun = Rerun(record, max_runs=arguments.max_reruns, timeout=arguments.timeout, report=progress.show)
    try:
        found = triage(record, rerun=rerun, patterns=(*patterns.BUILT_IN, *known))
    finally:
        progress.clear()
    text = rendered(found, record, arguments.output, to_terminal=not arguments.file and sys.stdout.isatty())
    if arguments.write:
        for output, suffix in SUFFIXES.items():
            report = rendered(found, record, output)
            (record.directory / f"triage.{suffix}").write_text(report, encoding="utf-8", errors="backslashreplace")
    if arguments.file:
        arguments.file.write_text(text, encoding="utf-8", errors="backslashreplace")
    else:
        sys.stdout.write(text)
    return int(bool(record.failures or found.findings))


def rendered(found: Triage, record: RunRecord, output: str, *, to_terminal: bool = False) -> str:
    if output == "terminal" and to_terminal:
        from pytest_muster.triage.reports import terminal  # the other forms do not need it

        return terminal.render(found, record, colour="NO_COLOR" not in os.environ, width=min(_columns(), 120))
    report: Renderer = importlib.import_module(f"pytest_muster.triage.reports.{output}")
    return report.render(found, record)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 100


class _Progress:
    """One line of a terminal that says what is run again right now; silent elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = False

    def show(self, text: str) -> None:
        if self._stream.isatty():
            self._shown = True
            self._stream.write(f"\r\x1b[K{text[: _columns() - 1]}")
            self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _check_patterns(root: Path) -> int:
    known = patterns.load(root)
    wrong = list(patterns.faults(known))
    for fault in wrong:
        sys.stdout.write(f"{fault}\n")
    examples = sum(len(pattern.matches) + len(pattern.spares) for pattern in known)
    sys.stdout.write(f"{len(known)} patterns, {examples} examples, {len(wrong)} wrong\n")
    return int(bool(wrong))


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of reruns; give 0 or more")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is no time; give seconds above 0")
    return seconds
