"""JSON patches and merge patches."""

from typing import Any

import msgspec

from pocketkube import strategic
from pocketkube.resources import Object, Resource
from pocketkube.status import ApiError, bad_request, unsupported_media_type
from pocketkube.store import decode
from pocketkube.writing import Change

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


def change_of(resource: Resource, content_type: str, body: bytes) -> Change:
    """Return the change that a patch describes; raise a 415 for a kind of patch that does not apply."""
    if content_type == JSON_PATCH:
        return _json_patch(_decoded(body))
    if content_type == MERGE_PATCH:
        patch = _decoded(body)
        return lambda value: _checked(merged(value, patch))
    if content_type == STRATEGIC_PATCH and resource.custom is None:
        patch = _decoded(body)
        return lambda value: strategic.patched(resource, value, patch)
    if content_type not in {STRATEGIC_PATCH, APPLY_PATCH}:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if resource.custom is None:
        accepted.insert(2, STRATEGIC_PATCH)
    raise unsupported_media_type(accepted)


def configuration_of(body: bytes) -> Object:
    """Return the configuration that a server-side apply states; it may be YAML."""
    try:
        value = decode(body)
    except msgspec.DecodeError:
        import yaml  # kubectl sends JSON

        try:
            value = yaml.load(body, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding YAML: {error}") from None
    return _checked(value)


def _decoded(body: bytes) -> Any:
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None


def _checked(value: Any) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the patched value is not an object")
    return value


def merged(value: Any, patch: Any) -> Any:
    """Return the value after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), change)
    return result


def _json_patch(operations: Any) -> Change:
    import jsonpatch  # most servers never see one

    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is an array of operations")
    rejected = ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    try:
        patch = jsonpatch.JsonPatch(operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        raise rejected from None

    def change(value: Object) -> Object:
        try:
            return _checked(patch.apply(value))
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
            raise rejected from None

    return change
