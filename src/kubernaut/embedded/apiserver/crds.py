"""Custom resources: from a CustomResourceDefinition to served resources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernaut.embedded.apiserver.metadata import broken_name_rule, now
from kubernaut.embedded.apiserver.resources import Object, Registry, Resource
from kubernaut.embedded.apiserver.status import Cause, bad_value, required

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
STORAGE = "customresourcedefinitions.apiextensions.k8s.io"


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomVersion:
    """What one version of a custom resource adds to the general rules."""

    schema: Mapping[str, Any]
    columns: tuple[Mapping[str, Any], ...] = ()
    scale: Mapping[str, Any] | None = None


def prepare_new(value: Object) -> None:
    """Bring a new definition into its first state; its cleanup waits for its objects."""
    finalizers = value["metadata"].setdefault("finalizers", [])
    if CLEANUP not in finalizers:
        finalizers.append(CLEANUP)


def fill_in(value: Object) -> None:
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


def accept(value: Object, registry: Registry) -> None:
    """Write into the status whether the names are free, and that the resource is served."""
    spec = value["spec"]
    names = spec["names"]
    status = value.setdefault("status", {})
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    versions = status.get("storedVersions") or []
    status["storedVersions"] = [*versions, *(name for name in stored if name not in versions)]
    taken = _taken_names(value, registry)
    if taken:
        message = ", ".join(f'"{name}" is already in use' for name in taken)
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
        _set(status, "NamesAccepted", "False", "NameConflict", message)
        _set(status, "Established", "False", "NotAccepted", "not all names are accepted")
        return
    status["acceptedNames"] = dict(names)
    _set(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
    _set(status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")


def _taken_names(value: Object, registry: Registry) -> list[str]:
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


def _set(status: dict[str, Any], kind: str, state: str, reason: str, message: str) -> None:
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


def serve(registry: Registry, value: Object) -> None:
    """Serve what the definition says, from now on."""
    spec = value["spec"]
    if is_established(value):
        registry.replace(spec["group"], spec["names"]["plural"], served_resources(value))


def withdraw(registry: Registry, value: Object) -> None:
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
    elif broken_name_rule(spec["group"]) or "." not in spec["group"]:
        found.append(bad_value("spec.group", spec["group"], "should be a domain with at least one dot"))
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
            found.append(bad_value("metadata.name", value["metadata"].get("name", ""), rule))
    return [*found, *_version_violations(spec.get("versions"))]


def _version_violations(versions: Any) -> Iterable[Cause]:
    if not isinstance(versions, list) or not versions:
        return [required("spec.versions", "must have exactly one version marked as storage version")]
    found: list[Cause] = []
    if sum(1 for version in versions if version.get("storage")) != 1:
        rule = "must have exactly one version marked as storage version"
        found.append(bad_value("spec.versions", versions, rule))
    for index, version in enumerate(versions):
        if not version.get("name"):
            found.append(required(f"spec.versions[{index}].name"))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            found.append(required(field, "schemas are required"))
    return found
