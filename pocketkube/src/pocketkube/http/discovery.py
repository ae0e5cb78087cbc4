"""What the server says about itself: its version, its groups, its resources."""

from collections.abc import Iterable
from typing import Any

from pocketkube.operations.scale import is_scalable
from pocketkube.resources.registry import VERBS, Registry, Resource

AGGREGATED_MEDIA_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
_SUBRESOURCE_VERBS = ["get", "patch", "update"]

KUBERNETES_VERSION = "v1.36.0"
"""The release whose API is served."""

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": f"{KUBERNETES_VERSION}+pocketkube",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def api_versions(address: str) -> dict[str, Any]:
    """Return the versions of the core group."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> dict[str, Any]:
    """Return all named groups."""
    groups = [_group(registry, name) for name in registry.groups()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> dict[str, Any]:
    """Return one named group."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)}


def _group(registry: Registry, name: str) -> dict[str, Any]:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, name: str, version: str) -> dict[str, Any]:
    """Return the resources of one version of a group."""
    resources: list[dict[str, Any]] = []
    for resource in registry:
        if (resource.group, resource.version) != (name, version):
            continue
        resources.append(_resource(resource))
        resources.extend(
            {
                "name": f"{resource.plural}/{subresource}",
                "singularName": "",
                "namespaced": resource.namespaced,
                **(_SCALE if subresource == "scale" else {"kind": resource.kind}),
                "verbs": _SUBRESOURCE_VERBS,
            }
            for subresource in _subresources(resource)
        )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{name}/{version}" if name else version,
        "resources": resources,
    }


def _resource(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subresources(resource: Resource) -> Iterable[str]:
    if is_scalable(resource):
        yield "scale"
    if resource.has_status:
        yield "status"


def aggregated(registry: Registry, names: Iterable[str]) -> dict[str, Any]:
    """Return groups with all their versions and resources in one document."""
    items: list[dict[str, Any]] = []
    for name in names:
        versions = [
            {
                "version": version,
                "resources": [
                    _aggregated_resource(resource)
                    for resource in registry
                    if (resource.group, resource.version) == (name, version)
                ],
                "freshness": "Current",
            }
            for version in registry.versions(name)
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = [
        {
            "subresource": name,
            "responseKind": _SCALE if name == "scale" else kind,
            "verbs": _SUBRESOURCE_VERBS,
        }
        for name in _subresources(resource)
    ]
    if subresources:
        entry["subresources"] = subresources
    return entry
