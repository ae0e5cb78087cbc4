"""Versions of one object: how the stored form and the served form of a resource differ.

Custom resources differ by apiVersion only. The two event APIs name the same things differently.
"""

from pocketkube.resources import Object, Resource

# events.k8s.io name → core name
_RENAMED = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: name for name, core in _RENAMED.items()}


def shown(resource: Resource, stored: Object) -> Object:
    """Return the stored object as the resource serves it; the result may share parts with it."""
    if not resource.converts:
        return stored
    value = {**stored, "apiVersion": resource.api_version}
    return _renamed(value, _BACK) if resource.storage == "events" else value


def stored(resource: Resource, value: Object) -> Object:
    """Return a served object as it is stored; the result may share parts with it."""
    if not resource.converts:
        return value
    value = {**value, "apiVersion": resource.stored_version}
    return _renamed(value, _RENAMED) if resource.storage == "events" else value


def _renamed(value: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): content for key, content in value.items()}
