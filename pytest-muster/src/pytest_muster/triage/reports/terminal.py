"""A triage for a terminal: the findings first, each with its reasons and its remedy."""

import textwrap
from collections.abc import Callable

from pytest_muster.records.run_record import RunRecord
from pytest_muster.records.text import printable
from pytest_muster.triage.findings import Evidence, Finding, Triage
from pytest_muster.triage.reports.run_summary import command, confidence_label, count, folded, moment, summarize
from pytest_muster.triage.run_view import failure_of

MAX_TESTS = 6
MAX_EVIDENCE = 8
MAX_ERROR = 200  # characters
_LABEL = 8  # columns

Paint = Callable[[str, str], str]
_STYLES = {"red": "31;1", "yellow": "33", "green": "32", "bold": "1", "dim": "2", "cyan": "36"}


def render(triage: Triage, record: RunRecord, *, colour: bool = False, width: int = 100) -> str:
    """Plain text in lines of at most `width` columns, unless a name is longer; with ANSI colours if asked."""
    paint: Paint = _coloured if colour else _plain
    summary = summarize(record)
    header = record.header
    lines: list[str] = []
    for number, finding in enumerate(triage.findings, 1):
        lines += [*_finding(number, finding, record, paint, width), ""]
    if triage.unexplained:
        unexplained = count(len(triage.unexplained), "failed test")
        lines.append(paint("yellow", f"not explained: {unexplained}"))
        lines += [f"  {printable(line)}" for line in _unexplained(triage.unexplained, record)]
        lines.append("")
    if not triage.findings and not triage.unexplained:
        lines += [paint("green", "No test failed; there is nothing to explain."), ""]
    first, second = summary.lines
    lines += [
        first,
        paint("green" if summary.passed else "red", second),
        paint("dim", printable(f"{command(record)}  ({count(header.workers, 'worker')}, run {triage.run})")),
    ]
    if not summary.complete:
        lines.append(
            paint(
                "yellow",
                f"The run did not come to its end ({summary.stop_reason}); what it did not record is not judged.",
            )
        )
    return "\n".join(lines) + "\n"


def _finding(number: int, finding: Finding, record: RunRecord, paint: Paint, width: int) -> list[str]:
    total = max(len({test.test for test in record.failures}), len(finding.tests))
    tests = f"{len(finding.tests)} of {count(total, 'failed test')}"
    lines = [
        f"{number}. {paint('red', str(finding.cause))}  {paint('dim', f'({confidence_label(finding.confidence)})')}"
    ]
    lines += [paint("bold", line) for line in _wrapped(finding.title, width, indent=3)]
    lines += _labelled("tests", [tests, *_tests(finding.tests)], paint, width)
    if finding.polluter:
        lines += _labelled("polluter", [finding.polluter], paint, width)
    why = [_evidence(record, evidence) for evidence in finding.evidence[:MAX_EVIDENCE]]
    if len(finding.evidence) > MAX_EVIDENCE:
        why.append(f"… and {len(finding.evidence) - MAX_EVIDENCE} more")
    if finding.reruns:
        why.append(f"({count(finding.reruns, 'rerun')} made)")
    lines += _labelled("why", why, paint, width)
    return lines + _labelled("remedy", [finding.remedy], paint, width)


def _tests(tests: tuple[str, ...]) -> list[str]:
    shown = [f"{name} ({number})" if number > 1 else name for name, number in folded(tests)]
    if len(shown) > MAX_TESTS:
        shown[MAX_TESTS:] = [f"… and {len(shown) - MAX_TESTS} more"]
    return shown


def _unexplained(tests: tuple[str, ...], record: RunRecord) -> list[str]:
    """Each with its error, as far as there is room."""
    failures = {run.test: failure_of(run) for run in record.failures}
    shown: list[str] = []
    for test in tests[:MAX_TESTS]:
        shown.append(test)
        failure = failures.get(test)
        if failure is None:
            continue
        words = failure.error.message.partition("\n")[0]
        error = f"{failure.error.kind}: {words}" if words else failure.error.kind
        shown.append(f"    {error[:MAX_ERROR]}" + (f"  [{failure.source}]" if failure.source else ""))
    return [*shown, *([f"… and {len(tests) - MAX_TESTS} more"] if len(tests) > MAX_TESTS else [])]


def _evidence(record: RunRecord, evidence: Evidence) -> str:
    who = "  ".join(part for part in (evidence.at and moment(record, evidence.at), evidence.worker) if part)
    source = f"  [{evidence.source}]" if evidence.source else ""
    return f"{who}  {evidence.text}{source}" if who else f"{evidence.text}{source}"


def _labelled(label: str, texts: list[str], paint: Paint, width: int) -> list[str]:
    lines: list[str] = []
    for text in texts:
        for index, line in enumerate(_wrapped(text, width - _LABEL - 4)):
            head = paint("cyan", f"{label:>{_LABEL}}") if not lines else " " * _LABEL
            lines.append(f" {head}  {'  ' if index else ''}{line}")
    return lines


def _wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    return [
        " " * indent + line
        for part in text.splitlines()
        for line in textwrap.wrap(
            printable(part), max(20, width - indent), break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]


def _plain(_: str, text: str) -> str:
    return text


def _coloured(style: str, text: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
