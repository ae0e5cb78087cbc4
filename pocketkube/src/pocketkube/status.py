"""Errors as a Kubernetes API server says them: the Status object, its reason and its details."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Cause = tuple[str, str, str]
"""Reason, message and field of one violated rule."""


class ApiError(Exception):
    """A refusal that the client sees as a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def as_object(self) -> dict[str, Any]:
        """Return the Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def as_json(self) -> bytes:
        """Return the Status object as JSON."""
        return msgspec.json.encode(self.as_object())


def details_of(name: str, group: str, kind: str) -> dict[str, Any]:
    """Return the details every refusal about one object carries."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def qualified(plural: str, group: str) -> str:
    """Return the plural with its group, as messages write it."""
    return f"{plural}.{group}" if group else plural


def not_found(name: str, group: str, plural: str) -> ApiError:
    """No such object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details_of(name, group, plural))


def path_not_found() -> ApiError:
    """No such resource or path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def group_not_found() -> ApiError:
    """No such group; the real server does not even send a Status."""
    return ApiError(404, "", "404 page not found\n")


def method_not_allowed() -> ApiError:
    """The resource exists, the verb does not."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def already_exists(name: str, group: str, plural: str) -> ApiError:
    """The name is taken."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details_of(name, group, plural))


def conflict(name: str, group: str, plural: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> ApiError:
    """Somebody else wrote first, or a precondition does not hold."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    details = details_of(name, group, plural)
    if causes:
        details["causes"] = list(causes)
    return ApiError(409, "Conflict", message, details)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> ApiError:
    """The request itself makes no sense."""
    return ApiError(400, "BadRequest", message)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """The body is in a format nobody here reads."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", message)


def forbidden(name: str, group: str, plural: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> ApiError:
    """The request is understood and refused."""
    message = f'{qualified(plural, group)} "{name}" is forbidden: {why}'
    details = details_of(name, group, plural)
    if causes:
        details["causes"] = list(causes)
    return ApiError(403, "Forbidden", message, details)


def invalid(name: str, group: str, kind: str, causes: Sequence[Cause]) -> ApiError:
    """The object breaks rules; every cause is named."""
    messages = [f"{field}: {message}" for _, message, field in causes]
    joined = messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"
    details = details_of(name, group, kind)
    details["causes"] = [{"reason": reason, "message": message, "field": field} for reason, message, field in causes]
    message = f'{qualified(kind, group)} "{name}" is invalid: {joined}'
    return ApiError(422, "Invalid", message, details)


def required(field: str, message: str = "") -> Cause:
    """A field that must be there is missing."""
    return ("FieldValueRequired", f"Required value: {message}" if message else "Required value", field)


def invalid_value(field: str, value: object, message: str) -> Cause:
    """A field has a value it cannot have."""
    return ("FieldValueInvalid", f"Invalid value: {shown(value)}: {message}", field)


def unsupported_value(field: str, value: object, supported: Sequence[str]) -> Cause:
    """A field has none of the values it can have."""
    choices = ", ".join(f'"{choice}"' for choice in supported)
    return ("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {choices}", field)


def shown(value: object) -> str:
    """Return a value as error messages print it."""
    if value is None:
        return "null"
    return msgspec.json.encode(value).decode()


def gone(message: str) -> ApiError:
    """History does not reach back that far."""
    return ApiError(410, "Expired", message)
