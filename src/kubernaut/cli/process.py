"""`kubernaut process`: the gateway's mapping and the controller's decision, on files instead of a cluster."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import msgspec

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.signals import KIND, ParentReference, SignalProcessing, SignalSpec
from kubernaut.api.vocabulary import ConditionReason, ConditionType, Label, Phase
from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, table
from kubernaut.cli.policy import sources_of
from kubernaut.cli.reading import STANDARD_INPUT, read_all
from kubernaut.cli.services import configured

if TYPE_CHECKING:
    from kubernaut.gateway.alertmanager import Webhook
    from kubernaut.gateway.kubernetes_events import CoreEvent
    from kubernaut.gateway.offline import OfflineIntake, OfflineResult
    from kubernaut.kube.manifests import Manifests

DECISIONS = Table(
    heads=("alert", "target", "environment", "severity", "priority", "environment from", "rule", "context"),
    details=("environment from", "rule", "context"),
    droppable=("environment", "severity"),
    both_ends=("target",),
)

RecursiveOption = Annotated[
    bool,
    cyclopts.Parameter(
        name=["--recursive", "-R"], negative="", help="Read the manifests of folders in the folder too, as kubectl -R"
    ),
]


async def process(
    signal: Annotated[Path, cyclopts.Parameter(allow_leading_hyphen=True)],
    /,
    *more: Annotated[Path, cyclopts.Parameter(allow_leading_hyphen=True)],
    cluster: Annotated[Path, cyclopts.Parameter(help="Manifests, YAML or JSON: a folder, or one file")],
    recursive: RecursiveOption = False,
    policy: Annotated[
        Path | None, cyclopts.Parameter(help="policy.rego or its folder; default: the built-in policy")
    ] = None,
    gateway_config: Annotated[
        Path | None, cyclopts.Parameter(help="Configuration of the gateway: its `intake` and `cluster` are used")
    ] = None,
    controller_config: Annotated[
        Path | None, cyclopts.Parameter(help="Configuration of the controller: its `classifier.onPolicyError` is used")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Decide alerts offline, with the same code, policy and configuration as in a cluster.

    Exit code 1 when a signal is not Completed, or when the policy failed and a fallback decided.

    Parameters
    ----------
    signal
        A notification of Alertmanager, an Event or a SignalProcessing object, or a List of them, as JSON or YAML; - is
        standard input.
    more
        Further files, taken in one after the other: what folds in a cluster folds here.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.config import GatewayConfig
    from kubernaut.kube import manifests
    from kubernaut.signalprocessing import offline, signal_mode
    from kubernaut.signalprocessing.config import SignalProcessingConfig
    from kubernaut.signalprocessing.policy.live import open_policy

    intake_settings = configured(GatewayConfig, gateway_config, "GATEWAY")
    settings = configured(SignalProcessingConfig, controller_config, "CONTROLLER")
    try:
        found = read_manifests(cluster, recursive=recursive)
        objects = offline.of(found)
        inputs = [each for path in (signal, *more) for each in _inputs(await content_of(path), str(path))]
    except manifests.ManifestError as error:
        raise CommandError(str(error), code=2) from error
    signals = await _signals(inputs, _intake(found, intake_settings))
    local = settings.cluster.name or intake_settings.cluster.name
    on_error, modes = settings.classifier.on_policy_error, signal_mode.builtin()
    async with open_policy(sources_of(policy)) as rules:
        decided = [
            await offline.process(each, objects, rules, modes=modes, on_policy_error=on_error, cluster=local)
            for each in signals
        ]
    if not emit(decided, output, [each.metadata.name for each in decided]):
        _show(decided, is_wide=output.is_wide)
    failures = [line for each in decided if (line := _failure(each))]
    for line in failures:
        note(line)
    return 1 if failures else 0


async def content_of(path: Path) -> "list[Webhook] | dict[str, Any]":
    """The notifications in a file or on standard input, or whatever other object there is; several become a List.

    JSON is read as the gateway reads it, which takes more than a parser of JSON does.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.alertmanager import InvalidWebhook
    from kubernaut.gateway.bodies import as_utf8
    from kubernaut.gateway.decoder import decode_all
    from kubernaut.kube.manifests import ManifestError, documents

    if path == STANDARD_INPUT and os.isatty(0):
        note("Reading standard input; end it with Ctrl-D.")
        sys.stderr.flush()
    try:
        content = as_utf8(await read_all(path))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", code=2) from error
    try:
        return decode_all(content)
    except InvalidWebhook:
        pass  # another object, YAML, or several documents
    try:
        found = documents(content, str(path))
    except ManifestError as error:
        raise CommandError(str(error), code=2) from error
    if not found:
        raise CommandError(f"{path}: is empty", code=2)
    if len(found) == 1 and isinstance(found[0], dict):
        only: dict[str, Any] = found[0]
        return only if "alerts" not in only else _webhooks(only, str(path))
    return {"kind": "List", "items": found}


def read_manifests(cluster: Path, *, recursive: bool) -> "Manifests":
    """The manifests of a folder or a file; prints what was left out. Raises ManifestError."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube import manifests

    found = manifests.read(cluster, recursive=recursive)
    for line in found.notes:
        note(line)
    return found


async def signals_of(
    content: "list[Webhook] | dict[str, Any]", path: Path, found: "Manifests"
) -> list[SignalProcessing]:
    """The signals of notifications and objects, as a gateway without a configuration file makes them.

    Raises CommandError or ManifestError.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.config import GatewayConfig

    inputs = list(_inputs(content, str(path)))
    return await _signals(inputs, _intake(found, configured(GatewayConfig, None, "GATEWAY")))


def _inputs(content: "list[Webhook] | dict[str, Any]", file: str) -> "Iterator[Webhook | CoreEvent | SignalProcessing]":
    """Each notification, Event and signal."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway import kubernetes_events

    if not isinstance(content, dict):
        yield from content
        return
    kind = content.get("kind")
    try:
        if "alerts" in content:
            yield from _webhooks(content, file)
        elif isinstance(kind, str) and kind.endswith("List") and "items" in content:
            for item in content["items"] or ():
                yield from _inputs(item if isinstance(item, dict) else {}, file)
        elif kind == KIND:
            yield msgspec.convert(content, SignalProcessing)
        elif kind == "Event":
            yield kubernetes_events.decode(json.dumps(content, default=_timestamp).encode())
        else:
            expected = f"not an Alertmanager payload (no 'alerts'), and no Event, {KIND} or List of them"
            raise CommandError(f"{file}: {expected}", code=2)
    except (msgspec.ValidationError, kubernetes_events.InvalidEvent) as error:
        raise CommandError(f"{file}: {error}", code=2) from error


def _webhooks(content: dict[str, Any], file: str) -> "list[Webhook]":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.alertmanager import InvalidWebhook
    from kubernaut.gateway.decoder import decode_all

    try:
        return decode_all(json.dumps(content, default=_timestamp).encode())
    except InvalidWebhook as error:
        raise CommandError(f"{file}: {error.path}: {error}", code=2) from error


def _timestamp(value: object) -> str:
    """What YAML reads as a time or a date, as JSON has it."""
    return value.isoformat() if isinstance(value, date) else str(value)


def _intake(found: "Manifests", settings: Any) -> "OfflineIntake":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.cluster import ManifestReader
    from kubernaut.gateway.offline import OfflineIntake
    from kubernaut.kube.objects import PartialObjectMetadata
    from kubernaut.signalprocessing.kinds import CACHED

    known = [kind.with_type(PartialObjectMetadata) for kind in CACHED]
    reader = ManifestReader([*known, *found.kinds], (each.content for each in found.objects))
    return OfflineIntake(reader, settings)


async def _signals(
    inputs: "Sequence[Webhook | CoreEvent | SignalProcessing]", intake: "OfflineIntake"
) -> list[SignalProcessing]:
    """The signals that the inputs open; what becomes of the other alerts is noted."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.alertmanager import Webhook

    made: list[SignalProcessing] = []
    for each in inputs:
        if isinstance(each, SignalProcessing):
            made.append(each)
            continue
        results = await intake.process(each) if isinstance(each, Webhook) else [await intake.process_event(each)]
        for result in results:
            for line in _notes(result):
                note(line)
            if result.signal is not None:
                made.append(_signal(result, len(made) + 1))
    return made


def _signal(result: "OfflineResult", number: int) -> SignalProcessing:
    assert result.signal is not None  # noqa: S101 - for the type checker
    name = f"offline-{result.fold_key[:12]}-{number}"
    reference = ParentReference(name=f"rr-{name}")
    # As the gateway writes it: enrichment reads there why the target may be another one.
    annotations = {Label.TARGET_NOTE.value: "; ".join(result.notes)} if result.notes else {}
    return SignalProcessing(
        metadata=ObjectMeta(name=f"sp-{name}", annotations=annotations),
        spec=SignalSpec(remediation_request_ref=reference, signal=result.signal),
    )


def _notes(result: "OfflineResult") -> Iterator[str]:
    status = "resolved, creates no signal" if result.status == "resolved" else str(result.status)
    message = f": {result.message}" if result.message and result.status != "resolved" else ""
    if result.signal is None or result.message:
        yield f"{result.name}: {status}{message}"
    for text in (*result.adjustments, *result.notes):
        yield f"{result.name}: {text}"


def _failure(signal: SignalProcessing) -> str:
    """Why the answer is not the policy's; empty when it is."""
    name, status = signal.spec.signal.name, signal.status
    classified = status.condition(ConditionType.CLASSIFICATION)
    if status.phase != Phase.COMPLETED:
        reason = status.failure_info.error if status.failure_info else classified.message if classified else ""
        return f"{name}: {status.phase}: {reason}"
    if classified is not None and classified.reason == ConditionReason.POLICY_FALLBACK:
        return f"{name}: the policy failed, a fallback decided: {classified.message.partition('policy fallback: ')[2]}"
    return ""


def _show(decided: Sequence[SignalProcessing], *, is_wide: bool) -> None:
    rows = []
    for signal in decided:
        target, status = signal.spec.signal.target_resource, signal.status
        environment, priority = status.environment_classification, status.priority_assignment
        context = status.kubernetes_context
        rows.append(
            (
                signal.spec.signal.name,
                "/".join(part for part in (target.namespace, target.kind, target.name) if part),
                environment and environment.environment,
                status.signal_classification and status.signal_classification.severity,
                priority and priority.priority,
                environment and environment.source,
                priority and priority.policy_name,
                "degraded" if context and context.degraded_mode else "",
            )
        )
    table(DECISIONS, rows, is_wide=is_wide)
