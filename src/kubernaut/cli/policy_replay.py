"""`kubernaut policy replay` and `policy diff`: what another policy would have decided."""

import contextlib
import difflib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import msgspec

from kubernaut.api.vocabulary import EventType
from kubernaut.cli.columns import Table
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.policy import PolicyArgument, sources_of
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.signalprocessing.policy.comparison import Comparison
    from kubernaut.signalprocessing.policy.recorded import RecordedDecision
    from kubernaut.signalprocessing.policy.replay import ReplayReport
    from kubernaut.signalprocessing.policy.sources import Sources

MAX_PAGE = 1000
"""Events that DataStorage returns in one page."""
CHANGES = Table(
    heads=("decided", "signal", "alert", "part", "was", "would be", "rule"),
    details=("decided", "rule"),
    droppable=("signal",),
    both_ends=("signal",),
    exact=("decided",),
)
DIFFERENCES = Table(heads=("part", "was", "would be", "inputs", "for example"), details=("for example",))

FromOption = Annotated[
    Path | None,
    cyclopts.Parameter(name="--from", help="File of `kubernaut audit export` or `audit query -o json`"),
]
SinceOption = Annotated[str, cyclopts.Parameter(help="A time such as 2026-08-01T10:00:00Z, or how long ago: 24h, 7d")]
UntilOption = Annotated[str | None, cyclopts.Parameter(help="As --since")]


async def replay(
    policy: PolicyArgument,
    /,
    *,
    source: FromOption = None,
    since: SinceOption = "7d",
    until: UntilOption = None,
    baseline: Annotated[
        Path | None,
        cyclopts.Parameter(help="Compare with what this policy decides, in place of what was recorded"),
    ] = None,
    fail_on_change: Annotated[
        bool, cyclopts.Parameter(negative="", help="Exit with 1 when a decision changes")
    ] = False,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Decide past signals by another policy and list what would change.

    The signals come from DataStorage, or with `--from` from a file. Each is decided from the facts that its decision
    was recorded with; a recorded decision holds environment, severity and priority, so labels, cluster and business
    class are compared with `--baseline` only.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.live import open_policy
    from kubernaut.signalprocessing.policy.replay import replay as replay_decisions
    from kubernaut.signalprocessing.policy.replay import summary

    async with contextlib.AsyncExitStack() as stack:
        new = await stack.enter_async_context(open_policy(sources_of(policy)))
        old = await stack.enter_async_context(open_policy(sources_of(baseline))) if baseline else None
        decisions = _recorded(source, since, until, connection)
        report = await replay_decisions(decisions, new, old)
    if not emit(report, output, [change.signal for change in report.changes]):
        _show(report)
        say(visible(summary(report)))
    if not report.signals:
        note("no classification decision was recorded in that time; try --since 30d")
    for rule, count in sorted(report.failures.items()):
        note(visible(f"{rule} fails for {count} of these signals and falls back"))
    if report.incomplete:
        note(f"{report.incomplete} of these signals were too large to be recorded whole; their answers may differ")
    return 1 if fail_on_change and report.changes else 0


def _show(report: "ReplayReport") -> None:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.outcome import text_of

    rows = [
        (
            change.decided_at[:19],
            change.signal,
            change.alert,
            part,
            text_of(before),
            text_of(after),
            change.rule_after if part == "priority" else "",
        )
        for change in report.changes
        for part, (before, after) in change.parts.items()
    ]
    if rows:
        table(CHANGES, rows)


async def _recorded(
    source: Path | None, since: str, until: str | None, connection: ConnectionOptions | None
) -> AsyncIterator["RecordedDecision"]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import recorded

    try:
        if source is not None:
            for each in recorded.read_file(source):
                yield each
            return
        given: dict[str, str | int] = {"event_type": EventType.CLASSIFICATION_DECISION, "since": since}
        given |= {"until": until} if until else {}
        async with open_store(connection) as store:
            while True:
                page = await store.query(given | {"limit": MAX_PAGE})
                for event in page.data:
                    at = event.event_timestamp.isoformat()
                    found = recorded.decision_of(event.event_type, event.correlation_id, at, bytes(event.event_data))
                    if found:
                        yield found
                if not page.pagination.has_more or not page.pagination.cursor:
                    return
                given["cursor"] = page.pagination.cursor
    except (recorded.InvalidRecord, msgspec.DecodeError) as error:
        raise CommandError(str(error), code=2, hint="kubernaut audit export FILE") from error


async def diff(
    before: PolicyArgument,
    after: PolicyArgument,
    /,
    *,
    source: FromOption = None,
    is_recorded: Annotated[
        bool, cyclopts.Parameter(name="--recorded", negative="", help="Compare on the signals of DataStorage")
    ] = False,
    since: SinceOption = "7d",
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Compare two policies: their text, and the answers in which they differ; exit code 1 when answers differ.

    Both are evaluated for a table of inputs that is made of the values with which they compare them, or with
    `--recorded` or `--from` for past signals.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import comparison
    from kubernaut.signalprocessing.policy.live import open_policy

    old, new = sources_of(before), sources_of(after)
    async with open_policy(old) as first, open_policy(new) as second:
        if source or is_recorded:
            found = await comparison.compare_recorded(_recorded(source, since, None, connection), first, second)
        else:
            found = await comparison.compare_table(first, second)
    text = _text_diff(old, new, str(before), str(after))
    if not emit({"text": text, "answers": found}, output, [each.part for each in found.differences]):
        if text:
            say("\n".join(visible(line.replace("\t", "    ")) for line in text))
            say("")
        _show_comparison(found)
    return 1 if found.differences else 0


def _text_diff(old: "Sources", new: "Sources", before: str, after: str) -> list[str]:
    was, now = dict(old.files), dict(new.files)
    if len(was) == len(now) == 1:
        ((_, one),), ((_, other),) = was.items(), now.items()
        return [*difflib.unified_diff(one.splitlines(), other.splitlines(), before, after, lineterm="")]
    return [
        line
        for file in sorted(was.keys() | now.keys())
        for line in difflib.unified_diff(
            was.get(file, "").splitlines(),
            now.get(file, "").splitlines(),
            f"{before}/{file}",
            f"{after}/{file}",
            lineterm="",
        )
    ]


def _show_comparison(found: "Comparison") -> None:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.outcome import text_of

    rows = [
        (each.part, text_of(each.before), text_of(each.after), each.count, _compact(each.example))
        for each in found.differences
    ]
    if rows:
        table(DIFFERENCES, rows)
    differing = f"{found.differing} differ" if found.differing else "none differs"
    say(f"{found.inputs} inputs, {differing}")


def _compact(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, separators=(",", ":"), ensure_ascii=False)
