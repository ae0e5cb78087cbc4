"""The rules of metadata: names, labels, annotations, and what a client may not decide for itself."""

import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from pocketkube.resources.registry import Object, Resource
from pocketkube.status import Cause, invalid_value, required, shown

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no suffix spells a word

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    r" '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and"
    " end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used"
    " for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_MAX_ANNOTATION_BYTES = 256 * 1024
_LABEL_NAMED = frozenset({"Namespace", "Service"})


def now() -> str:
    """Return the time as metadata writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_system_fields(resource: Resource, value: Object, namespace: str) -> None:
    """Give a new object what only the server decides."""
    metadata = value["metadata"]
    for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace"):
        metadata.pop(key, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(metadata["generateName"])
    if namespace:
        metadata["namespace"] = namespace
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if resource.has_generation or resource.custom is not None:
        metadata["generation"] = 1


def generated_name(prefix: str) -> str:
    """Return the prefix with five random characters."""
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def violations(resource: Resource, metadata: dict[str, Any]) -> list[Cause]:
    """Return which rules of metadata this breaks."""
    name = metadata.get("name", "")
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    found: list[Cause] = []
    if resource.group == "rbac.authorization.k8s.io":
        broken = _violated_path_rule(name)
    else:
        broken = violated_name_rule(name, as_label=resource.kind in _LABEL_NAMED)
    if broken:
        if metadata.get("generateName"):
            found.append(invalid_value("metadata.generateName", metadata["generateName"], broken))
        found.append(invalid_value("metadata.name", name, broken))
    if "labels" in metadata:
        found.extend(_label_violations(metadata["labels"]))
    if "annotations" in metadata:
        found.extend(_annotation_violations(metadata["annotations"]))
    if "ownerReferences" in metadata:
        found.extend(_owner_violations(metadata["ownerReferences"]))
    for finalizer in metadata.get("finalizers", ()):
        rule = _qualified_rule(finalizer)
        if rule:
            found.append(invalid_value("metadata.finalizers", finalizer, rule))
    return found


def _violated_path_rule(name: str) -> str:
    """Return what keeps a name, such as that of a role, out of a path; an empty string if nothing does."""
    if name in {".", ".."}:
        return f"may not be '{name}'"
    return next((f"may not contain '{character}'" for character in "/%" if character in name), "")


def violated_name_rule(name: str, *, as_label: bool = False) -> str:
    """Return the rule that a name breaks, or an empty string."""
    if as_label:
        if len(name) > 63:
            return "must be no more than 63 bytes"
        return "" if _LABEL.fullmatch(name) else _LABEL_RULE
    if len(name) > 253:
        return "must be no more than 253 bytes"
    return "" if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_RULE


def _qualified_rule(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if slash and (not prefix or "/" in prefix):
        return "a qualified name " + _QUALIFIED_RULE.removeprefix("name part ")
    if slash and violated_name_rule(prefix):
        return "prefix part " + _SUBDOMAIN_RULE
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    return "" if _QUALIFIED.fullmatch(name) else _QUALIFIED_RULE


def _label_violations(labels: dict[str, str]) -> list[Cause]:
    found: list[Cause] = []
    for key, value in labels.items():
        rule = _qualified_rule(key)
        if rule:
            found.append(invalid_value("metadata.labels", key, rule))
        if len(value) > 63:
            found.append(invalid_value("metadata.labels", value, "must be no more than 63 bytes"))
        elif not _VALUE.fullmatch(value):
            found.append(invalid_value("metadata.labels", value, _VALUE_RULE))
    return found


def _annotation_violations(annotations: dict[str, str]) -> list[Cause]:
    found: list[Cause] = []
    for key in annotations:
        rule = _qualified_rule(key.lower())
        if rule:
            found.append(invalid_value("metadata.annotations", key, rule))
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > _MAX_ANNOTATION_BYTES:
        message = f"Too long: may not be more than {_MAX_ANNOTATION_BYTES} bytes"
        found.append(("FieldValueTooLong", message, "metadata.annotations"))
    return found


def _owner_violations(owners: list[dict[str, Any]]) -> list[Cause]:
    found: list[Cause] = []
    for owner in owners:
        for key, text in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(key):
                found.append(invalid_value(f"metadata.ownerReferences.{key}", owner.get(key, ""), text))
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        message = (
            "Only one reference can have Controller set to true. Found "
            f'"true" in references for {controllers[0].get("kind")}/{controllers[0].get("name")} and '
            f"{controllers[1].get('kind')}/{controllers[1].get('name')}"
        )
        found.append(invalid_value("metadata.ownerReferences", owners, message))
    return found


def update_violations(old: Object, new: Object) -> list[Cause]:
    """Return which changes of metadata are not allowed."""
    before, after = old["metadata"], new["metadata"]
    found: list[Cause] = []
    if before.get("deletionTimestamp"):
        added = [f for f in after.get("finalizers", ()) if f not in before.get("finalizers", ())]
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in added)
            message = (
                "Forbidden: no new finalizers can be added if the object is being deleted,"
                f" found new finalizers []string{{{listed}}}"
            )
            found.append(("FieldValueForbidden", message, "metadata.finalizers"))
    return found


def keep_system_fields(old: Object, new: Object) -> None:
    """Keep what no update can change."""
    before, after = old["metadata"], new["metadata"]
    for key in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if key in before:
            after[key] = before[key]
        else:
            after.pop(key, None)
    after.pop("selfLink", None)
    after["uid"] = before["uid"]
    if "namespace" in before:
        after["namespace"] = before["namespace"]


def type_error(metadata: Any) -> str:
    """Return why metadata has not even the right JSON types, or an empty string."""
    if not isinstance(metadata, dict):
        return f"metadata must be an object, not {shown(metadata)}"
    for key in ("name", "namespace", "generateName", "uid", "resourceVersion"):
        if not isinstance(metadata.get(key, ""), str):
            return _wrong(metadata[key], key, "string")
    for key in ("labels", "annotations"):
        entries = metadata.get(key)
        if entries is None:
            metadata.pop(key, None)
        elif not isinstance(entries, dict):
            return _wrong(entries, key, "map[string]string")
        else:
            for value in entries.values():
                if not isinstance(value, str):
                    return _wrong(value, key, "string")
    return _list_type_error(metadata) or _part_type_error(metadata)


class _Owner(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class _Manager(msgspec.Struct, rename="camel"):
    manager: str | None = None
    operation: str | None = None
    api_version: str | None = None
    time: str | None = None
    fields_type: str | None = None
    fields_v1: dict[str, Any] | None = msgspec.field(default=None, name="fieldsV1")
    subresource: str | None = None


class _Parts(msgspec.Struct, rename="camel"):
    owner_references: list[_Owner] | None = None
    managed_fields: list[_Manager] | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


def _part_type_error(metadata: dict[str, Any]) -> str:
    try:
        parts = msgspec.convert(metadata, _Parts)
    except msgspec.ValidationError as error:
        return f"ObjectMeta: {error}"
    if all(_is_tree(entry.fields_v1 or {}) for entry in parts.managed_fields or ()):
        return ""
    return "ObjectMeta.managedFields: fieldsV1 is no set of fields"


def _is_tree(tree: Any) -> bool:
    return isinstance(tree, dict) and all(_is_tree(below) for below in tree.values())


def _list_type_error(metadata: dict[str, Any]) -> str:
    for key, of, shape in (
        ("finalizers", str, "string"),
        ("ownerReferences", dict, "v1.OwnerReference"),
        ("managedFields", dict, "v1.ManagedFieldsEntry"),
    ):
        entries = metadata.get(key)
        if entries is None:
            metadata.pop(key, None)
        elif not isinstance(entries, list):
            return _wrong(entries, key, f"[]{shape}")
        elif not all(isinstance(entry, of) for entry in entries):
            return _wrong(next(e for e in entries if not isinstance(e, of)), key, shape)
    return ""


def _wrong(value: Any, key: str, wanted: str) -> str:
    kinds = {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}
    kind = kinds.get(type(value), "null")
    return f"json: cannot unmarshal {kind} into Go struct field ObjectMeta.{key} of type {wanted}"
