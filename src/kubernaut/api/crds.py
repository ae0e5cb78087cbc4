"""The CRD manifests, derived from the types, so that the two cannot disagree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from kubernaut.api.meta import Wire
from kubernaut.api.remediation import (
    REMEDIATION_KIND,
    REMEDIATION_PLURAL,
    RemediationSpec,
    RemediationStatus,
)
from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalSpec, SignalStatus

_RESERVED = {"namespace"}
"""Words of CEL that are names of our fields."""

Manifest = dict[str, Any]  # a Kubernetes object as YAML spells it; no type could say more


@dataclass(frozen=True, kw_only=True)
class _Names:
    kind: str
    plural: str
    short_name: str


def signal_processing_crd() -> Manifest:
    """The CustomResourceDefinition of `SignalProcessing`."""
    columns = [
        ("Phase", "string", ".status.phase", 0),
        ("Severity", "string", ".status.signalClassification.severity", 0),
        ("Environment", "string", ".status.environmentClassification.environment", 0),
        ("Priority", "string", ".status.priorityAssignment.priority", 0),
        ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason", 1),
        ("Alert", "string", ".spec.signal.name", 1),
        ("Target Namespace", "string", ".spec.signal.targetResource.namespace", 1),
        ("Target Kind", "string", ".spec.signal.targetResource.kind", 1),
        ("Target", "string", ".spec.signal.targetResource.name", 1),
        # A text: an annotation is no integer, and where more fire than can be counted it is a minimum, `10000+`.
        ("Occurrences", "string", ".metadata.annotations.kubernaut\\.ai/occurrences", 1),
        ("Resolved", "date", ".metadata.annotations.kubernaut\\.ai/resolved-at", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ]
    spec = structural_schema(SignalSpec)
    spec |= {"x-kubernetes-validations": [_HAS_PARENT, _immutability(spec)]}
    names = _Names(kind=KIND, plural=PLURAL, short_name="sp")
    manifest = _manifest(names, columns, spec, structural_schema(SignalStatus))
    manifest["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": ".spec.remediationRequestRef.name"}]
    return manifest


def remediation_request_crd() -> Manifest:
    """The CustomResourceDefinition of the minimal `RemediationRequest`."""
    columns = [
        ("Signal", "string", ".spec.signalName", 0),
        ("Phase", "string", ".status.overallPhase", 0),
        ("Occurrences", "integer", ".status.deduplication.occurrenceCount", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ]
    names = _Names(kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, short_name="rr")
    # A parent of the Go project writes more than we read, and must find it again.
    spec, status = (_keep_unknown(structural_schema(of)) for of in (RemediationSpec, RemediationStatus))
    return _manifest(names, columns, spec, status)


def all_crds() -> list[Manifest]:
    """Every CRD we own, parents first."""
    return [remediation_request_crd(), signal_processing_crd()]


def _keep_unknown(schema: Manifest) -> Manifest:
    """The schema of an object that keeps fields which are not declared."""
    properties = {
        name: _keep_unknown(inner) if "properties" in inner else inner for name, inner in schema["properties"].items()
    }
    return schema | {"properties": properties, "x-kubernetes-preserve-unknown-fields": True}


_HAS_PARENT = {
    "rule": "self.remediationRequestRef.name != ''",
    "message": "remediationRequestRef.name is required for audit trail correlation",
}
_IMMUTABLE = "spec is immutable after creation (ADR-001)"
_ZERO = {"string": "''", "integer": "0", "boolean": "false", "object": "{}"}


def _immutability(schema: Manifest) -> Manifest:
    """The rule that an object must be as it was.

    Compared is what a typed client of Go keeps: times in whole seconds, and a field without a value is an absent one.
    """
    fields = " && ".join(f"({rule})" for rule in _unchanged(schema, "self", "oldSelf"))
    return {"rule": f"self == oldSelf || ({fields})", "message": _IMMUTABLE}


def _unchanged(schema: Manifest, new: str, old: str) -> Iterator[str]:
    for name, inner in schema["properties"].items():
        field = f"__{name}__" if name in _RESERVED else name
        now, before = f"{new}.{field}", f"{old}.{field}"
        if "properties" in inner:
            parts = " && ".join(f"({part})" for part in _unchanged(inner, now, before))
            if name in schema.get("required", ()):
                yield parts
            else:
                yield f"has({now}) == has({before}) && (!has({now}) || ({parts}))"
        elif inner.get("format") == "date-time":
            close = " && ".join(f"{a} - {b} < duration('1s')" for a, b in ((now, before), (before, now)))
            same = f"{now}.getSeconds() == {before}.getSeconds() && {close}"
            yield f"has({now}) == has({before}) && (!has({now}) || ({same}))"
        else:
            zero = _ZERO[inner["type"]]
            yield f"(has({now}) ? {now} : {zero}) == (has({before}) ? {before} : {zero})"


def structural_schema(of: type[Wire]) -> Manifest:
    """The OpenAPI v3 structural schema of one of our wire types: references inlined, nulls and defaults dropped."""
    _, definitions = msgspec.json.schema_components([of], ref_template="{name}")
    return _inline(definitions[of.__name__], definitions, of)


def _inline(schema: Manifest, definitions: dict[str, Manifest], of: type | None = None) -> Manifest:
    if "$ref" in schema:
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _inline(definitions[schema["$ref"]], definitions) | siblings
    if "anyOf" in schema:
        (only,) = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        siblings = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return _inline(only, definitions) | siblings
    kept = {key: value for key, value in schema.items() if key not in ("title", "default", "required")}
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    if "enum" in kept:
        kept["type"] = "string"
    if schema.get("required"):
        kept["required"] = sorted(schema["required"])
    if "properties" in kept:
        kept["properties"] = {key: _inline(value, definitions) for key, value in sorted(kept["properties"].items())}
    for inner in ("items", "additionalProperties"):
        if isinstance(kept.get(inner), dict):
            kept[inner] = _inline(kept[inner], definitions)
    if kept.get("type") == "integer":
        kept["format"] = "int64"
    return kept


def _manifest(names: _Names, columns: list[tuple[str, str, str, int]], spec: Manifest, status: Manifest) -> Manifest:
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type, "jsonPath": path} | ({"priority": priority} if priority else {})
            for name, type, path, priority in columns
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.kind.lower(),
                "shortNames": [names.short_name],
                "categories": ["kubernaut"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }
