"""Request bodies: read within a limit, and decoded."""

from typing import Any

import msgspec
from starlette.requests import Request

from pocketkube.codec import DecodeError, decode, decode_yaml
from pocketkube.operations.admission import decoding_error, duplicate_fields
from pocketkube.operations.requests import Query
from pocketkube.operations.writer import Deletion
from pocketkube.resources import builtin_types, protobuf
from pocketkube.resources.registry import Object, Resource
from pocketkube.status import ApiError, bad_request, unsupported_media_type

MAX_BODY_BYTES = 3 * 1024 * 1024
"""As on a real server."""

_MEDIA_TYPES = ("application/json", "application/yaml")
_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


async def read_body(request: Request) -> bytes:
    """Return the whole body; raise a 413 for one that is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            message = f"Request entity is too large: limit is {MAX_BODY_BYTES}"
            raise ApiError(413, "RequestEntityTooLarge", message)
        parts.append(part)
    return b"".join(parts)


def media_type_of(request: Request) -> str:
    """Return the media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_object(request: Request, resource: Resource, query: Query) -> Object:
    """Return the object of the body; raise a 4xx for one that is no object of this resource."""
    body = await read_body(request)
    media_type = media_type_of(request) or "application/json"
    is_protobuf = media_type == protobuf.MEDIA_TYPE and resource.custom is None
    if media_type not in _MEDIA_TYPES and not is_protobuf:
        raise unsupported_media_type(_MEDIA_TYPES)
    is_json = media_type == "application/json"
    try:
        if is_protobuf:
            value: Object = protobuf.decode_object(body, builtin_types.definition_name(resource))
        else:
            value = (decode if is_json else decode_yaml)(body)
        duplicates = duplicate_fields(body) if is_json and query.text("fieldValidation") == "Strict" else []
    except (DecodeError, ValueError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get"
            f" version/kind; json parse error: {error} ({body[:64].decode('utf-8', 'replace')})"
        ) from None
    if duplicates:
        raise decoding_error(resource, "strict decoding error: " + ", ".join(duplicates))
    return value


async def read_message(request: Request, message: str) -> Any:
    """Return the value of a body in JSON, or in protobuf as this message; raise a 400 for a malformed one."""
    body = await read_body(request)
    try:
        if media_type_of(request) == protobuf.MEDIA_TYPE:
            return protobuf.decode_object(body, message)
        return decode(body)
    except (DecodeError, ValueError) as error:
        raise bad_request(f"the body of the request could not be decoded: {error}") from None


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _DeleteOptions(msgspec.Struct, rename="camel"):
    preconditions: _Preconditions | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    dry_run: list[str] | None = None


_delete_options = msgspec.json.Decoder(_DeleteOptions).decode


async def read_deletion(request: Request, query: Query) -> Deletion:
    """Return how a deletion is to be done, from the body or the query."""
    body = await read_body(request)
    try:
        if not body:
            content = _DeleteOptions()
        elif media_type_of(request) == protobuf.MEDIA_TYPE:
            content = msgspec.convert(protobuf.decode_object(body, _DELETE_OPTIONS), _DeleteOptions)
        else:
            content = _delete_options(body)
    except (DecodeError, ValueError) as error:
        raise bad_request(f"the body is not a DeleteOptions object: {error}") from None
    preconditions = content.preconditions or _Preconditions()
    policy = content.propagation_policy or query.text("propagationPolicy")
    if content.orphan_dependents:
        policy = "Orphan"
    if policy not in {"", "Orphan", "Foreground", "Background"}:
        raise _invalid_policy(policy)
    return Deletion(
        uid=preconditions.uid,
        resource_version=preconditions.resource_version,
        policy=policy,
        dry_run=bool(content.dry_run or query.texts("dryRun")),
    )


def _invalid_policy(policy: str) -> ApiError:
    message = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
    details = {
        "group": "meta.k8s.io",
        "kind": "DeleteOptions",
        "causes": [{"reason": "FieldValueNotSupported", "message": message, "field": "propagationPolicy"}],
    }
    text = f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {message}'
    return ApiError(422, "Invalid", text, details)
