"""`kubernaut signals …`: list and show signals, read from the Kubernetes API."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cyclopts

from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table

NamespaceOption = Annotated[
    str | None, cyclopts.Parameter(name=["--namespace", "-n"], help="Namespace of the signals; default: all")
]
KubeconfigOption = Annotated[
    Path | None,
    cyclopts.Parameter(name="--kubeconfig", env_var="KUBECONFIG", help="Default: ~/.kube/config"),
]


async def list_signals(
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TABLE,
    kubeconfig: KubeconfigOption = None,
) -> int:
    """List signals, oldest first."""
    found = await _read_all(kubeconfig, namespace)
    found.sort(key=lambda signal: signal.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC))
    if emit(found, output, [signal.metadata.name for signal in found]):
        return 0
    table(["namespace", "name", "alert", "target", "phase", "environment", "severity", "priority"], _rows(found))
    if not found:
        note("No signals found. Send alerts to the gateway's webhook, or try: kubernaut demo")
    return 0


def _rows(found: list[SignalProcessing]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for signal in found:
        status, target = signal.status, signal.spec.signal.target_resource
        rows.append(
            (
                signal.metadata.namespace,
                signal.metadata.name,
                signal.spec.signal.name,
                "/".join(part for part in (target.namespace, target.kind, target.name) if part),
                status.phase or "-",
                status.environment_classification and status.environment_classification.environment,
                status.signal_classification and status.signal_classification.severity,
                status.priority_assignment and status.priority_assignment.priority,
            )
        )
    return rows


async def show(
    name: str,
    /,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TABLE,
    kubeconfig: KubeconfigOption = None,
) -> int:
    """Show one signal: context, decision, conditions.

    Parameters
    ----------
    name
        Name of the SignalProcessing object, such as sp-rr-1f0c3a9be2d4-5a5a5a5a.
    """
    found = [signal for signal in await _read_all(kubeconfig, namespace) if signal.metadata.name == name]
    if not found:
        raise CommandError(f"signal {name!r} not found", hint="kubernaut signals list")
    signal = found[0]
    if not emit(signal, output, [signal.metadata.name]):
        _describe(signal)
    return 0


async def _read_all(kubeconfig: Path | None, namespace: str | None) -> list[SignalProcessing]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ClientConfig, ListOptions, open_client
    from kubernaut.kube.objects import Kind

    kind = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
    async with open_client(ClientConfig(kubeconfig=kubeconfig or default_kubeconfig())) as client:
        return list((await client.list(kind, ListOptions(namespace=namespace or ""))).items)


def default_kubeconfig() -> Path | None:
    """kubectl's default file where it exists; None means the service account of a pod."""
    path = Path.home() / ".kube" / "config"
    return path if path.exists() else None


def _describe(signal: SignalProcessing) -> None:
    status, alert, target = signal.status, signal.spec.signal, signal.spec.signal.target_resource
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
        ("Target", "/".join(part for part in (target.namespace, target.kind, target.name) if part)),
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
        say(f"{name + ':':<16}{'-' if value in (None, '') else value}")
    say("Conditions:")
    table(
        ["  type", "status", "reason", "time (UTC)", "message"],
        [
            (
                f"  {condition.type}",
                condition.status,
                condition.reason,
                condition.last_transition_time.strftime("%H:%M:%S.%f"),
                condition.message,
            )
            for condition in status.conditions
        ],
    )
