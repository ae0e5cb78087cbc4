"""`kubernaut process`: the gateway's mapping and the controller's decision, on files instead of a cluster."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import msgspec
import yaml

from kubernaut.api.signals import KIND, ParentReference, SignalProcessing, SignalSpec
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, table
from kubernaut.cli.policy import sources_of

if TYPE_CHECKING:
    from kubernaut.gateway.alertmanager import Webhook


async def process(
    signal: Path,
    /,
    *,
    cluster: Annotated[Path, cyclopts.Parameter(help="Folder of Kubernetes manifests, YAML or JSON")],
    policy: Annotated[
        Path | None, cyclopts.Parameter(help="policy.rego or its folder; default: the built-in policy")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Decide alerts offline, with the same code and policy as in a cluster.

    Exit code 1 when a signal is not Completed.

    Parameters
    ----------
    signal
        An Alertmanager payload or a SignalProcessing object, as JSON or YAML.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing import offline, signal_mode
    from kubernaut.signalprocessing.policy.live import open_policy

    try:
        manifests = offline.read(cluster)
        signals = await signals_of(content_of(signal), signal, cluster)
    except offline.ManifestError as error:
        raise CommandError(str(error), code=2) from error
    async with open_policy(sources_of(policy)) as rules:
        modes = signal_mode.builtin()
        decided = [await offline.process(each, manifests, rules, modes=modes) for each in signals]
    if not emit(decided, output, [each.metadata.name for each in decided]):
        _show(decided)
    return 0 if all(each.status.phase == "Completed" for each in decided) else 1


def content_of(path: Path) -> "Webhook | dict[str, Any]":
    """The notification in a file, or whatever other object it holds.

    JSON is read as the gateway reads it, because YAML forbids some of what JSON allows: tabs, and escaped slashes.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.alertmanager import InvalidWebhook
    from kubernaut.gateway.decoder import decode

    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", code=2) from error
    try:
        return decode(content)
    except InvalidWebhook as error:
        not_json = error
    try:
        loaded = yaml.load(content, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: not valid JSON or YAML: {error}", code=2) from error
    if not isinstance(loaded, dict) or "alerts" not in loaded:
        return loaded if isinstance(loaded, dict) else {}
    try:
        return decode(json.dumps(loaded, default=_timestamp).encode())
    except InvalidWebhook as error:
        raise CommandError(f"{path}: {error.path}: {error}", code=2) from not_json


def _timestamp(value: object) -> str:
    """What YAML reads as a time or a date, as JSON has it."""
    return value.isoformat() if isinstance(value, date) else str(value)


async def signals_of(content: "Webhook | dict[str, Any]", path: Path, cluster: Path | None) -> list[SignalProcessing]:
    """The signals of a notification or of an object. Raises CommandError or ManifestError."""
    if not isinstance(content, dict):
        return await _from_alertmanager(path, content, cluster)
    if content.get("kind") == KIND:
        try:
            return [msgspec.convert(content, SignalProcessing)]
        except msgspec.ValidationError as error:
            raise CommandError(f"{path}: {error}", code=2) from error
    raise CommandError(f"{path}: not an Alertmanager payload (no 'alerts') and not a {KIND} object", code=2)


async def _from_alertmanager(path: Path, webhook: "Webhook", cluster: Path | None) -> list[SignalProcessing]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway import alertmanager, targets
    from kubernaut.gateway.cluster import ManifestReader
    from kubernaut.gateway.config import CLUSTER_LABEL
    from kubernaut.gateway.labels import DEFAULT_LABELS, subject_of
    from kubernaut.kube.objects import PartialObjectMetadata
    from kubernaut.signalprocessing.kinds import CACHED
    from kubernaut.signalprocessing.offline import read_manifests

    now = datetime.now(UTC)
    known = [kind.with_type(PartialObjectMetadata) for kind in CACHED]
    reader = ManifestReader(known, (manifest for _, manifest in (read_manifests(cluster) if cluster else ())))
    made = []
    for alert in webhook.alerts:
        if isinstance(alert, alertmanager.InvalidAlert):
            note(f"{alert.name}: rejected: {alert.reason}")
            continue
        if not alert.is_firing:
            note(f"{alert.name}: resolved, creates no signal")
            continue
        resolved = await targets.resolve(subject_of(alert.labels, DEFAULT_LABELS, CLUSTER_LABEL), reader)
        if resolved is None:
            note(f"{alert.name}: ignored: no label names an object of a known kind")
            continue
        spec = SignalSpec(
            remediation_request_ref=ParentReference(name=f"offline-{alert.id}"),
            signal=alertmanager.signal_of(alert, webhook, resolved, now),
        )
        made.append(SignalProcessing(spec=spec))
    return made


def _show(decided: Sequence[SignalProcessing]) -> None:
    rows = []
    for signal in decided:
        target, status = signal.spec.signal.target_resource, signal.status
        environment, priority = status.environment_classification, status.priority_assignment
        context = status.kubernetes_context
        rows.append(
            (
                signal.spec.signal.name,
                "/".join(part for part in (target.namespace, target.kind, target.name) if part),
                environment and f"{environment.environment} ({environment.source})",
                status.signal_classification and status.signal_classification.severity,
                priority and priority.priority,
                priority and priority.policy_name,
                "degraded" if context and context.degraded_mode else "",
            )
        )
    table(["alert", "target", "environment", "severity", "priority", "rule", "context"], rows)
