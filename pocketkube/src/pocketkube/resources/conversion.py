"""Versions of one object: how the stored form and the served form of a resource differ.

Custom resources differ by apiVersion only. The two event APIs name the same things differently.
"""

from pocketkube.resources.registry import Object, Resource

# events.k8s.io name → core name
_TO_CORE = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


def to_served(resource: Resource, to_stored: Object) -> Object:
    """Return the stored object as the resource serves it; the result may share parts with it."""
    if not resource.needs_conversion:
        return to_stored
    value = {**to_stored, "apiVersion": resource.api_version}
    return _renamed(value, _FROM_CORE) if resource.storage == "events" else value


def to_stored(resource: Resource, value: Object) -> Object:
    """Return a served object as it is stored; the result may share parts with it."""
    if not resource.needs_conversion:
        return value
    value = {**value, "apiVersion": resource.stored_version}
    return _renamed(value, _TO_CORE) if resource.storage == "events" else value


def _renamed(value: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): content for key, content in value.items()}
