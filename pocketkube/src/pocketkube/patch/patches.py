"""JSON patches and merge patches."""

from collections.abc import Callable
from typing import Any

import jsonpatch
import msgspec

from pocketkube.codec import decode, decode_yaml
from pocketkube.patch import strategic_merge
from pocketkube.resources.registry import Object, Resource
from pocketkube.status import ApiError, bad_request, unsupported_media_type

Change = Callable[[Object], Object]
"""Returns what a patch makes of an object."""

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


def parse_patch(resource: Resource, content_type: str, body: bytes) -> Change:
    """Return the change that a patch describes; raise a 415 for a kind of patch that does not apply."""
    if content_type == JSON_PATCH:
        return _json_patch(_decode_patch(body))
    if content_type == MERGE_PATCH:
        patch = _decode_patch(body)
        return lambda value: require_object(merge_patch(value, patch))
    if content_type == STRATEGIC_PATCH and resource.custom is None:
        patch = _decode_patch(body)
        return lambda value: strategic_merge.apply_patch(resource, value, patch)
    if content_type not in {STRATEGIC_PATCH, APPLY_PATCH}:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if resource.custom is None:
        accepted.insert(2, STRATEGIC_PATCH)
    raise unsupported_media_type(accepted)


def parse_apply_configuration(body: bytes) -> Object:
    """Return the configuration that a server-side apply states; it may be YAML."""
    try:
        value = decode(body)
    except msgspec.DecodeError:
        try:
            value = decode_yaml(body)
        except ValueError as error:
            raise bad_request(f"error decoding YAML: {error}") from None
    return require_object(value)


def _decode_patch(body: bytes) -> Any:
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None


def require_object(value: Any) -> Object:
    """Return the value; raise a 400 for one that is no object."""
    if not isinstance(value, dict):
        raise bad_request("the apply_patch value is not an object")
    return value


def merge_patch(value: Any, patch: Any) -> Any:
    """Return the value after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), change)
    return result


def _json_patch(operations: Any) -> Change:
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is an array of operations")
    rejected = ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    try:
        patch = jsonpatch.JsonPatch(operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        raise rejected from None

    def change(value: Object) -> Object:
        try:
            return require_object(patch.apply(value))
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
            raise rejected from None

    return change
