"""`kubernaut signals watch` and `signals timeline`: signals as they change, and one from end to end."""

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import cyclopts

from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.api.summaries import is_in, target
from kubernaut.api.vocabulary import Priority
from kubernaut.cli import audit
from kubernaut.cli.cluster import AllNamespacesOption, ClusterOptions, NamespaceOption, check_namespaces, open_cluster
from kubernaut.cli.columns import Table
from kubernaut.cli.connection import ConnectionOptions
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, say, terminal_columns
from kubernaut.cli.signals import SelectorOption, parse_priorities
from kubernaut.ops.visible_text import visible

CHANGES = Table(
    heads=("time", "priority", "phase", "environment", "alert", "target"),
    droppable=("time", "environment"),
    both_ends=("target",),
    exact=("time", "phase"),
)


async def watch(
    *,
    namespace: NamespaceOption = None,
    everywhere: AllNamespacesOption = False,
    selector: SelectorOption = "",
    priority: Annotated[str | None, cyclopts.Parameter(help="Only these priorities, such as P0,P1")] = None,
    output: OutputOption = Output.TABLE,
    cluster: ClusterOptions | None = None,
) -> int:
    """Print every signal, and again each time it changes, until Ctrl-C.

    A line has the time of the last change, priority, phase, environment, alert and target; with -o json, yaml or
    jsonpath, each change is one object.
    """
    check_namespaces(namespace, everywhere=everywhere)
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ListOptions
    from kubernaut.kube.informer import Informer, InformerConfig, open_informers
    from kubernaut.kube.objects import Kind

    priorities = parse_priorities(priority)
    kind = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
    options = ListOptions(label_selector=selector)
    changes: asyncio.Queue[SignalProcessing] = asyncio.Queue()
    shown: dict[str, tuple[object, ...]] = {}
    async with open_cluster(cluster) as client:
        # What is wrong with the cluster or the selector is told now; an informer would wait for ever.
        await client.get_raw(kind.collection(), options.query() | {"limit": "1"})
        informer = Informer(client, kind, InformerConfig(options=options))
        informer.add_event_handler(lambda _, signal: changes.put_nowait(signal) if signal is not None else None)
        async with open_informers(informer):
            while True:
                signal = await changes.get()
                if not _is_wanted(signal, namespace, priorities):
                    continue
                cells = _cells(signal)
                if shown.get(signal.metadata.uid) != cells:
                    shown[signal.metadata.uid] = cells
                    _show(signal, cells, output)


async def timeline(
    name: str,
    /,
    *,
    output: OutputOption = Output.TABLE,
    cluster: ClusterOptions | None = None,
    connection: ConnectionOptions | None = None,
) -> int:
    """Show all audit events of a signal, in causal order.

    Parameters
    ----------
    name
        Name of the SignalProcessing object, such as sp-rr-1f0c3a9be2d4-5a5a5a5a, or of its RemediationRequest.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ListOptions
    from kubernaut.kube.objects import Kind

    name = name.rpartition("/")[2]
    if name.startswith("rr-"):
        return await audit.timeline(name, output=output, connection=connection)
    kind = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
    async with open_cluster(cluster) as client:
        found = (await client.list(kind, ListOptions(field_selector=f"metadata.name={name}"))).items
    if not found:
        raise CommandError(
            f"signal {name!r} not found; its events stay under the name of its RemediationRequest",
            hint="kubernaut signals list, or kubernaut signals timeline rr-…",
        )
    correlation = found[0].spec.remediation_request_ref.name
    return await audit.timeline(correlation, output=output, connection=connection)


def _is_wanted(signal: SignalProcessing, namespace: str | None, priorities: frozenset[Priority]) -> bool:
    assigned = signal.status.priority_assignment
    return is_in(signal, namespace) and (not priorities or (assigned is not None and assigned.priority in priorities))


def _cells(signal: SignalProcessing) -> tuple[object, ...]:
    status = signal.status
    return (
        status.priority_assignment.priority if status.priority_assignment else "--",
        status.phase or "new",
        status.environment_classification.environment if status.environment_classification else "-",
        signal.spec.signal.name,
        target(signal),
    )


def _show(signal: SignalProcessing, cells: tuple[object, ...], output: Output) -> None:
    if not emit(signal, output, [signal.metadata.name]):
        priority, phase, environment, alert, target = (visible(str(cell)) for cell in cells)
        at = _changed_at(signal)
        time = at.strftime("%H:%M:%S") if at else "--:--:--"
        # Padded, so that every line loses the same columns and they stand below each other.
        row = (time, f"{priority:<2}", f"{phase:<12}", f"{environment:<11}", f"{alert:<12}", f"{target:<12}")
        width = None if output.is_wide else terminal_columns()
        for line in CHANGES.lines([row], width, is_headed=False):
            say(line)
    sys.stdout.flush()


def _changed_at(signal: SignalProcessing) -> datetime | None:
    status = signal.status
    changed = [condition.last_transition_time for condition in status.conditions]
    times = [each for each in (status.completion_time, status.start_time, *changed) if each]
    return max(times, default=signal.metadata.creation_timestamp)
