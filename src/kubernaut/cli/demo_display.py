"""What `kubernaut demo` prints: two lines for each signal, which fit a terminal of 60 columns.

On a terminal the signals are redrawn while they are decided; elsewhere each is printed once, when it is final.
Every word comes from the status of the signal or the answers of DataStorage, none from what the demo expects.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kubernaut.api.events import Timeline, Verification
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.summaries import reasons
from kubernaut.cli.columns import Table
from kubernaut.cli.output import say, table
from kubernaut.embedded.demo.policy_change import PolicyChange
from kubernaut.embedded.demo.tampering import Tampering
from kubernaut.ops.visible_text import visible

MAX_COLUMNS = 100
INDENT = "    "
TIMELINE = Table(
    heads=("seq", "time", "event", "hash"), details=("hash", "time"), both_ends=("event",), exact=("time",)
)


class Display:
    """Prints each step of the demo as it happens."""

    def __init__(self, alerts: Sequence[str]) -> None:
        self._signals: dict[str, SignalProcessing | None] = dict.fromkeys(alerts)
        self._is_terminal = sys.stdout.isatty()
        self._live: Any = None  # rich.live.Live, which is imported on a terminal only
        self._verified: list[Verification] = []
        self._timeline: Timeline | None = None

    def live(self) -> AbstractContextManager[object]:
        """While this is open, signals are redrawn at each change; does nothing off a terminal."""
        if not self._is_terminal:
            return nullcontext()
        # Lazy import, see kubernaut.cli.app.
        from rich.live import Live

        self._live = Live(self._all(), refresh_per_second=20, vertical_overflow="visible")
        live: AbstractContextManager[object] = self._live
        return live

    def objects_created(self, skipped: Sequence[str]) -> None:
        for kind in skipped:
            paragraph(f"{kind} is not available in this Kubernetes API, skipping its objects")

    def alerts_sent(self, response: dict[str, Any]) -> None:
        summary = ", ".join(f"{name} {count}" for name, count in response.get("summary", {}).items() if count)
        paragraph(f"Alertmanager payload sent: {summary or response.get('status')}")

    def signal_changed(self, signal: SignalProcessing) -> None:
        self._signals[signal.spec.signal.name] = signal
        if self._live:
            self._live.update(self._all())
        elif signal.status.phase is not None and signal.status.phase.is_final:
            say("\n".join(card(signal.spec.signal.name, signal)))

    def timeline_verified(self, signal: SignalProcessing, timeline: Timeline, result: Verification) -> None:
        self._verified.append(result)
        self._timeline = self._timeline or timeline

    def decided(self, first_decision: float) -> None:
        """Print the audit events of one signal, and how long the first decision took."""
        self._live = None
        say(f"First decision {first_decision * 1000:.0f} ms after the alerts were sent.")
        if self._timeline:
            say("")
            paragraph(f"Each step is an audit event; those of {self._timeline.correlation_id}:")
            rows = [
                (
                    event.sequence,
                    event.event_timestamp.strftime("%H:%M:%S.%f")[:-3],
                    event.event_type,
                    event.event_hash[:8],
                )
                for event in self._timeline.events
            ]
            table(TIMELINE, rows)
        events = sum(result.verified_events for result in self._verified)
        is_valid = all(result.is_valid for result in self._verified)
        say(f"{len(self._verified)} signals, {events} events: {'verified' if is_valid else 'NOT VERIFIED'}")

    def policy_changed(self, change: PolicyChange) -> None:
        say("")
        say("== A rule changes while the controller runs")
        paragraph(f"policy.rego, {change.rule}: {change.before} is now {change.after}")
        paragraph(
            f"in force after {change.took:.1f} s, without a restart:"
            f" policy {change.new_hash[:8]} replaced {change.old_hash[:8]}"
        )

    def decided_anew(self, signal: SignalProcessing, before: SignalProcessing) -> None:
        say("\n".join(card(signal.spec.signal.name, signal)))
        old, new = priority(before), priority(signal)
        paragraph(f"{new} by the new rule; {before.spec.signal.name} above was {old} by the old one.")

    def tampered(self, tampering: Tampering, result: Verification) -> None:
        say("")
        say("== A row changes in PostgreSQL, behind DataStorage")
        paragraph(
            f"UPDATE audit_events, event {tampering.event_id}: priority {tampering.before} is now {tampering.after}"
        )
        state = "verified: the edit was NOT found" if result.is_valid else "NOT VERIFIED, the edit was found"
        paragraph(f"kubernaut audit verify: {state}")
        for finding in result.findings[:3]:
            paragraph(f"sequence {finding.sequence}: {finding.message}")

    def ledger_verified(self, result: Verification) -> None:
        counts = f"{result.verified_events} of {result.total_events} events"
        say(f"The row put back: {'verified' if result.is_valid else 'NOT VERIFIED'}, {counts}")

    def _all(self) -> Any:
        # Lazy import, see kubernaut.cli.app.
        from rich.text import Text

        lines = [line for alert, signal in self._signals.items() for line in card(alert, signal)]
        return Text("\n".join(lines), no_wrap=True, overflow="crop")


def card(alert: str, signal: SignalProcessing | None) -> list[str]:
    """Priority, alert, target and time in the first line; in the others the decision and why."""
    if signal is None:
        return [f"--  {alert}", f"{INDENT}not created yet"]
    target = signal.spec.signal.target_resource
    place = f" in {target.namespace}" if target.namespace else ""
    took = duration(signal)
    head = visible(f"{priority(signal):<3} {alert}  {target.kind}/{target.name}{place}")
    width = columns()
    if len(head) + len(took) + 2 > width:
        head = f"{head[: width - len(took) - 3]}…"
    first = f"{head}{took:>{width - len(head)}}" if took else head
    why = visible(" · ".join(reasons(signal)) or str(signal.status.phase or "new"))
    return [first, *textwrap.wrap(why, width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)]


def priority(signal: SignalProcessing) -> str:
    """The priority, `--` as long as there is none."""
    assigned = signal.status.priority_assignment
    return str(assigned.priority) if assigned is not None else "--"


def duration(signal: SignalProcessing) -> str:
    """Milliseconds from the start of the processing to its end, by the times in the status."""
    start, end = signal.status.start_time, signal.status.completion_time
    return f"{(end - start).total_seconds() * 1000:.1f} ms" if start is not None and end is not None else ""


def paragraph(text: str) -> None:
    """One paragraph from outside or of ours, wrapped to the terminal."""
    say(textwrap.fill(visible(text), columns(), break_on_hyphens=False, subsequent_indent="  "))


def columns() -> int:
    """The width of the terminal, within bounds; COLUMNS overrides it."""
    return max(40, min(shutil.get_terminal_size().columns, MAX_COLUMNS))
