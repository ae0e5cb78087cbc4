"""What a decision was made from: recorded with it, and read back to explain it or to try another policy."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from kubernaut.api import limits
from kubernaut.api.facts import MAX_BYTES, DecisionFacts, SignalFacts
from kubernaut.api.signals import KubernetesContext, Signal, SignalProcessing, Target
from kubernaut.api.vocabulary import EnvironmentSource, TargetType
from kubernaut.ops import redaction
from kubernaut.signalprocessing.policy.input import PolicyInput

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DecisionFacts).decode

_LARGE = (
    ("signal", "labels"),
    ("kubernetesContext", "workload", "annotations"),
    ("kubernetesContext", "namespace", "annotations"),
    ("kubernetesContext", "workload", "labels"),
    ("kubernetesContext", "namespace", "labels"),
    ("kubernetesContext", "cluster", "labels"),
)
"""What may be large, in the order in which it is left out."""


def recorded(signal: SignalProcessing) -> msgspec.Raw | None:
    """The facts that the signal was decided from; None for one that an earlier version decided, which kept too little.

    Never more than `MAX_BYTES`: long texts are cut, and then whole maps left out and named.
    """
    classification = signal.status.environment_classification
    if classification is None or classification.fallback is None:
        return None
    alert = signal.spec.signal
    context = signal.status.kubernetes_context or KubernetesContext()
    facts = DecisionFacts(
        signal=SignalFacts(
            name=alert.name,
            severity=alert.severity,
            type=alert.type,
            source=alert.source,
            labels=redaction.redact_labels(alert.labels),
        ),
        kubernetes_context=msgspec.structs.replace(context, custom_labels={}),
        fallback_environment=classification.fallback,
    )
    encoded = _encode(facts)
    if len(encoded) > MAX_BYTES or b"\\u0000" in encoded:
        encoded = _shortened(msgspec.json.decode(encoded))
    return msgspec.Raw(encoded)


def read(raw: bytes | msgspec.Raw) -> DecisionFacts:
    """The facts of an audit event. Raises msgspec.DecodeError."""
    return _decode(raw)


def facts_of(signal: SignalProcessing) -> DecisionFacts | None:
    """The facts that a signal in the cluster was decided from."""
    raw = recorded(signal)
    return None if raw is None else read(raw)


def policy_input(facts: DecisionFacts) -> PolicyInput:
    """What the policy was given."""
    fallback = facts.fallback_environment
    return PolicyInput(
        signal=Signal(
            fingerprint="0" * 64,
            name=facts.signal.name,
            severity=facts.signal.severity,
            type=facts.signal.type,
            source=facts.signal.source,
            labels=facts.signal.labels,
            target_type=TargetType.KUBERNETES,
            target_resource=Target(kind="", name=""),
            received_time=_NO_TIME,
        ),
        context=facts.kubernetes_context,
        mapped_environment=None if fallback.source is EnvironmentSource.DEFAULT else fallback.environment,
    )


def _shortened(content: dict[str, Any]) -> bytes:
    """As much of the facts as fits."""
    content = _truncated(content)
    omitted: list[str] = []
    for path in _LARGE:
        encoded = _encode(content | ({"omitted": omitted} if omitted else {}))
        if len(encoded) <= MAX_BYTES:
            return encoded
        *parents, name = path
        holder: dict[str, Any] = content
        for parent in parents:
            holder = holder.get(parent) or {}
        if holder.pop(name, None):
            omitted.append(".".join(path))
    context = {"degradedMode": content["kubernetesContext"].get("degradedMode", False)}
    whole = content | {"kubernetesContext": context, "omitted": [*omitted, "kubernetesContext"]}
    encoded = _encode(content | {"omitted": omitted})
    return encoded if len(encoded) <= MAX_BYTES else _encode(whole)


def _truncated(value: Any) -> Any:
    if isinstance(value, str):
        return limits.truncate(value, limits.MAX_PAYLOAD_TEXT)
    if isinstance(value, Mapping):
        return {limits.truncate(key, limits.MAX_PAYLOAD_TEXT): _truncated(each) for key, each in value.items()}
    return [_truncated(each) for each in value] if isinstance(value, list) else value
