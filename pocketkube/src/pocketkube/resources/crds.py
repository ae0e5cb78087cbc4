"""Custom resources: from a CustomResourceDefinition to served resources."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pocketkube.resources.custom import CustomVersion
from pocketkube.resources.metadata import now, violated_name_rule
from pocketkube.resources.registry import Object, Registry, Resource
from pocketkube.schema.cel_expressions import InvalidRule, check_syntax
from pocketkube.schema.structural import compile_schema
from pocketkube.schema.validation import expression, violations_of
from pocketkube.status import Cause, invalid_value, required, unsupported_value

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
STORAGE = "customresourcedefinitions.apiextensions.k8s.io"


def apply_defaults(value: Object) -> None:
    """Fill in the names that follow from others."""
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.get("names")
    if isinstance(names, dict):
        kind = names.get("kind")
        if isinstance(kind, str) and kind:
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def set_accepted(value: Object, registry: Registry) -> None:
    """Write into the status whether the names are free, and that the resource is served."""
    spec = value["spec"]
    names = spec["names"]
    status = value.setdefault("status", {})
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    versions = status.get("storedVersions") or []
    status["storedVersions"] = [*versions, *(name for name in stored if name not in versions)]
    taken = _conflicting_names(value, registry)
    if taken:
        message = ", ".join(f'"{name}" is already in use' for name in taken)
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
        _set_condition(status, "NamesAccepted", "False", "NameConflict", message)
        _set_condition(status, "Established", "False", "NotAccepted", "not all names are accepted")
        return
    status["acceptedNames"] = dict(names)
    _set_condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
    _set_condition(status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")


def _conflicting_names(value: Object, registry: Registry) -> list[str]:
    spec = value["spec"]
    group, names = spec["group"], spec["names"]
    wanted = {names["plural"], names.get("singular"), *names.get("shortNames", ())}
    taken: dict[str, None] = {}
    for resource in registry:
        if resource.group != group or resource.plural == names["plural"]:
            continue
        for name in (resource.plural, resource.singular, *resource.short_names):
            if name in wanted:
                taken[name] = None
        if names["kind"] in {resource.kind, resource.list_kind}:
            taken[names["kind"]] = None
    return list(taken)


def _set_condition(status: dict[str, Any], kind: str, state: str, reason: str, message: str) -> None:
    conditions = status.setdefault("conditions", [])
    found = next((condition for condition in conditions if condition.get("type") == kind), None)
    if found is None:
        found = {"type": kind}
        conditions.append(found)
    if found.get("status") != state:
        found["lastTransitionTime"] = now()
    found.update(status=state, reason=reason, message=message)


def is_established(value: Object) -> bool:
    """Tell whether the definition's resource is served."""
    conditions = value.get("status", {}).get("conditions", [])
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def served_resources(value: Object) -> list[Resource]:
    """Return the resources of a definition, the stored version first."""
    versions = value["spec"]["versions"]
    stored = next(version["name"] for version in versions if version.get("storage"))
    ordered = sorted(versions, key=lambda version: not version.get("storage"))
    return [_resource(value, version, stored) for version in ordered if version.get("served")]


def _resource(value: Object, version: Mapping[str, Any], stored: str) -> Resource:
    spec = value["spec"]
    names = value.get("status", {}).get("acceptedNames") or spec["names"]
    subresources = version.get("subresources") or {}
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular", ""),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        has_status="status" in subresources,
        has_generation=True,
        selectable=tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()),
        list_kind=names.get("listKind", ""),
        stored_version=f"{spec['group']}/{stored}",
        custom=CustomVersion(
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            scale=subresources.get("scale"),
        ),
    )


def register(registry: Registry, value: Object) -> None:
    """Serve what the definition says, from now on."""
    spec = value["spec"]
    if is_established(value):
        registry.replace(spec["group"], spec["names"]["plural"], served_resources(value))


def unregister(registry: Registry, value: Object) -> None:
    """Serve the definition's resources no more."""
    registry.remove(value["spec"]["group"], value["spec"]["names"]["plural"])


def violations(value: Object) -> list[Cause]:
    """Return which rules a definition breaks."""
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return [required("spec")]
    found: list[Cause] = []
    names = spec.get("names")
    if not spec.get("group"):
        found.append(required("spec.group"))
    elif violated_name_rule(spec["group"]) or "." not in spec["group"]:
        found.append(invalid_value("spec.group", spec["group"], "should be a domain with at least one dot"))
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        message = f'Unsupported value: "{spec.get("scope", "")}": supported values: "Cluster", "Namespaced"'
        found.append(("FieldValueNotSupported", message, "spec.scope"))
    if not isinstance(names, dict):
        return [*found, required("spec.names")]
    found.extend(required(f"spec.names.{key}") for key in ("plural", "kind") if not names.get(key))
    if not found:
        expected = f"{names['plural']}.{spec['group']}"
        if value["metadata"].get("name") != expected:
            rule = 'must be spec.names.plural+"."+spec.group'
            found.append(invalid_value("metadata.name", value["metadata"].get("name", ""), rule))
    return [*found, *_version_violations(spec.get("versions"))]


def _version_violations(versions: Any) -> Iterable[Cause]:
    if not isinstance(versions, list) or not versions:
        return [required("spec.versions", "must have exactly one version marked as storage version")]
    found: list[Cause] = []
    if sum(1 for version in versions if version.get("storage")) != 1:
        rule = "must have exactly one version marked as storage version"
        found.append(invalid_value("spec.versions", versions, rule))
    for index, version in enumerate(versions):
        if not version.get("name"):
            found.append(required(f"spec.versions[{index}].name"))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            found.append(required(field, "schemas are required"))
            continue
        found.extend(schema_violations(schema, "spec.validation.openAPIV3Schema", version))
    return found


_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def schema_violations(schema: Mapping[str, Any], path: str, version: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield why a schema is not a structural one."""
    if schema.get("type") != "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield invalid_value(f"{path}.type", schema.get("type", ""), "must be object at the root")
    elif "type" not in schema:
        yield required(f"{path}.type", "must not be empty at the root")
    yield from _property_violations(schema, path, is_root=True)
    for index, field in enumerate(version.get("selectableFields") or ()):
        if not _refers_to_scalar(schema, str(field.get("jsonPath", ""))):
            where = f"spec.selectableFields[{index}].jsonPath"
            yield invalid_value(where, field.get("jsonPath", ""), "is an invalid path: does not refer to a valid field")


def _refers_to_scalar(schema: Mapping[str, Any], path: str) -> bool:
    for step in path.removeprefix(".").split("."):
        schema = (schema.get("properties") or {}).get(step) or {}
    return schema.get("type") in {"string", "boolean", "integer"}


def _property_violations(schema: Mapping[str, Any], path: str, *, is_root: bool = False) -> Iterator[Cause]:
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not free and not is_root:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    elif kind is not None and kind not in _TYPES:
        yield unsupported_value(f"{path}.type", kind, _TYPES)
    if kind == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if "pattern" in schema:
        try:
            expression(schema["pattern"])
        except re.error as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid_value(f"{path}.pattern", schema["pattern"], why)
    if "default" in schema:
        yield from violations_of(compile_schema(schema), schema["default"], f"{path}.default")
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        yield from _rule_violations(rule, f"{path}.x-kubernetes-validations[{index}]")
    for name, part in (schema.get("properties") or {}).items():
        yield from _property_violations(part, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from _property_violations(schema[key], f"{path}.{key}")


def _rule_violations(rule: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for key in ("rule", "messageExpression"):
        if key == "rule" and not rule.get(key):
            yield required(f"{path}.rule", "rule is not specified")
        elif rule.get(key):
            try:
                check_syntax(rule[key])
            except InvalidRule as error:
                yield invalid_value(f"{path}.{key}", rule[key], f"compilation failed: ERROR: {error}")
