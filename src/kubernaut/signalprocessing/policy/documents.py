"""Input documents as JSON, such as a person writes or an event records, and what they say of a signal."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from kubernaut.api.signals import (
    ClusterContext,
    DetectedLabels,
    KubernetesContext,
    NamespaceContext,
    OwnerChainEntry,
    Signal,
    WorkloadContext,
)
from kubernaut.api.vocabulary import Environment, TargetType
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput

T = TypeVar("T")


class InvalidDocument(PolicyError):
    """A document that is no input of a policy."""


def policy_input_of(document: Mapping[str, Any]) -> PolicyInput:
    """The input whose document this is; what is left out is empty. Raises InvalidDocument, naming the field."""
    signal, target = _part(document, "signal"), _part(document, "workload")
    namespace = _part(document, "namespace")
    text = {key: value for key, value in signal.items() if key in ("name", "severity", "type", "source")}
    labels = signal.get("labels") or signal.get("untrustedLabels") or {}
    fixed = {"fingerprint": "0" * 64, "targetType": TargetType.KUBERNETES, "receivedTime": _EPOCH}
    place = {"kind": target.get("kind", ""), "name": target.get("name", ""), "namespace": namespace.get("name", "")}
    defaults = {"name": "", "severity": "", "type": ""}
    cluster = _part(document, "cluster")
    owners = target.get("ownerChain") or []
    context = KubernetesContext(
        namespace=_converted(namespace, NamespaceContext, "namespace") if namespace.get("name") else None,
        workload=_converted(target, WorkloadContext, "workload") if target.get("kind") else None,
        owner_chain=[_owner(each) for each in owners] if isinstance(owners, list) else [],
        detected_labels=_converted(document["detectedLabels"], DetectedLabels, "detectedLabels")
        if "detectedLabels" in document
        else None,
        cluster=_converted(cluster, ClusterContext, "cluster") if cluster else None,
    )
    return PolicyInput(
        signal=_converted({**defaults, **text, **fixed, "labels": labels, "targetResource": place}, Signal, "signal"),
        context=context,
        mapped_environment=_mapped(_part(document, "fallbackEnvironment")),
    )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name, {})
    if not isinstance(part, Mapping):
        raise InvalidDocument(f"`{name}` must be an object")
    return part


def _converted(value: Any, type: type[T], name: str) -> T:
    try:
        return msgspec.convert(value, type, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"`{name}`: {error}") from error


def _owner(entry: Any) -> OwnerChainEntry:
    if isinstance(entry, Mapping) and "apiVersion" in entry:
        entry = {**entry, "api_version": entry["apiVersion"]}
    return _converted(entry, OwnerChainEntry, "workload.ownerChain")


def _mapped(fallback: Mapping[str, Any]) -> Environment | None:
    if fallback.get("source") != "configmap":
        return None
    return _converted(fallback.get("environment"), Environment, "fallbackEnvironment.environment")
