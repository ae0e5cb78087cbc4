"""Tables: what kubectl prints, computed here as on a real server."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pocketkube.codec import decode, encode
from pocketkube.operations.reader import ListPage, encode_served
from pocketkube.resources.registry import Object, Resource

_AGE = ("Age", "date", "", 0)
_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may"
    " allow a client to request the generation of an appropriate name automatically."
)
Column = tuple[str, str, str, int]
"""Name, type, JSON path, priority; an empty path means the object's age."""

_BUILTIN: dict[str, tuple[Column, ...]] = {
    "Pod": (
        ("Ready", "string", "@ready", 0),
        ("Status", "string", "@pod", 0),
        ("Restarts", "integer", "@restarts", 0),
        _AGE,
        ("IP", "string", ".status.podIP", 1),
        ("Node", "string", ".spec.nodeName", 1),
    ),
    "Namespace": (("Status", "string", ".status.phase", 0), _AGE),
    "Node": (("Status", "string", "@node", 0), ("Version", "string", ".status.nodeInfo.kubeletVersion", 0), _AGE),
    "Service": (
        ("Type", "string", ".spec.type", 0),
        ("Cluster-IP", "string", ".spec.clusterIP", 0),
        ("Port(s)", "string", "@ports", 0),
        _AGE,
    ),
    "ConfigMap": (("Data", "integer", "@data", 0), _AGE),
    "Secret": (("Type", "string", ".type", 0), ("Data", "integer", "@data", 0), _AGE),
    "Deployment": (
        ("Ready", "string", "@replicas", 0),
        ("Up-to-date", "integer", ".status.updatedReplicas", 0),
        ("Available", "integer", ".status.availableReplicas", 0),
        _AGE,
    ),
    "StatefulSet": (("Ready", "string", "@replicas", 0), _AGE),
    "ReplicaSet": (
        ("Desired", "integer", ".spec.replicas", 0),
        ("Current", "integer", ".status.replicas", 0),
        ("Ready", "integer", ".status.readyReplicas", 0),
        _AGE,
    ),
    "DaemonSet": (
        ("Desired", "integer", ".status.desiredNumberScheduled", 0),
        ("Ready", "integer", ".status.numberReady", 0),
        _AGE,
    ),
    "Job": (("Completions", "string", "@completions", 0), _AGE),
    "CronJob": (
        ("Schedule", "string", ".spec.schedule", 0),
        ("Suspend", "boolean", ".spec.suspend", 0),
        _AGE,
    ),
    "HorizontalPodAutoscaler": (
        ("Reference", "string", "@scaled", 0),
        ("MinPods", "string", ".spec.minReplicas", 0),
        ("MaxPods", "string", ".spec.maxReplicas", 0),
        ("Replicas", "string", ".status.currentReplicas", 0),
        _AGE,
    ),
    "PodDisruptionBudget": (
        ("Min Available", "string", ".spec.minAvailable", 0),
        ("Max Unavailable", "string", ".spec.maxUnavailable", 0),
        ("Allowed Disruptions", "integer", ".status.disruptionsAllowed", 0),
        _AGE,
    ),
    "PersistentVolumeClaim": (
        ("Status", "string", ".status.phase", 0),
        ("Volume", "string", ".spec.volumeName", 0),
        ("Capacity", "string", ".status.capacity.storage", 0),
        ("StorageClass", "string", ".spec.storageClassName", 0),
        _AGE,
    ),
    "PersistentVolume": (
        ("Capacity", "string", ".spec.capacity.storage", 0),
        ("Status", "string", ".status.phase", 0),
        ("Claim", "string", ".spec.claimRef.name", 0),
        _AGE,
    ),
    "Event": (
        ("Last Seen", "string", "@seen", 0),
        ("Type", "string", ".type", 0),
        ("Reason", "string", ".reason", 0),
        ("Object", "string", "@object", 0),
        ("Message", "string", "@message", 0),
        ("Count", "integer", ".count", 1),
    ),
    "Lease": (("Holder", "string", ".spec.holderIdentity", 0), _AGE),
    "Ingress": (("Class", "string", ".spec.ingressClassName", 0), ("Hosts", "string", "@hosts", 0), _AGE),
    "NetworkPolicy": (("Pod-Selector", "string", "@selector", 0), _AGE),
    "CustomResourceDefinition": (("Created At", "date", ".metadata.creationTimestamp", 0),),
}


def wants_table(accept: str) -> bool:
    """Tell whether the client asks for a table first."""
    first = accept.partition(",")[0]
    return "as=Table" in first and "g=meta.k8s.io" in first


@dataclass(frozen=True, kw_only=True)
class Printer:
    """Turns objects of one resource into table rows."""

    resource: Resource
    whole: bool
    """Put the whole object beside its row, not only its metadata."""
    included: bool = True

    @property
    def columns(self) -> Sequence[Column]:
        """The columns after the name."""
        custom = self.resource.custom
        if custom is None:
            return _BUILTIN.get(self.resource.kind, (_AGE,))
        if not custom.columns:
            return (_AGE,)
        return [(c["name"], c["type"], c["jsonPath"], c.get("priority", 0)) for c in custom.columns]

    def definitions(self) -> list[dict[str, Any]]:
        """Return what the table says about its columns."""
        definitions = [{"name": "Name", "type": "string", "format": "name", "description": _NAME_TEXT, "priority": 0}]
        custom = self.resource.custom
        described = {c["name"]: c for c in custom.columns} if custom is not None else {}
        for name, kind, path, priority in self.columns:
            column = described.get(name, {})
            text = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
            if not column:
                text = name
            definitions.append(
                {
                    "name": name,
                    "type": "string" if kind == "date" and not described else kind,
                    "format": column.get("format", ""),
                    "description": text,
                    "priority": priority,
                }
            )
        return definitions

    def row(self, data: bytes) -> dict[str, Any]:
        """Return the row of one object as JSON from the store."""
        value: Object = decode(encode_served(self.resource, data))
        cells = [value["metadata"]["name"]]
        cells.extend(self._cell(value, kind, path) for _, kind, path, _ in self.columns)
        row: dict[str, Any] = {"cells": cells}
        if self.included:
            row["object"] = value if self.whole else _partial(value)
        return row

    def _cell(self, value: Object, kind: str, path: str) -> Any:
        if not path:
            return age(value["metadata"].get("creationTimestamp"))
        if path.startswith("@"):
            return _SPECIAL[path](value)
        found = values_at(value, path)
        if self.resource.custom is None:
            return found[0] if found else ("<none>" if kind == "string" else 0)
        if not found:
            return None
        first = found[0]
        if kind == "date":
            return age(first) if isinstance(first, str) else None
        if kind in {"integer", "number"}:
            return first if isinstance(first, (int, float)) else None
        if kind == "boolean":
            return first if isinstance(first, bool) else None
        return first if isinstance(first, str) else encode(first).decode()

    def table(self, revision: dict[str, Any], datas: Iterable[bytes], *, headed: bool = True) -> bytes:
        """Return the table of these objects."""
        content = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": revision,
            "columnDefinitions": self.definitions() if headed else None,
            "rows": [self.row(data) for data in datas],
        }
        return encode(content)

    def event(self, resource: Resource, data: bytes) -> bytes:
        """Return what a watch sends for one object: a table of one row."""
        metadata = decode(data)["metadata"]
        return self.table({"resourceVersion": metadata.get("resourceVersion", "")}, [data])

    def page(self, page: ListPage) -> bytes:
        """Return the table of a list."""
        return self.table(page.list_metadata(), (record.data for record in page.records))


def printer(resource: Resource, include: str) -> Printer:
    """Return a printer; `include` is the includeObject parameter."""
    return Printer(resource=resource, whole=include == "Object", included=include != "None")


def _partial(value: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    }


def age(text: str | None) -> str:
    """Return how long ago that was, as kubectl writes it."""
    if not text:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return "<invalid>"
    seconds = int((datetime.now(UTC) - then).total_seconds())
    if seconds < -1:
        return "<invalid>"
    return duration(max(seconds, 0))


def duration(seconds: int) -> str:
    """Return a duration, the more roughly the longer it is."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"


_STEP = re.compile(
    r"\.([^.\[\]]+)|\[\?\(@\.([^=!\s]+)\s*==\s*[\"']([^\"']*)[\"']\)\]|\[['\"]([^'\"]+)['\"]\]|\[(\*|\d+)\]"
)


def values_at(value: Any, path: str) -> list[Any]:
    """Return what a JSON path finds: fields, indexes, wildcards, and filters by equality."""
    found = [value]
    text = (path if path.startswith((".", "[")) else f".{path}").replace("\\.", "\0")
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return []
        position = match.end()
        name, filtered, wanted, quoted, index = match.groups()
        if filtered is not None:
            found = [
                item
                for current in found
                if isinstance(current, list)
                for item in current
                if isinstance(item, dict) and str(values_at(item, filtered)[:1]) == str([wanted])
            ]
        elif index is not None:
            found = [item for current in found if isinstance(current, list) for item in _indexed(current, index)]
        else:
            key = (name or quoted).replace("\0", ".")
            found = [current[key] for current in found if isinstance(current, dict) and key in current]
    return found


def _indexed(items: list[Any], index: str) -> list[Any]:
    return items if index == "*" else items[int(index) : int(index) + 1]


def _statuses(value: Object) -> list[dict[str, Any]]:
    return list((value.get("status") or {}).get("containerStatuses") or ())


def _pod_ready(value: Object) -> str:
    containers = (value.get("spec") or {}).get("containers") or ()
    return f"{sum(bool(s.get('ready')) for s in _statuses(value))}/{len(containers)}"


def _pod_status(value: Object) -> str:
    if value["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for status in _statuses(value):
        for state in ("waiting", "terminated"):
            reason = ((status.get("state") or {}).get(state) or {}).get("reason")
            if reason:
                return str(reason)
    status = value.get("status") or {}
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _node_status(value: Object) -> str:
    conditions = (value.get("status") or {}).get("conditions") or ()
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return text + (",SchedulingDisabled" if (value.get("spec") or {}).get("unschedulable") else "")


def _ports(value: Object) -> str:
    ports = (value.get("spec") or {}).get("ports") or ()
    return ",".join(f"{p.get('port')}/{p.get('protocol', 'TCP')}" for p in ports) or "<none>"


def _replicas(value: Object) -> str:
    ready = (value.get("status") or {}).get("readyReplicas", 0)
    return f"{ready}/{(value.get('spec') or {}).get('replicas', 0)}"


def _completions(value: Object) -> str:
    done = (value.get("status") or {}).get("succeeded", 0)
    return f"{done}/{(value.get('spec') or {}).get('completions') or 1}"


def _scaled(value: Object) -> str:
    target = (value.get("spec") or {}).get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _seen(value: Object) -> str:
    series = value.get("series") or {}
    times = (series.get("lastObservedTime"), value.get("lastTimestamp"), value.get("deprecatedLastTimestamp"))
    last = next((time for time in times if time), None)
    return age(last or value.get("eventTime") or value.get("firstTimestamp"))


def _event_object(value: Object) -> str:
    about = value.get("involvedObject") or value.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _hosts(value: Object) -> str:
    rules = (value.get("spec") or {}).get("rules") or ()
    return ",".join(rule.get("host") or "*" for rule in rules) or "*"


def _selector(value: Object) -> str:
    labels = ((value.get("spec") or {}).get("podSelector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={text}" for key, text in labels.items()) or "<none>"


_SPECIAL: dict[str, Callable[[Object], Any]] = {
    "@ready": _pod_ready,
    "@pod": _pod_status,
    "@restarts": lambda value: sum(s.get("restartCount", 0) for s in _statuses(value)),
    "@node": _node_status,
    "@ports": _ports,
    "@data": lambda value: len(value.get("data") or ()) + len(value.get("binaryData") or ()),
    "@replicas": _replicas,
    "@completions": _completions,
    "@scaled": _scaled,
    "@seen": _seen,
    "@object": _event_object,
    "@message": lambda value: str(value.get("message") or value.get("note") or "").strip(),
    "@hosts": _hosts,
    "@selector": _selector,
}
