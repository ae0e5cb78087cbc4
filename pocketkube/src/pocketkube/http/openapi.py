"""OpenAPI documents, as far as kubectl needs them: types, and which operations check fields here."""

import hashlib
from typing import Any

from pocketkube.codec import encode
from pocketkube.http.discovery import KUBERNETES_VERSION
from pocketkube.resources import builtin_types
from pocketkube.resources.registry import Registry, Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_INFO = {"title": "Kubernetes", "version": KUBERNETES_VERSION}
_V2, _V3 = "#/definitions/", "#/components/schemas/"


class OpenApi:
    """The documents, made when asked for and cached until the resources change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[str, bytes] = {}
        self._generation = -1

    def _cached(self, name: str) -> bytes | None:
        if self._generation != self._registry.generation:
            self._documents.clear()
            self._generation = self._registry.generation
        return self._documents.get(name)

    def index(self, prefix: str) -> bytes:
        """Return the list of version 3 documents, whose addresses begin with the prefix."""
        paths: dict[str, Any] = {}
        for name in sorted({_document_name(resource) for resource in self._registry}):
            digest = hashlib.sha256(self.version3(name) or b"").hexdigest().upper()
            paths[name] = {"serverRelativeURL": f"{prefix}/openapi/v3/{name}?hash={digest}"}
        return encode({"paths": paths})

    def version3(self, name: str) -> bytes | None:
        """Return the document of one group and version."""
        cached = self._cached(name)
        if cached is not None:
            return cached
        resources = [resource for resource in self._registry if _document_name(resource) == name]
        if not resources:
            return None
        schemas = _schemas(resources)
        content = {
            "openapi": "3.0.0",
            "info": _INFO,
            "paths": {path: item for r in resources for path, item in _paths(r, _V3).items()},
            "components": {"schemas": _referring(schemas, _V3)},
        }
        self._documents[name] = encode(content)
        return self._documents[name]

    def version2(self) -> bytes:
        """Return the one document of version 2."""
        cached = self._cached("v2")
        if cached is None:
            resources = list(self._registry)
            content = {
                "swagger": "2.0",
                "info": _INFO,
                "paths": {path: item for r in resources for path, item in _paths(r, _V2).items()},
                "definitions": _schemas(resources),
            }
            cached = self._documents["v2"] = encode(content)
        return cached


def _document_name(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _kind_entry(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _name(resource: Resource) -> str:
    if resource.custom is None:
        return builtin_types.definition_name(resource)
    reversed_group = ".".join(reversed(resource.group.split(".")))
    return f"{reversed_group}.{resource.version}.{resource.kind}"


def _schemas(resources: list[Resource]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for resource in resources:
        if resource.custom is not None:
            schemas[_name(resource)] = _custom_schema(resource)
            _collect(_META, schemas)
        else:
            _collect(builtin_types.definition_name(resource), schemas)
    return schemas


def _custom_schema(resource: Resource) -> dict[str, Any]:
    schema = dict(resource.custom.schema) if resource.custom is not None else {}
    schema["properties"] = {
        **(schema.get("properties") or {}),
        "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this object."},
        "kind": {"type": "string", "description": "Kind is the name of the type of this object."},
        "metadata": {"$ref": f"{_V2}{_META}", "description": "Standard object's metadata."},
    }
    schema["x-kubernetes-group-version-kind"] = [_kind_entry(resource)]
    return schema


def _collect(name: str, schemas: dict[str, Any]) -> None:
    if not name or name in schemas:
        return
    schema = builtin_types.definitions().get(name)
    if schema is None:
        return
    schemas[name] = schema
    for reference in _references(schema):
        _collect(reference, schemas)


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [name for item in part for name in _references(item)]
    if not isinstance(part, dict):
        return []
    found = [name for item in part.values() for name in _references(item)]
    if isinstance(part.get("$ref"), str):
        found.append(part["$ref"].removeprefix(_V2))
    return found


def _referring(part: Any, prefix: str) -> Any:
    """Return a copy whose references point to where version 3 keeps its schemas."""
    if isinstance(part, list):
        return [_referring(item, prefix) for item in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("$ref"), str):
        reference = {"$ref": part["$ref"].replace(_V2, prefix, 1)}
        rest = {key: item for key, item in part.items() if key != "$ref"}
        # Beside a $ref nothing else may stand in version 3.
        return {**rest, "allOf": [reference]} if rest else reference
    return {key: _referring(item, prefix) for key, item in part.items()}


def _paths(resource: Resource, prefix: str) -> dict[str, Any]:
    root = "/" + _document_name(resource)
    if resource.namespaced:
        root += "/namespaces/{namespace}"
    collection = f"{root}/{resource.plural}"
    return {
        collection: {
            "get": _operation(resource, "list", prefix, ()),
            "post": _operation(resource, "post", prefix, ("dryRun", "fieldManager", "fieldValidation")),
        },
        f"{collection}/{{name}}": {
            "get": _operation(resource, "get", prefix, ()),
            "put": _operation(resource, "put", prefix, ("dryRun", "fieldManager", "fieldValidation")),
            "patch": _operation(resource, "patch", prefix, ("dryRun", "fieldManager", "fieldValidation", "force")),
            "delete": _operation(resource, "delete", prefix, ("dryRun", "propagationPolicy")),
        },
    }


def _operation(resource: Resource, action: str, prefix: str, options: tuple[str, ...]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    for name in options:
        if prefix == _V3:
            parameters.append({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}})
        else:
            parameters.append({"name": name, "in": "query", "type": "string", "uniqueItems": True})
    reference = {"$ref": prefix + _name(resource)}
    answer: dict[str, Any] = {"description": "OK"}
    if prefix == _V3:
        answer["content"] = {"application/json": {"schema": reference}}
    else:
        answer["schema"] = reference
    return {
        "operationId": f"{action}{resource.kind}{resource.version}{resource.group.replace('.', '_')}",
        "parameters": parameters,
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind_entry(resource),
    }
