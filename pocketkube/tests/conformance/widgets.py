"""A custom resource that uses everything a schema can say."""

from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$"},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "count": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 10},
                "ratio": {"type": "number", "multipleOf": 0.5},
                "flag": {"type": "boolean"},
                "when": {"type": "string", "format": "date-time"},
                "nothing": {"type": "string", "nullable": True},
                "tags": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 3,
                    "items": {"type": "string"},
                    "x-kubernetes-list-type": "set",
                },
                "rows": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {
                        "type": "object",
                        "required": ["k"],
                        "properties": {"k": {"type": "string"}, "v": {"type": "string", "default": "dv"}},
                    },
                },
                "map": {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "nested": {
                    "type": "object",
                    "default": {},
                    "properties": {"a": {"type": "string", "default": "A"}},
                },
                "pair": {
                    "type": "object",
                    "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}},
                    "x-kubernetes-validations": [
                        {"rule": "self.min <= self.max", "message": "min above max"},
                        {
                            "rule": "!has(self.max) || self.max < 100",
                            "message": "too big",
                            "fieldPath": ".max",
                            "reason": "FieldValueForbidden",
                        },
                    ],
                },
                "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
                "grows": {
                    "type": "integer",
                    "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "never smaller"}],
                },
                "text": {
                    "type": "string",
                    "maxLength": 64,
                    "x-kubernetes-validations": [
                        {"rule": "size(self) < 10 && self.matches('^[a-z0-9-]*$') && !self.startsWith('-')"}
                    ],
                },
                "either": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                },
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "phase": {"type": "string", "enum": ["Pending", "Done"]},
                "seen": {"type": "integer"},
                "conditions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
                    },
                },
            },
        },
    },
}

COLUMNS = [
    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Count", "type": "integer", "jsonPath": ".spec.count", "priority": 1},
]


def a_definition(group: str, **changes: Any) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": COLUMNS,
        "schema": {"openAPIV3Schema": SCHEMA},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "plural": "widgets",
                "kind": "Widget",
                "shortNames": [f"wd{group.partition('.')[0]}"],
                "categories": ["gadgets"],
            },
            "versions": [version | changes],
        },
    }


def a_widget(group: str, called: str = "w", /, **changes: Any) -> dict[str, Any]:
    """A valid widget with these fields in its spec."""
    spec = {"name": "ok"} | changes
    return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": called}, "spec": spec}
