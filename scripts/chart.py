"""What the Helm chart takes from the code: permissions, the schema of its values, the CRDs and the default policy."""

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from kubernaut.api.crds import all_crds
from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.gateway import cluster, event_watch, labels, requests
from kubernaut.gateway.config import GatewayConfig
from kubernaut.kube import reviews
from kubernaut.kube.election import LEASE
from kubernaut.kube.events import EVENT
from kubernaut.ops.settings import Between, Bytes, Seconds
from kubernaut.signalprocessing import default_policy, kinds
from kubernaut.signalprocessing.config import ClassifierConfig, ControllerConfig, SignalProcessingConfig

Rule = dict[str, list[str]]

CHART = Path(__file__).resolve().parent.parent / "deploy" / "chart"
SERVICES = {
    "controllerConfig": SignalProcessingConfig,
    "gatewayConfig": GatewayConfig,
    "datastorageConfig": DataStorageConfig,
}
TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "string"}

NEWER = frozenset({"x-kubernetes-validations", "selectableFields"})
"""Fields of a CRD that helm and kubectl refuse to send to a server which does not know them."""


def files() -> dict[Path, str]:
    """Every file of the chart that is derived from code."""
    policy = Path(default_policy.__file__).parent
    written = {
        "files/rbac.yaml": "# Written by `make fmt` from what the code reads and writes; do not edit.\n"
        + yaml.safe_dump(permissions(), sort_keys=False, width=110, default_flow_style=None),
        "values.schema.json": json.dumps(schema(), indent=1) + "\n",
    }
    for name in ("policy.rego", "proactive-signal-mappings.yaml"):
        written[f"files/{name}"] = (policy / name).read_text()
    for crd in all_crds():
        name = f"{crd['metadata']['name']}.yaml"
        written[f"files/crds/{name}"] = yaml.safe_dump(crd, sort_keys=False, width=120)
        written[f"files/crds-before-1.31/{name}"] = yaml.safe_dump(_without(crd, NEWER), sort_keys=False, width=120)
    return {CHART / name: text for name, text in written.items()}


def _without(manifest: Any, names: frozenset[str]) -> Any:
    if isinstance(manifest, dict):
        return {key: _without(value, names) for key, value in manifest.items() if key not in names}
    return [_without(each, names) for each in manifest] if isinstance(manifest, list) else manifest


def permissions() -> dict[str, list[Rule]]:
    """The rules of each service account, in the whole cluster and in its namespace."""
    named = _named_kinds()
    cached_by_controller = {str(kind) for kind in kinds.CACHED}
    cached_by_gateway = {str(kind) for kind in cluster.CACHED}
    return {
        "controllerCluster": [
            *_rules(map(str, kinds.CACHED), "list", "watch"),
            *_rules(named - cached_by_controller, "get"),
        ],
        "controllerNamespace": [
            # Deleted after the retention; patched when a deleted one is let go.
            *_rules([str(kinds.SIGNAL)], "get", "list", "watch", "patch", "delete"),
            *_rules([f"{kinds.SIGNAL.plural}/status.{kinds.SIGNAL.group}"], "patch"),
            *_rules([str(kinds.REMEDIATION)], "list", "watch", "delete"),
            *_rules([str(LEASE)], "create"),
            *_rules([str(LEASE)], "get", "patch", name=ControllerConfig().leader_election_id),
            *_rules([str(kinds.CONFIG_MAP)], "list", "watch", name=ClassifierConfig().environment_config_map),
            *_rules([str(EVENT)], "create", "patch"),
        ],
        "gatewayCluster": [
            *_rules(cached_by_gateway, "get", "list", "watch"),
            *_rules((named | {str(kinds.SERVICE)}) - cached_by_gateway, "get"),
            *_reviews(),
        ],
        "gatewayNamespace": [
            *_rules([str(requests.REQUESTS)], "get", "list", "watch", "create", "patch"),
            *_rules([f"{requests.REQUESTS.plural}/status.{requests.REQUESTS.group}"], "patch"),
            *_rules([str(requests.SIGNALS)], "create", "patch"),
        ],
        "gatewayEventsCluster": _rules([str(event_watch.EVENTS)], "list", "watch"),
        "gatewayEventsNamespace": [
            *_rules([str(event_watch.CONFIG_MAPS)], "create"),
            *_rules([str(event_watch.CONFIG_MAPS)], "get", "patch", name=event_watch.CHECKPOINT),
        ],
        "datastorageCluster": _reviews(),
        "datastorageNamespace": [],
        "ledgerKeys": _rules(["secrets"], "create"),
    }


def _named_kinds() -> set[str]:
    """The kinds that a label can name, as `resource.group`."""
    found = set()
    for spec in (*labels.DEFAULT_LABELS.values(), *labels.WORKLOAD_KINDS):
        if spec:
            kind, _, rest = spec.removesuffix("?").partition(".")
            group = rest.partition(".")[2]
            plural = kind.lower() + ("es" if kind.endswith("s") else "s")
            found.add(f"{plural}.{group}" if group else plural)
    return found


def _rules(resources: Iterable[str], *verbs: str, name: str = "") -> list[Rule]:
    """One rule for each API group; a resource is `plural.group`, `plural/subresource.group` or `plural`."""
    groups: dict[str, list[str]] = {}
    for resource in sorted(resources):
        plural, _, group = resource.partition(".")
        groups.setdefault(group, []).append(plural)
    named = {"resourceNames": [name]} if name else {}
    return [
        {"apiGroups": [group], "resources": plurals, **named, "verbs": list(verbs)}
        for group, plurals in sorted(groups.items())
    ]


def _reviews() -> list[Rule]:
    paths = (reviews.TOKEN_REVIEWS, reviews.ACCESS_REVIEWS)
    return [rule for path in paths for rule in _rules([f"{path.split('/')[-1]}.{path.split('/')[2]}"], "create")]


def schema() -> dict[str, Any]:
    """The schema of the values: the structure by hand, the services' own configuration from their classes."""
    written: dict[str, Any] = yaml.safe_load((CHART / "values.schema.yaml").read_text())
    for name, cls in SERVICES.items():
        written["definitions"][name] = _object(cls)
    return written


def _object(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {_camel(field.name): _schema_of(hints[field.name]) for field in fields},
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is typing.Annotated:
        return _annotated(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if type(None) in arguments:
        (inner,) = [each for each in arguments if each is not type(None)]
        return {"anyOf": [_schema_of(inner), {"type": "null"}]}
    if origin in (tuple, list):
        return {"type": "array", "items": _schema_of(arguments[0])}
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        return {"type": "object", "additionalProperties": _schema_of(arguments[1])}
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    return {"type": TYPES.get(hint, "string")}


def _annotated(hint: Any) -> dict[str, Any]:
    plain, *marks = typing.get_args(hint)
    if any(mark in typing.get_args(unit) for mark in marks for unit in (Seconds, Bytes)):
        return {"type": ["number", "string"]}  # with or without a unit; the service checks the bounds
    limits = next((mark for mark in marks if isinstance(mark, Between)), None)
    bounds = {"minimum": limits.low, "maximum": limits.high} if limits else {}
    return _schema_of(plain) | bounds


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
