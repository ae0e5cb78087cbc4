"""A triage as a document, in the chapters in which people write such reports by hand.

Every statement is taken from the record of the run or from a finding; a chapter about which they say nothing says so.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import ResourceEvent, RunRecord, TestRun
from pytest_muster.triage.findings import Cause, Evidence, Finding, Triage
from pytest_muster.triage.reports.markdown_text import block, code, text
from pytest_muster.triage.reports.run_summary import (
    LIKELY,
    RunSummary,
    command,
    confidence_label,
    count,
    failures_of,
    folded,
    moment,
    summarize,
    where,
)

MAX_TESTS = 12
MAX_EVIDENCE = 15
PATTERN_LINES = 12

CLASHES = {Cause.PORT_CLASH, Cause.NAME_CLASH, Cause.FILE_CLASH}
BETWEEN_WORKERS = {
    Cause.UNINITIALISED,
    Cause.EARLY_TEARDOWN,
    Cause.PORT_CLASH,
    Cause.NAME_CLASH,
    Cause.FILE_CLASH,
}
"""What one process alone does not suffer from."""
OF_ISOLATION = BETWEEN_WORKERS | {Cause.POLLUTION, Cause.ORDER_DEPENDENCY}

MEANING = {
    Cause.UNINITIALISED: "a worker uses state that only the set-up of another process made; "
    "processes do not share memory",
    Cause.EARLY_TEARDOWN: "something that the workers share was taken down while tests still used it",
    Cause.NOT_READY: "something was used before it was ready to be used",
    Cause.POLLUTION: "a test changed something that outlives it, and a later test of the same process met the change",
    Cause.ORDER_DEPENDENCY: "a test relies on what another test leaves in the process, and that one did not run there",
    Cause.PORT_CLASH: "two users of one port met",
    Cause.NAME_CLASH: "two tests used one name in something that they share",
    Cause.FILE_CLASH: "two tests used one file or directory at the same time",
    Cause.INFRASTRUCTURE_GONE: "something that the tests need went away, and no test or worker took it down",
    Cause.ADDRESS_FAMILY: "one side used IPv4, the other IPv6",
    Cause.TIME_OUT: "something took longer than it was given",
    Cause.DEFECT: "the tested code or the test itself is wrong, whoever runs it and whenever",
}


def render(triage: Triage, record: RunRecord) -> str:
    """Markdown in the chapters header, summary, results, issues, parallel execution, isolation, root causes, options,
    plan, references and conclusions."""
    summary = summarize(record)
    chapters = [
        _header(triage, record, summary),
        _summary(triage, summary),
        _results(record, summary),
        _issues(triage, record),
        _parallel(triage, record, summary),
        _isolation(triage, record),
        _root_causes(triage, summary),
        _options(triage, record),
        _plan(triage),
        _references(triage, record),
        _conclusions(triage, record, summary),
    ]
    return "\n\n---\n\n".join("\n".join(chapter).strip() for chapter in chapters if chapter) + "\n"


def _header(triage: Triage, record: RunRecord, summary: RunSummary) -> list[str]:
    header = record.header
    began = datetime.fromtimestamp(header.at, UTC)
    revision = f"{header.revision}{' with local changes' if header.dirty else ''}" if header.revision else "not known"
    status = (
        "passed"
        if summary.passed
        else f"{summary.failed} of {count(summary.ran, 'test')} failed"
        if summary.complete
        else f"{summary.stop_reason}; {summary.failed} of {count(summary.ran, 'test')} failed until then"
    )
    seed = header.seed if header.seed is not None else "not known"
    tools = [f"pytest {header.pytest}", f"xdist {header.xdist}" if header.xdist else "", f"Python {header.python}"]
    return [
        f"# Triage: {text(record.root.name or 'tests')}",
        "",
        f"**Date**: {began:%Y-%m-%d %H:%M:%S} UTC\\",
        f"**Test run**: {code(command(record))}, {count(header.workers, 'worker')}\\",
        f"**Run**: {code(triage.run)}, seed {seed}, revision {text(revision)}\\",
        f"**Platform**: {text(', '.join(filter(None, [*tools, header.platform])))}"
        + (f", {count(header.cpus, 'CPU')}" if header.cpus else "")
        + "\\",
        f"**Status**: {status}",
    ]


def _summary(triage: Triage, summary: RunSummary) -> list[str]:
    lines = [
        "## Executive summary",
        "",
        f"- **Run**: {summary.ran} of {count(summary.collected, 'test')}",
        f"- **Passed**: {summary.counts[Outcome.PASSED]}",
        f"- **Failed**: {summary.failed}",
        f"- **Pending**: {summary.counts[Outcome.PENDING]}",
        f"- **Skipped**: {summary.skipped}",
        "",
    ]
    if not triage.findings:
        sentence = "No root cause was found that is sure enough." if triage.unexplained else "No test failed."
        return [*lines, sentence]
    lines += ["**Root causes**, the surest explanation of the most failures first:", ""]
    for number, finding in enumerate(triage.findings, 1):
        share = count(len(finding.tests), "failed test")
        lines.append(
            f"{number}. **{finding.cause}** ({confidence_label(finding.confidence)}; {share}): {text(finding.title)}"
        )
    if triage.unexplained:
        lines += ["", f"{count(len(triage.unexplained), 'failed test')} could not be explained."]
    return lines


def _results(record: RunRecord, summary: RunSummary) -> list[str]:
    lines = [
        "## Test results",
        "",
        "### Overall results",
        "",
        *block("\n".join(summary.lines)),
        "",
        f"**Success rate**: {summary.rate:.1%} ({summary.counts[Outcome.PASSED]} of {summary.ran} that ran)",
    ]
    if record.phases:
        lines += ["", "| phase | seconds |", "|---|---:|"]
        lines += [f"| {text(phase.name)} | {phase.took:.3f} |" for phase in record.phases]
    if record.unfinished:
        begun = ", ".join(code(test.test) for test in record.unfinished[:MAX_TESTS])
        lines += ["", f"**Begun and never ended**: {begun}"]
    if record.collection_failures:
        lines += [
            "",
            f"**Not collected**: {', '.join(code(one.node) for one in record.collection_failures[:MAX_TESTS])}",
        ]
    return [*lines, "", "### Infrastructure start-up", "", *_start_up(record)]


def _start_up(record: RunRecord) -> list[str]:
    events = [event for event in record.resources if event.event in {"ready", "failed", "died", "stopped"}]
    if not events:
        return ["The record names no shared or worker resource; what the suite starts by itself is not judged here."]
    lines = []
    for event in events:
        who = f" on {event.worker}" if event.worker else ""
        took = f" after {event.took:.2f} s" if event.took is not None else ""
        why = f": {text(_first_line(event.error))}" if event.error else ""
        lines.append(f"- {code(event.name)} ({event.scope}{who}): {event.event}{took}, {_at(record, event)}{why}")
        if event.tail and event.event in {"failed", "died"}:
            lines += ["", *block(event.tail.strip()), ""]
    return lines


def _issues(triage: Triage, record: RunRecord) -> list[str]:
    lines = ["## Issues discovered", ""]
    if not triage.findings:
        lines.append("None.")
    for number, finding in enumerate(triage.findings, 1):
        lines += _issue(number, finding, record)
    if triage.unexplained:
        lines += ["### Not explained", "", "No cause is sure enough to be named for:", ""]
        lines += _tests(triage.unexplained)
    return lines


def _issue(number: int, finding: Finding, record: RunRecord) -> list[str]:
    failures = failures_of(record, finding)
    lines = [f"### Issue {number}: {text(finding.title)}", ""]
    pattern = _pattern(failures)
    if pattern:
        lines += ["**Error pattern**:", "", *block(pattern), ""]
    total = len({test.test for test in record.failures})
    frequency = f"{len(finding.tests)} of {count(total, 'failed test')}"
    if failures:
        workers = Counter(test.worker for test in failures)
        spread = ", ".join(f"{worker}: {number}" for worker, number in sorted(workers.items()))
        first = min(failures, key=lambda test: test.stop)
        frequency += f" ({spread}); the first ended at {moment(record, first.stop)}"
    lines += [f"**Frequency**: {frequency}", ""]
    locations = _locations(failures)
    lines += [f"**Location**: {locations}" if locations else "**Location**: not recorded", ""]
    lines += [
        f"**Root cause**: {finding.cause} ({confidence_label(finding.confidence)}): {MEANING[finding.cause]}.",
        "",
    ]
    if finding.polluter:
        lines += [f"**Polluter**: {code(finding.polluter)}", ""]
    if finding.resource:
        lines += [f"**Resource**: {code(finding.resource)}", ""]
    lines += ["**Impact**: these tests failed because of it:", "", *_tests(finding.tests), ""]
    lines += ["**Evidence**:", "", *_evidence(finding.evidence, record)]
    if finding.reruns:
        lines.append(f"- {count(finding.reruns, 'rerun')} of recorded histories were made to find this.")
    return [*lines, "", f"**Remedy**: {text(finding.remedy)}", ""]


def _pattern(failures: list[TestRun]) -> str:
    """The message of most of them, in its last lines."""
    texts = Counter(
        f"{test.error.kind}: {test.error.message}" if test.error.kind else test.error.text
        for test in failures
        if test.error
    )
    if not texts:
        return ""
    message, times = texts.most_common(1)[0]
    lines = message.strip().splitlines()
    shown = lines if len(lines) <= PATTERN_LINES else [*lines[: PATTERN_LINES - 1], "…"]
    others = len(texts) - 1
    note = [f"({times} times; {count(others, 'other text')} beside it)"] if others else []
    return "\n".join(shown + note)


def _locations(failures: list[TestRun]) -> str:
    places = Counter(
        f"{test.error.frames[-1].source} in {test.error.frames[-1].function}"
        for test in failures
        if test.error and test.error.frames
    )
    return ", ".join(code(place) for place, _ in places.most_common(4))


def _evidence(evidence: Iterable[Evidence], record: RunRecord) -> list[str]:
    observations = list(evidence)
    lines = []
    for one in observations[:MAX_EVIDENCE]:
        parts = where(record, one)
        lines.append(f"- {text(one.text)}" + (f" ({', '.join(map(code, parts))})" if parts else ""))
    if len(observations) > MAX_EVIDENCE:
        lines.append(f"- … and {len(observations) - MAX_EVIDENCE} more observations.")
    return lines or ["- None was recorded."]


def _parallel(triage: Triage, record: RunRecord, summary: RunSummary) -> list[str]:
    lines = ["## Parallel execution analysis", ""]
    workers = list(dict.fromkeys(test.worker for test in record.tests))
    if not workers:
        return [*lines, "No test ran."]
    began = min(test.start for test in record.tests)
    lines += [
        "| worker | tests | passed | failed | busy | first test | last test |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for worker in sorted(workers):
        tests = record.tests_of(worker)
        passed = sum(test.outcome is Outcome.PASSED for test in tests)
        busy = sum(test.took for test in tests)
        start, stop = tests[0].start - began, max(test.stop for test in tests) - began
        failed = sum(test.failed for test in tests)
        lines.append(
            f"| {worker} | {len(tests)} | {passed} | {failed} | {busy:.2f} s | at {start:.2f} s | until {stop:.2f} s |"
        )
    span = max(test.stop for test in record.tests) - began
    work = sum(test.took for test in record.tests)
    lines += ["", f"The tests took {work:.2f} s of work in {span:.2f} s."]
    worked = [f"{count(len(workers), 'worker')} ran tests"] if len(workers) > 1 else []
    worked += [f"{event.name} was ready" for event in record.resources if event.event == "ready"]
    if summary.counts[Outcome.PASSED]:
        worked.append(f"{count(summary.counts[Outcome.PASSED], 'test')} passed")
    failing = [f"{finding.cause}: {text(finding.title)}" for finding in triage.findings]
    failing += [f"worker {event.worker} crashed" for event in record.workers if event.event == "crashed"]
    failing += [
        f"{event.name} {'did not start' if event.event == 'failed' else 'died'}"
        for event in record.resources
        if event.event in {"failed", "died"}
    ]
    lines += ["", "### What worked", "", *_bullets(worked, "Nothing that the record shows.")]
    return [*lines, "", "### What failed", "", *_bullets(failing, "Nothing.")]


def _isolation(triage: Triage, record: RunRecord) -> list[str]:
    lines = ["## Test isolation problems", ""]
    problems = [finding for finding in triage.findings if finding.cause in OF_ISOLATION]
    for number, finding in enumerate(problems, 1):
        lines += [f"### Problem {number}: {finding.cause}", ""]
        sources = list(dict.fromkeys(one.source for one in finding.evidence if one.source))
        if sources:
            lines += [f"**Current design**: see {', '.join(map(code, sources[:5]))}", ""]
        lines += [f"**Issue**: {text(finding.title)}", "", f"**Solution needed**: {text(finding.remedy)}", ""]
    if record.leaks:
        lines += ["### Left behind by tests", ""]
        lines += [
            f"- {text(leak.kind)} {code(leak.description)}" + (f" by {code(leak.test)}" if leak.test else "")
            for leak in record.leaks[:MAX_EVIDENCE]
        ]
    if not problems and not record.leaks:
        lines.append("None was found: no finding is about tests or workers that disturb each other.")
    return lines


def _root_causes(triage: Triage, summary: RunSummary) -> list[str]:
    lines = ["## Root cause summary", ""]
    if not triage.findings:
        return [*lines, "No root cause is named."]
    lines += ["| # | cause | failed tests | confidence | reruns |", "|---:|---|---:|---|---:|"]
    for number, finding in enumerate(triage.findings, 1):
        lines.append(
            f"| {number} | {finding.cause} | {len(finding.tests)} | {confidence_label(finding.confidence)} "
            f"| {finding.reruns} |"
        )
    if triage.unexplained:
        lines.append(f"| | not explained | {len(triage.unexplained)} | | |")
    explained = len({test for finding in triage.findings for test in finding.tests})
    return [*lines, "", f"They explain {explained} of {count(summary.failed, 'failure')}."]


def _options(triage: Triage, record: RunRecord) -> list[str]:
    if not triage.findings:
        return []
    lines = ["## Options for resolution", "", "### Option A: repair the causes", "", "It needs:", ""]
    lines += [f"{number}. {text(finding.remedy)}" for number, finding in enumerate(triage.findings, 1)]
    between = [finding for finding in triage.findings if finding.cause in BETWEEN_WORKERS]
    if record.header.workers > 1 and between:
        work = sum(test.took for test in record.tests)
        rest = [finding for finding in triage.findings if finding not in between]
        hidden = ", ".join(dict.fromkeys(str(finding.cause) for finding in between))
        left = ", ".join(dict.fromkeys(str(finding.cause) for finding in rest))
        lines += ["", "### Option B: run with one worker", "", "It needs `-n 0`.", ""]
        lines.append(f"- It hides, and does not repair: {hidden}.")
        if left:
            lines.append(f"- It leaves: {left}.")
        lines.append(f"- The tests of this run took {work:.2f} s of work, however many workers share it.")
    meet = [finding for finding in triage.findings if finding.cause in OF_ISOLATION]
    clashing = [finding for finding in meet if finding.cause in CLASHES]
    if record.header.workers > 1 and clashing:
        tests = len({test for finding in clashing for test in finding.tests})
        lines += ["", "### Option C: keep apart the tests that meet", ""]
        lines.append(f"It needs the marker `serial` on {count(tests, 'test')}; they then run while no other test does.")
        lines.append("It does not repair what they share, and their time is no longer divided by the workers.")
    return lines


def _plan(triage: Triage) -> list[str]:
    if not triage.findings:
        return []
    lines = ["## Recommended plan", ""]
    steps = []
    for finding in triage.findings:
        doubt = "" if finding.confidence >= LIKELY else " (possible only: look at the evidence first)"
        steps.append(f"{text(finding.remedy)} It concerns {count(len(finding.tests), 'test')}{doubt}.")
    if triage.unexplained:
        steps.append(f"Look at the {count(len(triage.unexplained), 'failure')} without a cause.")
    steps.append(f"Repeat the schedule of this run, {code(f'muster replay {triage.run}')}, and see it pass.")
    return lines + [f"{number}. {step}" for number, step in enumerate(steps, 1)]


def _references(triage: Triage, record: RunRecord) -> list[str]:
    lines = ["## References", ""]
    sources: dict[str, None] = {}
    for finding in triage.findings:
        sources |= dict.fromkeys(one.source for one in finding.evidence if one.source)
        failures = failures_of(record, finding)
        sources |= dict.fromkeys(test.error.frames[-1].source for test in failures if test.error and test.error.frames)
    lines += [f"- {code(source)}" for source in sorted(sources, key=_by_line)[:30]]
    lines.append(f"- Record of the run: {code(f'.muster/runs/{record.directory.name}')}")
    logs = sorted(path.name for path in (record.directory / "logs").glob("*") if path.is_file())
    return lines + [f"- Log: {code(f'.muster/runs/{record.directory.name}/logs/{name}')}" for name in logs[:30]]


def _conclusions(triage: Triage, record: RunRecord, summary: RunSummary) -> list[str]:
    lines = ["## Conclusions", ""]
    ready = [event.name for event in record.resources if event.event == "ready" and event.scope == "shared"]
    bad = [event.name for event in record.resources if event.event in {"failed", "died"}]
    if ready or bad:
        answer = f"no: {', '.join(map(code, dict.fromkeys(bad)))}" if bad else "yes"
        lines.append(f"- **Did the shared infrastructure start and stay?** {answer}.")
    if triage.findings:
        first = triage.findings[0]
        lines.append(f"- **What is the matter?** First of all: {first.cause} ({confidence_label(first.confidence)}).")
        between = [str(finding.cause) for finding in triage.findings if finding.cause in OF_ISOLATION]
        shared = "no: " + ", ".join(dict.fromkeys(between)) if between else "nothing in this run speaks against it"
        lines.append(f"- **Can these tests run beside and after each other?** {shared}.")
    elif summary.failed == 0:
        lines.append("- **What is the matter?** No test failed.")
    if triage.unexplained:
        lines.append(f"- **What is open?** {count(len(triage.unexplained), 'failure')} without a cause.")
    return lines


def _tests(tests: Iterable[str]) -> list[str]:
    shown = folded(tests)
    lines = [f"- {code(name)}" + (f" ({number})" if number > 1 else "") for name, number in shown[:MAX_TESTS]]
    return lines + ([f"- … and {len(shown) - MAX_TESTS} more"] if len(shown) > MAX_TESTS else [])


def _bullets(texts: list[str], otherwise: str) -> list[str]:
    return [f"- {text}" for text in texts] or [otherwise]


def _at(record: RunRecord, event: ResourceEvent) -> str:
    return f"at {moment(record, event.at)}"


def _first_line(text: str | None) -> str:
    return next(iter((text or "").strip().splitlines()), "")


def _by_line(source: str) -> tuple[str, int]:
    file, _, line = source.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (source, 0)
