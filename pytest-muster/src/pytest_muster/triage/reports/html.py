"""A triage as one HTML file with the timeline of the workers; it opens without a network and loads nothing.

Whatever tests, their outputs and findings hold is text there: it is escaped, and the policy of the page runs no script
and no style but its own two.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import ResourceEvent, RunRecord
from pytest_muster.records.text import visible
from pytest_muster.triage.findings import Evidence, Finding, Triage
from pytest_muster.triage.reports.run_summary import (
    RunSummary,
    command,
    confidence_label,
    count,
    folded,
    moment,
    origin,
    summarize,
)
from pytest_muster.triage.reports.timeline import timeline

MAX_TESTS = 8


def render(triage: Triage, record: RunRecord) -> str:
    """A whole page; with UTF-8 as its encoding, whatever the names of tests hold."""
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    script = files(__package__).joinpath("page.js").read_text("utf-8")
    summary = summarize(record)
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    data = timeline(triage, record)
    name = record.root.name or "tests"
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Triage: {_text(name)}, {summary.failed} of {summary.ran} failed</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#findings">Skip to the findings</a>
{_top(name, triage, record, summary)}
<main>
<div class="left">
{_timeline_card(data["tests"] != [])}
<section class="card" aria-labelledby="details-head">
<div class="head"><h2 id="details-head">Test</h2></div>
<div class="body" id="details"><p class="none">The timeline and this part need JavaScript.</p></div>
</section>
{_workers(record)}
{_resources(record)}
{_tests_card()}
</div>
<section class="findings" id="findings" aria-label="Findings">
{_findings(triage, record)}
</section>
</main>
<footer>Written by pytest-muster {_text(record.header.muster or "")} from the record of run
<span class="mono">{_text(triage.run)}</span>. Times are seconds since the first test began.</footer>
<div id="status" role="status" aria-live="polite"></div>
<script type="application/json" id="data">{_embedded(data)}</script>
<script>{script}</script>
</body>
</html>
"""
    return page.encode("utf-8", "backslashreplace").decode("utf-8")  # a name may hold halves of surrogates


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(data: object) -> str:
    """JSON that no parser of HTML can take for anything else."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII only
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _top(name: str, triage: Triage, record: RunRecord, summary: RunSummary) -> str:
    header = record.header
    verdict = "passed" if summary.passed else "failed"
    pills = [f'<span class="pill {verdict}"><span class="dot"></span>{"PASS" if summary.passed else "FAIL"}</span>']
    for outcome, number in summary.counts.items():
        if number:
            pills.append(
                f'<span class="pill {outcome.value}"><span class="dot"></span><b>{number}</b> {outcome.value}</span>'
            )
    if not summary.complete:
        pills.append(f'<span class="pill failed"><span class="dot"></span>{_text(summary.stop_reason)}</span>')
    began = datetime.fromtimestamp(header.at, UTC)
    conditions = [
        f"{began:%Y-%m-%d %H:%M:%S} UTC",
        count(header.workers, "worker"),
        summary.lines[0],
        f"seed {header.seed}" if header.seed is not None else "",
        f"revision {header.revision[:12]}{' with local changes' if header.dirty else ''}" if header.revision else "",
        f"pytest {header.pytest}" if header.pytest else "",
        f"Python {header.python}" if header.python else "",
        header.platform,
    ]
    text = "".join(f"<span>{_text(condition)}</span>" for condition in conditions if condition)
    return f"""<header class="top">
<div><h1>Triage: {_text(name)}</h1></div>
<div><button id="theme" class="js-only" type="button">Light or dark</button></div>
<div class="verdict">{"".join(pills)}</div>
<div class="conditions"><code>{_text(command(record))}</code>{text}</div>
</header>"""


def _timeline_card(has_tests: bool) -> str:
    about = (
        "Timeline of the workers: a row each, bars are tests. Left and right go from test to test, up and down from "
        "worker to worker, n to the next failure, plus and minus zoom, 0 shows all, Escape clears."
    )
    if not has_tests:
        return '<section class="card"><div class="head"><h2>Timeline</h2></div><p class="body">No test ran.</p>' + (
            _machinery("hidden") + "</section>"
        )
    legend = "".join(
        f'<span class="{outcome.value}"><span class="dot"></span>{outcome.value}</span>' for outcome in Outcome
    )
    return f"""<section class="card" aria-labelledby="timeline-head">
<div class="head"><h2 id="timeline-head">Timeline</h2><span class="space"></span>
<span class="js-only"><button id="closer" type="button" aria-label="Zoom in">+</button>
<button id="wider" type="button" aria-label="Zoom out">−</button>
<button id="fit" type="button">All</button></span></div>
<div id="timeline">
<canvas id="canvas" tabindex="0" role="application" aria-label="{about}"></canvas>
<div id="tip" aria-hidden="true" hidden></div>
</div>
<div class="body legend">{legend}
<span><span class="shade setup"></span>set-up</span><span><span class="shade"></span>body</span>
<span><span class="shade teardown"></span>teardown</span>
<span>✕ died or crashed</span><span>number: the finding that explains a failure</span>
<span>drag to move, Ctrl and wheel to zoom, n for the next failure</span></div>
</section>"""  # noqa: RUF001  # a minus sign is what the button shows


def _machinery(hidden: str) -> str:
    """What the script expects, where there is nothing to show."""
    return (
        f'<div id="timeline" {hidden}><canvas id="canvas"></canvas><div id="tip"></div><button id="closer"></button>'
        '<button id="wider"></button><button id="fit"></button></div>'
    )


def _tests_card() -> str:
    options = "".join(f'<option value="{outcome.value}">{outcome.value}</option>' for outcome in Outcome)
    return f"""<section class="card" aria-labelledby="tests-head">
<div class="head"><h2 id="tests-head">Tests</h2><span id="count" class="none" role="status"></span>
<span class="space"></span>
<label class="js-only">Filter <input id="search" type="search" placeholder="name or worker"></label>
<label class="js-only">Outcome <select id="only"><option value="">any</option>{options}</select></label></div>
{_table("tests-head", ("outcome", "test", "worker", "at (s)", "took", "finding"), '<tbody id="rows"></tbody>')}
<div class="head"><button id="more" type="button" hidden>More</button></div>
</section>"""


def _workers(record: RunRecord) -> str:
    rows = []
    began = origin(record)
    for worker in sorted({test.worker for test in record.tests}):
        tests = record.tests_of(worker)
        passed = sum(test.outcome is Outcome.PASSED for test in tests)
        failed = sum(test.failed for test in tests)
        busy = sum(test.took for test in tests)
        until = max(test.stop for test in tests) - began
        end = next((event.event for event in reversed(record.workers) if event.worker == worker), "")
        cells = [f'<th scope="row">{_text(worker)}</th>']
        cells += [f'<td class="n">{cell}</td>' for cell in (len(tests), passed, failed, f"{busy:.2f}", f"{until:.2f}")]
        rows.append(f"<tr>{''.join(cells)}<td>{_text(end)}</td></tr>")
    if not rows:
        return ""
    heads = ("worker", "tests", "passed", "failed", "busy (s)", "until (s)", "end")
    return f"""<section class="card" aria-labelledby="workers-head">
<div class="head"><h2 id="workers-head">Workers</h2></div>
{_table("workers-head", heads, f"<tbody>{''.join(rows)}</tbody>")}
</section>"""


def _resources(record: RunRecord) -> str:
    events = [event for event in record.resources if event.event != "probe" or event.ok is False]
    if not events:
        return ""
    rows = "".join(_resource(record, event) for event in events)
    return f"""<section class="card" aria-labelledby="resources-head">
<div class="head"><h2 id="resources-head">Resources</h2></div>
{_table("resources-head", ("at", "resource", "event", "what is known"), f"<tbody>{rows}</tbody>")}
</section>"""


def _resource(record: RunRecord, event: ResourceEvent) -> str:
    known = f"after {event.took:.2f} s" if event.took is not None else ""
    if event.error:
        known += f"<div>{_text(event.error)}</div>"
    if event.tail:
        known += f"<details><summary>its last lines</summary><pre tabindex='0'>{_text(event.tail)}</pre></details>"
    who = event.name if event.worker is None else f"{event.name} ({event.worker})"
    cells = f'<td class="n">{moment(record, event.at)}</td><td>{_text(who)}</td><td>{_text(event.event)}</td>'
    return f"<tr>{cells}<td>{known}</td></tr>"


def _findings(triage: Triage, record: RunRecord) -> str:
    cards = [_finding(number, finding, record) for number, finding in enumerate(triage.findings)]
    if triage.unexplained:
        tests = _test_list(triage.unexplained)
        cards.append(f'<article class="card finding"><h3>Not explained</h3>{tests}</article>')
    if not cards:
        text = "No test failed; there is nothing to explain."
        cards.append(
            f'<article class="card"><div class="head"><h2>Findings</h2></div><p class="body">{text}</p></article>'
        )
    return "\n".join(cards)


def _finding(number: int, finding: Finding, record: RunRecord) -> str:
    total = max(len({test.test for test in record.failures}), len(finding.tests))
    evidence = "".join(_evidence(number, one, record) for one in finding.evidence) or "<li>None was recorded.</li>"
    extra = ""
    if finding.polluter:
        extra += f'<p><span class="label">Polluter</span><br><code>{_text(finding.polluter)}</code></p>'
    if finding.resource:
        extra += f'<p><span class="label">Resource</span><br><code>{_text(finding.resource)}</code></p>'
    if finding.reruns:
        extra += f'<p class="when">Found with {count(finding.reruns, "rerun")}.</p>'
    cause = _text(str(finding.cause))
    return f"""<article class="card finding" id="finding-{number}" tabindex="-1" aria-labelledby="title-{number}">
<div class="kind"><span class="number">{number + 1}</span><span class="cause">{cause}</span>
<span class="sure">{confidence_label(finding.confidence)}</span></div>
<meter min="0" max="1" low="0.6" high="0.85" optimum="1" value="{finding.confidence:.2f}"
 aria-label="confidence {finding.confidence:.0%}"></meter>
<h3 id="title-{number}">{_prose(finding.title)}</h3>
<p class="js-only"><button type="button" id="show-{number}" data-finding="{number}" aria-pressed="false">Show its
{count(len(finding.tests), "test")} in the timeline</button></p>
<details><summary>{len(finding.tests)} of {count(total, "failed test")}</summary>{_test_list(finding.tests)}</details>
<p class="label">Why</p><ul>{evidence}</ul>{extra}
<div class="remedy"><span class="label">Remedy</span><br>{_prose(finding.remedy)}</div>
</article>"""


def _evidence(number: int, evidence: Evidence, record: RunRecord) -> str:
    parts = []
    if evidence.at is not None:
        at = evidence.at - origin(record)
        parts.append(
            f'<button type="button" data-of="{number}" data-at="{at:.4f}">{moment(record, evidence.at)}</button>'
        )
    parts += [_text(evidence.worker)] if evidence.worker else []
    parts += [f"<code>{_text(evidence.source)}</code>"] if evidence.source else []
    when = f' <span class="when">{" ".join(parts)}</span>' if parts else ""
    return f"<li>{_prose(evidence.text)}{when}</li>"


def _test_list(tests: tuple[str, ...]) -> str:
    shown = folded(tests)
    items = [
        f"<li><code>{_text(name)}</code>{f' ({number})' if number > 1 else ''}</li>"
        for name, number in shown[:MAX_TESTS]
    ]
    if len(shown) > MAX_TESTS:
        items.append(f"<li>… and {len(shown) - MAX_TESTS} more</li>")
    return f"<ul>{''.join(items)}</ul>"


def _prose(text: str) -> str:
    """Escaped; what is between backticks is code."""
    parts = _text(text).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _text(text: str) -> str:
    """Text from outside as HTML."""
    return escape(visible(text))


_NUMBERS = {"at", "tests", "passed", "failed", "busy (s)", "until (s)", "at (s)", "took", "finding"}
"""Columns that hold numbers."""


def _table(label: str, heads: Iterable[str], body: str) -> str:
    """A table that may be wider or higher than its place, which the keyboard can scroll, too."""
    cells = "".join(f'<th scope="col"{" class=n" if head in _NUMBERS else ""}>{head}</th>' for head in heads)
    region = f'<div class="body scroll" role="region" tabindex="0" aria-labelledby="{label}">'
    return f"{region}<table><thead><tr>{cells}</tr></thead>{body}</table></div>"
