"""`kubernaut demo`: the embedded stack, the shop's alerts, and their decisions on a terminal."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from kubernaut.api.events import Timeline, Verification
from kubernaut.api.signals import SignalProcessing
from kubernaut.cli.audit import show_events, show_verification
from kubernaut.cli.output import say
from kubernaut.cli.stack import DataDirOption, KubeconfigOption, Progress, addresses, stay

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY = """\
One Alertmanager payload with six firing alerts created six signals; its seventh alert was resolved and created none.
Each signal was enriched from the Kubernetes API, decided by one Rego policy, and completed with one status update.
Every step is an event in a ledger on PostgreSQL that was just verified: edit one row, and verification names it."""

NEXT_STEPS = """\
Next: kubernaut demo --keep keeps the stack running and prints commands to explore it;
kubernaut up starts an empty stack for an Alertmanager of yours; edit a copy of policy.rego to change the decisions."""


async def demo(
    *,
    keep: Annotated[bool, cyclopts.Parameter(help="Keep the stack running until Ctrl-C")] = False,
    data_dir: DataDirOption = None,
    kubeconfig: KubeconfigOption = None,
) -> int:
    """Run the whole system on this machine, send it six alerts, and print the decisions and the verified audit log.

    Exit code 1 when a decision is not the expected one or the audit log does not verify.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.embedded.demo import runner
    from kubernaut.embedded.stack import StackConfig, open_stack

    progress = Progress()
    config = StackConfig(directory=data_dir, kubeconfig=kubeconfig, temporary=data_dir is None)
    async with open_stack(config, progress.ready) as stack:
        progress.done()
        display = Display()
        with display.live():
            result = await runner.run(stack, display)
        display.close(result.first_decision)
        for problem in result.problems:
            say(f"UNEXPECTED  {problem}")
        say("")
        say(SUMMARY)
        if keep:
            say("")
            say(addresses(stack))
            await stay(stack)
        else:
            say(NEXT_STEPS)
    return 1 if result.problems else 0


class Display:
    """Displays the demo: on a terminal as a table that is updated while signals are decided, elsewhere as lines."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._signals: dict[str, SignalProcessing] = {}
        self._verified: dict[str, str] = {}
        self._timeline: Timeline | None = None
        self._live: Any = None  # rich.live.Live, which is imported on a terminal only
        self._ledger: Verification | None = None

    def live(self) -> AbstractContextManager[object]:
        """While this is open, the table is redrawn at each change."""
        if not self._is_terminal:
            return nullcontext()
        # Lazy import, see kubernaut.cli.app.
        from rich.live import Live

        self._live = Live(self._table(), refresh_per_second=20)
        live: AbstractContextManager[object] = self._live
        return live

    def objects_created(self, skipped: Sequence[str]) -> None:
        for kind in skipped:
            say(f"{kind} is not available in this Kubernetes API, skipping its objects")

    def alerts_sent(self, response: dict[str, Any]) -> None:
        summary = ", ".join(f"{name} {count}" for name, count in response.get("summary", {}).items() if count)
        say(f"Alertmanager payload sent: {summary or response.get('status')}")

    def signal_changed(self, signal: SignalProcessing) -> None:
        self._signals[signal.spec.signal.name] = signal
        if self._live:
            self._live.update(self._table())
        elif signal.status.phase is not None:
            say("  ".join([f"{signal.spec.signal.name:<32}", f"{phases(signal):<76}", decision(signal)]))

    def timeline_verified(self, signal: SignalProcessing, timeline: Timeline, result: Verification) -> None:
        text = f"{result.verified_events} events {'verified' if result.is_valid else 'NOT VERIFIED'}"
        self._verified[signal.spec.signal.name] = text
        self._timeline = self._timeline or timeline
        if self._live:
            self._live.update(self._table())
        else:
            say(f"{signal.spec.signal.name:<32}  {signal.spec.remediation_request_ref.name}: {text}")

    def ledger_verified(self, result: Verification) -> None:
        self._ledger = result

    def close(self, first_decision: float) -> None:
        """Print the audit events of one signal, the verification of the ledger, and the time it took."""
        if self._timeline:
            say(f"\nAudit events of {self._timeline.correlation_id}:")
            show_events(self._timeline.events)
        if self._ledger:
            say("")
            show_verification(self._ledger)
        say(f"First decision {first_decision * 1000:.0f} ms after the alerts were sent.")

    def _table(self) -> "Table":
        # Lazy import, see kubernaut.cli.app.
        from rich import box
        from rich.table import Table

        # Lazy import, see kubernaut.cli.app.
        from kubernaut.embedded.demo.scenario import EXPECTED

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        heads = (
            "alert",
            "target",
            "phase, ms per step",
            "environment",
            "severity",
            "priority",
            "reason",
            "audit events",
        )
        for head in heads:
            table.add_column(head, overflow="fold", no_wrap=head in ("alert", "phase, ms per step"))
        for alert, expected in EXPECTED.items():
            signal = self._signals.get(alert)
            if signal is None:
                table.add_row(alert, "", "[dim]not created yet[/dim]", "", "", "", "", "")
                continue
            target = signal.spec.signal.target_resource
            cells = [
                f"{target.kind}/{target.name}",
                " ".join([str(signal.status.phase or "new"), " + ".join(f"{took:.1f}" for _, took in steps(signal))]),
                *decision(signal).split(" · "),
            ]
            cells += [""] * (5 - len(cells))
            table.add_row(alert, *cells, expected.reason, self._verified.get(alert, ""))
        return table


def phases(signal: SignalProcessing) -> str:
    """The phases that the signal went through, with the milliseconds each took."""
    return " → ".join(f"{word} {took:.1f} ms" for word, took in steps(signal)) or str(signal.status.phase or "")


def steps(signal: SignalProcessing) -> list[tuple[str, float]]:
    """The steps that the signal has completed, and the milliseconds each took, by the times in its status."""
    status = signal.status
    ends = [
        (word, condition.last_transition_time)
        for word, type in (("enriched", "EnrichmentComplete"), ("classified", "ClassificationComplete"))
        if (condition := status.condition(type)) is not None and condition.status == "True"
    ]
    if status.completion_time is not None:
        ends.append((str(status.phase), status.completion_time))
    begins = [status.start_time, *(end for _, end in ends)]
    return [
        (word, (end - begin).total_seconds() * 1000)
        for (word, end), begin in zip(ends, begins, strict=False)
        if begin is not None
    ]


def decision(signal: SignalProcessing) -> str:
    """Environment, severity and priority, as far as they are decided."""
    status = signal.status
    if status.priority_assignment is None or status.environment_classification is None:
        return ""
    severity = status.signal_classification.severity if status.signal_classification else None
    degraded = " (degraded)" if status.kubernetes_context and status.kubernetes_context.degraded_mode else ""
    environment = status.environment_classification.environment
    return " · ".join([f"{environment}{degraded}", str(severity), str(status.priority_assignment.priority)])
