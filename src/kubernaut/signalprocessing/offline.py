"""Deciding a signal against a folder of manifests, with the enrichment and the policy that a cluster would use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.kube import manifests
from kubernaut.kube.manifests import ManifestError as ManifestError
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.signalprocessing import environment_mapping, facts
from kubernaut.signalprocessing.config import OnPolicyError
from kubernaut.signalprocessing.kinds import CACHED, CONFIG_MAP, REMEDIATION, ConfigMap, decode
from kubernaut.signalprocessing.phases import Dependencies, Phases, Policy
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.reader import ObjectReference, ResolvedObject, resolved
from kubernaut.signalprocessing.signal_mode import SignalModeMapping

T = TypeVar("T")

CONFIG_MAP_NAME = "kubernaut-environment-config"


class Manifests:
    """The objects of a folder; made by `read`."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, Key], tuple[Kind[Any], Any]] = {}
        """By group, kind and key."""

    def add(self, manifest: dict[str, Any], file: str = "") -> None:
        """Add one object. Raises ManifestError."""
        try:
            kind = _kind_of(manifest)
            obj = decode(kind, manifest)
        except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            raise ManifestError(f"{file}: not a Kubernetes object: {error}") from error
        namespace = (obj.metadata.namespace or "default") if kind.namespaced else ""
        if kind.namespaced and not obj.metadata.namespace:
            obj = msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, namespace=namespace))
        self._objects[kind.group, kind.kind, Key(namespace, obj.metadata.name)] = (kind, obj)

    def __len__(self) -> int:
        return len(self._objects)

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        """The object of that kind and name, of a namespace or of none."""
        keys = (Key(reference.namespace, reference.name), Key("", reference.name))
        found = [
            (kind, obj)
            for (_, name, key), (kind, obj) in self._objects.items()
            if name == reference.kind and key in keys and _same_group(reference.api_version, kind)
        ]
        return resolved(*found[0]) if found else None

    async def get(self, kind: Kind[T], key: Key) -> T | None:
        found = self._objects.get((kind.group, kind.kind, key))
        return cast("T", found[1]) if found else None  # what is kept under a kind's name was decoded as that kind

    async def list(self, kind: Kind[T], namespace: str) -> Sequence[T]:
        return [
            cast("T", obj)
            for (group, name, key), (_, obj) in self._objects.items()
            if (group, name) == (kind.group, kind.kind) and key.namespace == namespace
        ]

    def environment_mapping(self) -> environment_mapping.EnvironmentMapping:
        """The environment mapping, wherever in the folder its ConfigMap is."""
        for (_, kind, key), (_, obj) in sorted(self._objects.items(), key=lambda item: item[0]):
            if kind == CONFIG_MAP.kind and key.name == CONFIG_MAP_NAME and isinstance(obj, ConfigMap):
                return environment_mapping.parse((obj.data or {}).get(environment_mapping.KEY, ""))
        return environment_mapping.EnvironmentMapping()


def read(place: Path) -> Manifests:
    """Every object of a file, or of the YAML and JSON files in a folder. Raises ManifestError, naming the file."""
    return of(manifests.read(place))


def of(read_manifests: manifests.Manifests) -> Manifests:
    """The objects of manifests. Raises ManifestError, naming the file."""
    result = Manifests()
    for each in read_manifests.objects:
        result.add(each.content, each.file)
    return result


async def process(
    signal: SignalProcessing,
    manifests: Manifests,
    policy: Policy,
    *,
    modes: SignalModeMapping | None = None,
    on_policy_error: OnPolicyError = OnPolicyError.FALLBACK,
    cluster: str = "",
) -> SignalProcessing:
    """The signal with the status that the controller of `cluster` would give it now, whatever it has already."""
    phases = _phases(manifests, policy, modes or SignalModeMapping(), on_policy_error, cluster)
    signal = msgspec.structs.replace(signal, status=SignalStatus())
    while signal.status.phase is None or not signal.status.phase.is_final:
        result = await phases.advance(signal)
        signal = msgspec.structs.replace(signal, status=result.status)
    return signal


async def policy_input(signal: SignalProcessing, manifests: Manifests, policy: Policy) -> PolicyInput:
    """What the policy would get to see of the signal; of one that was decided, the facts that it was decided from."""
    if decided_from := facts.facts_of(signal):
        return facts.policy_input(decided_from)
    phases = _phases(manifests, policy, SignalModeMapping(), OnPolicyError.FALLBACK)
    if signal.status.kubernetes_context is None:
        signal = msgspec.structs.replace(signal, status=SignalStatus(phase=Phase.ENRICHING))
        signal = msgspec.structs.replace(signal, status=(await phases.advance(signal)).status)
    return phases.policy_input(signal)


def _phases(
    manifests: Manifests,
    policy: Policy,
    modes: SignalModeMapping,
    on_policy_error: OnPolicyError,
    cluster: str = "",
) -> Phases:
    environments = manifests.environment_mapping()
    dependencies = Dependencies(
        reader=manifests,
        policy=policy,
        environments=lambda: environments,
        signal_modes=lambda: modes,
        cluster=cluster,
    )
    return Phases(dependencies, on_policy_error=on_policy_error)


# By group: a server has an object in every version of its kind, whatever version a manifest is written in.
_KNOWN = {(kind.group, kind.kind): kind for kind in (*CACHED, CONFIG_MAP, REMEDIATION)}


def _same_group(api_version: str, kind: Kind[Any]) -> bool:
    return not api_version or api_version.rpartition("/")[0] == kind.group


def _kind_of(manifest: dict[str, Any]) -> Kind[Any]:
    api_version, name = str(manifest["apiVersion"]), str(manifest["kind"])
    group, _, version = api_version.rpartition("/")
    known = _KNOWN.get((group, name))
    if known:
        return known
    # Without discovery only the manifest tells whether an unknown kind is namespaced.
    namespaced = bool(manifest["metadata"].get("namespace"))
    return Kind(
        group=group,
        version=version,
        kind=name,
        plural=f"{name.lower()}s",
        namespaced=namespaced,
        type=PartialObjectMetadata,
    )
