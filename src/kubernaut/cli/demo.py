"""`kubernaut demo`: the embedded stack, the shop's alerts, and a terminal to watch them on."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from kubernaut.api.events import Timeline, Verification
from kubernaut.api.signals import SignalProcessing
from kubernaut.cli.output import say
from kubernaut.cli.stack import DataDirOption, KubeconfigOption, Progress, addresses, stay

if TYPE_CHECKING:
    from rich.table import Table

WHAT_YOU_SAW = """\
Six alerts of one Alertmanager payload became six signals; a seventh was a resolve notice and opened none.
Each was enriched from the Kubernetes API, ranked by one Rego policy, and decided with a single write to its status.
Every step stands in a ledger on PostgreSQL whose hashes were just checked: edit one row and the check names it."""

WHAT_NEXT = """\
Try next: kubernaut demo --keep, then in a second terminal the commands it prints;
kubernaut up for an empty stack to point an Alertmanager at; your own rules in a copy of policy.rego."""


async def demo(
    *,
    keep: Annotated[bool, cyclopts.Parameter(help="Stay until Ctrl-C, to look around")] = False,
    data_dir: DataDirOption = None,
    kubeconfig: KubeconfigOption = None,
) -> int:
    """The whole system on this machine: starts it, sends six alerts, prints decisions and the verified trail, stops.

    Exit code 1 when a decision or the trail is not as it must be.
    """
    from kubernaut.embedded.demo.play import play
    from kubernaut.embedded.stack import StackConfig, open_stack

    progress = Progress()
    config = StackConfig(directory=data_dir, kubeconfig=kubeconfig, temporary=data_dir is None)
    async with open_stack(config, progress.ready) as stack:
        progress.done()
        show = Show()
        with show.live():
            review = await play(stack, show)
        show.close(review.first_decision)
        for problem in review.problems:
            say(f"NOT AS EXPECTED  {problem}")
        say("")
        say(WHAT_YOU_SAW)
        if keep:
            say("")
            say(addresses(stack))
            await stay(stack)
        else:
            say(WHAT_NEXT)
    return 1 if review.problems else 0


class Show:
    """The demo on a terminal: a table that fills while signals are decided; plain lines anywhere else."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._signals: dict[str, SignalProcessing] = {}
        self._verified: dict[str, str] = {}
        self._trail: Timeline | None = None
        self._live: Any = None  # rich.live.Live, which is imported on a terminal only
        self._ledger: Verification | None = None

    def live(self) -> AbstractContextManager[object]:
        """While this is open, the table is redrawn with each change."""
        if not self._is_terminal:
            return nullcontext()
        from rich.live import Live

        self._live = Live(self._table(), refresh_per_second=20)
        live: AbstractContextManager[object] = self._live
        return live

    def shop_opened(self, skipped: Sequence[str]) -> None:
        for kind in skipped:
            say(f"this Kubernetes API does not have {kind}; the demo goes on without it")

    def alerts_sent(self, answer: dict[str, Any]) -> None:
        summary = ", ".join(f"{name} {count}" for name, count in answer.get("summary", {}).items() if count)
        say(f"Alertmanager's payload delivered: {summary or answer.get('status')}")

    def signal_changed(self, signal: SignalProcessing) -> None:
        self._signals[signal.spec.signal.name] = signal
        if self._live:
            self._live.update(self._table())
        elif signal.status.phase is not None:
            say("  ".join([f"{signal.spec.signal.name:<32}", f"{phases(signal):<76}", decision(signal)]))

    def trail_verified(self, signal: SignalProcessing, trail: Timeline, verdict: Verification) -> None:
        text = f"{verdict.verified_events} events {'verified' if verdict.is_valid else 'NOT VERIFIED'}"
        self._verified[signal.spec.signal.name] = text
        self._trail = self._trail or trail
        if self._live:
            self._live.update(self._table())
        else:
            say(f"{signal.spec.signal.name:<32}  {signal.spec.remediation_request_ref.name}: {text}")

    def ledger_verified(self, verdict: Verification) -> None:
        self._ledger = verdict

    def close(self, first_decision: float) -> None:
        """What is worth saying once the table stands still."""
        from kubernaut.cli.audit import show_events, show_verification

        if self._trail:
            say(f"\nThe trail of {self._trail.correlation_id}:")
            show_events(self._trail.events)
        if self._ledger:
            say("")
            show_verification(self._ledger)
        say(f"The first decision stood {first_decision * 1000:.0f} ms after the alerts were sent.")

    def _table(self) -> "Table":
        from rich import box
        from rich.table import Table

        from kubernaut.embedded.demo.scenario import EXPECTED

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        heads = (
            "alert",
            "target",
            "phase, ms per step",
            "environment",
            "severity",
            "priority",
            "why",
            "trail",
        )
        for head in heads:
            table.add_column(head, overflow="fold", no_wrap=head in ("alert", "phase, ms per step"))
        for alert, expected in EXPECTED.items():
            signal = self._signals.get(alert)
            if signal is None:
                table.add_row(alert, "", "[dim]not there yet[/dim]", "", "", "", "", "")
                continue
            target = signal.spec.signal.target_resource
            cells = [
                f"{target.kind}/{target.name}",
                " ".join([str(signal.status.phase or "new"), " + ".join(f"{took:.1f}" for _, took in steps(signal))]),
                *decision(signal).split(" · "),
            ]
            cells += [""] * (5 - len(cells))
            table.add_row(alert, *cells, expected.why, self._verified.get(alert, ""))
        return table


def phases(signal: SignalProcessing) -> str:
    """The phases that the signal went through, with the milliseconds each took."""
    return " → ".join(f"{word} {took:.1f} ms" for word, took in steps(signal)) or str(signal.status.phase or "")


def steps(signal: SignalProcessing) -> list[tuple[str, float]]:
    """What has been done with the signal so far, and the milliseconds each step took, by the times in its status."""
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
