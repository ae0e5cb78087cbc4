"""`kubernaut signals …`: list and show signals, read from the Kubernetes API."""

import contextlib
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import cyclopts

from kubernaut.api.remediation import REMEDIATION_KIND, REMEDIATION_PLURAL, RemediationRequest
from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.api.summaries import age, is_in, occurrence_count, resolved_at, target
from kubernaut.api.vocabulary import Priority
from kubernaut.cli.cluster import AllNamespacesOption, ClusterOptions, NamespaceOption, check_namespaces, open_cluster
from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table, terminal_columns
from kubernaut.ops.visible_text import visible

SelectorOption = Annotated[
    str,
    cyclopts.Parameter(name=["--selector", "-l"], help="Only signals with these labels, such as a=b,c!=d,e"),
]
SIGNALS = Table(
    heads=(
        *("namespace", "name", "alert", "target", "phase", "environment", "severity", "priority"),
        *("occurrences", "resolved", "age"),
    ),
    details=("namespace", "occurrences", "name"),
    droppable=("phase", "resolved", "age", "environment", "severity"),
    both_ends=("target",),
    exact=("name",),
)
CONDITIONS = Table(
    heads=("  type", "status", "time (UTC)", "reason", "message"),
    details=("time (UTC)", "reason"),
    droppable=("status",),
    exact=("time (UTC)", "  type"),
    wrapped=True,
)


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """A signal, and the request that alerts are counted on, where it may be read."""

    signal: SignalProcessing
    request: RemediationRequest | None

    @property
    def resolved_at(self) -> datetime | None:
        return resolved_at(self.signal, self.request)

    @property
    def occurrences(self) -> str | None:
        deduplication = self.request.status.deduplication if self.request else None
        return occurrence_count(deduplication) if deduplication else None

    @property
    def priority(self) -> Priority | None:
        assignment = self.signal.status.priority_assignment
        return assignment.priority if assignment else None

    def is_in(self, namespace: str | None) -> bool:
        return is_in(self.signal, namespace)


async def list_signals(
    *,
    namespace: NamespaceOption = None,
    everywhere: AllNamespacesOption = False,
    selector: SelectorOption = "",
    is_open: Annotated[
        bool, cyclopts.Parameter(name="--open", negative="", help="Only those whose alerts are not resolved")
    ] = False,
    priority: Annotated[str | None, cyclopts.Parameter(help="Only these priorities, such as P0,P1")] = None,
    output: OutputOption = Output.TABLE,
    cluster: ClusterOptions | None = None,
) -> int:
    """List signals, oldest first."""
    check_namespaces(namespace, everywhere=everywhere)
    priorities = parse_priorities(priority)
    listed = [
        each
        for each in await _read_listed(cluster, selector)
        if each.is_in(namespace)
        and not (is_open and each.resolved_at)
        and (not priorities or each.priority in priorities)
    ]
    listed.sort(key=lambda each: each.signal.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC))
    found = [each.signal for each in listed]
    if emit(found, output, [signal.metadata.name for signal in found]):
        return 0
    lost = table(SIGNALS, _rows(listed, datetime.now(UTC)), is_wide=output.is_wide)
    if found and "name" in lost:
        note("This terminal has no room for the names of the signals: -o wide or -o name")
    if not found:
        hint = "Send alerts to the gateway's webhook, whose address kubernaut up prints."
        is_filtered = is_open or priority or namespace or selector
        note("No such signals found." if is_filtered else f"No signals found. {hint}")
    return 0


def parse_priorities(text: str | None) -> frozenset[Priority]:
    """The priorities of a list such as `P0,P1`. Raises CommandError."""
    try:
        return frozenset(Priority(each.strip().upper()) for each in (text or "").split(",") if each.strip())
    except ValueError:
        allowed = ", ".join(Priority)
        raise CommandError(f"--priority {text!r}: a list of {allowed} is expected", code=2) from None


def _rows(listed: list[_Listed], now: datetime) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for each in listed:
        signal = each.signal
        status = signal.status
        rows.append(
            (
                signal.metadata.namespace,
                signal.metadata.name,
                signal.spec.signal.name,
                target(signal),
                status.phase or "-",
                status.environment_classification and status.environment_classification.environment,
                status.signal_classification and status.signal_classification.severity,
                each.priority,
                each.occurrences,
                _age(each.resolved_at, now),
                _age(signal.metadata.creation_timestamp, now),
            )
        )
    return rows


def _age(since: datetime | None, now: datetime) -> str | None:
    return None if since is None else age(since, now)


async def _read_listed(cluster: ClusterOptions | None, selector: str) -> list[_Listed]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ListOptions
    from kubernaut.kube.errors import Forbidden, NotFound
    from kubernaut.kube.objects import Key, Kind

    signals = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
    requests = Kind(
        group=GROUP, version=VERSION, kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, type=RemediationRequest
    )
    async with open_cluster(cluster) as client:
        found = (await client.list(signals, ListOptions(label_selector=selector))).items
        by_key: dict[Key, RemediationRequest] = {}
        with contextlib.suppress(Forbidden, NotFound):
            items = (await client.list(requests)).items
            by_key = {Key(request.metadata.namespace, request.metadata.name): request for request in items}
    listed = []
    for signal in found:
        reference = signal.spec.remediation_request_ref
        key = Key(reference.namespace or signal.metadata.namespace, reference.name)
        listed.append(_Listed(signal=signal, request=by_key.get(key)))
    return listed


async def show(
    name: str,
    /,
    *,
    namespace: Annotated[
        str, cyclopts.Parameter(name=["--namespace", "-n"], help="Namespace of the signal; default: all")
    ] = "",
    output: OutputOption = Output.TABLE,
    cluster: ClusterOptions | None = None,
) -> int:
    """Show one signal: context, decision, conditions.

    Parameters
    ----------
    name
        Name of the SignalProcessing object, such as sp-rr-1f0c3a9be2d4-5a5a5a5a.
    """
    found = await find_signal(name, namespace, cluster)
    if found is None:
        raise CommandError(f"signal {bare(name)!r} not found", hint="kubernaut signals list")
    if not emit(found, output, [found.metadata.name]):
        _describe(found)
    return 0


def bare(name: str) -> str:
    """The name of an object that kubectl writes as `sp/NAME` or `signalprocessing.kubernaut.ai/NAME`."""
    return name.rpartition("/")[2]


async def find_signal(name: str, namespace: str, cluster: ClusterOptions | None) -> SignalProcessing | None:
    """A signal by its name, in one namespace or, for "", in any."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ListOptions
    from kubernaut.kube.objects import Kind

    kind = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
    async with open_cluster(cluster) as client:
        options = ListOptions(namespace=namespace, field_selector=f"metadata.name={bare(name)}")
        found = (await client.list(kind, options)).items
    return found[0] if found else None


def _describe(signal: SignalProcessing) -> None:
    status, alert = signal.status, signal.spec.signal
    environment, priority = status.environment_classification, status.priority_assignment
    severity, business, context = (
        status.signal_classification,
        status.business_classification,
        status.kubernetes_context,
    )
    rows: list[tuple[str, object]] = [
        ("Signal", f"{signal.metadata.namespace}/{signal.metadata.name}"),
        ("Correlation id", signal.spec.remediation_request_ref.name),
        ("Alert", f"{alert.name} (severity {alert.severity!r} from {alert.source or 'unknown source'})"),
        ("Target", target(signal)),
        ("Phase", status.phase),
        ("Environment", environment and f"{environment.environment} (by {environment.source})"),
        ("Severity", severity and severity.severity),
        (
            "Priority",
            priority and f"{priority.priority} (by {priority.source}, {priority.policy_name or 'unnamed rule'})",
        ),
        ("Mode", severity and severity.signal_mode),
        (
            "Business",
            business and f"{business.business_unit or '-'}, {business.criticality}, {business.sla_requirement}",
        ),
        ("Policy", severity and severity.policy_hash[:12]),
    ]
    if context:
        chain = " → ".join(f"{owner.kind}/{owner.name}" for owner in context.owner_chain)
        rows += [
            ("Owners", chain),
            ("Labels", ", ".join(f"{name}={','.join(values)}" for name, values in context.custom_labels.items())),
            ("Degraded", "yes" if context.degraded_mode else "no"),
        ]
    for name, value in rows:
        _say_field(name, "-" if value in (None, "") else str(value))
    say("Conditions:")
    table(
        CONDITIONS,
        [
            (
                f"  {condition.type}",
                condition.status,
                condition.last_transition_time.strftime("%H:%M:%S.%f"),
                condition.reason,
                condition.message,
            )
            for condition in status.conditions
        ],
    )


def _say_field(name: str, value: str) -> None:
    """A name and its value, which goes on in further lines of a narrow terminal."""
    text, indent = visible(value), " " * 16
    width = terminal_columns()
    lines = textwrap.wrap(text, max(20, width - 16), break_on_hyphens=False) if width else [text]
    say(f"{name + ':':<16}" + f"\n{indent}".join(lines))
