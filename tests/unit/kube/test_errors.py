"""Answers of real servers (1.20 and 1.36 say the same) become errors by class."""

import pytest

from kubernaut.kube.errors import (
    AlreadyExists,
    ApiServerUnreachable,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    ServerError,
    Status,
    TooManyRequests,
    Unauthorized,
    from_body,
    from_status,
)

OPERATION = "PATCH /api/v1/namespaces/shop/configmaps/a"


def an_error(code: int, body: bytes, retry_after: str = "") -> KubeError:
    return from_body(code, body, OPERATION, retry_after)


BODIES = [
    (
        AlreadyExists,
        409,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"configmaps \\"zz\\" already '
            b'exists","reason":"AlreadyExists","details":{"name":"zz","kind":"configmaps"},"code":409}\n'
        ),
    ),
    (
        Conflict,
        409,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"Operation cannot be fulfilled '
            b'on configmaps \\"zz\\": the object has been modified; please apply your changes to '
            b"the latest version and "
            b'try again","reason":"Conflict","details":{"name":"zz","kind":"configmaps"},"code":409}\n'
        ),
    ),
    (
        BadRequest,
        400,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the object provided is '
            b'unrecognized (must be of type ConfigMap)","reason":"BadRequest","code":400}\n'
        ),
    ),
    (
        NotFound,
        404,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"configmaps \\"none\\" not '
            b'found","reason":"NotFound","details":{"name":"none","kind":"configmaps"},"code":404}\n'
        ),
    ),
    (NotFound, 404, b"404 page not found\n"),
    (
        Gone,
        410,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{"continue":"eyJ2"},"status":"Failure",'
            b'"message":"The provided '
            b'continue parameter is too old to display a consistent list result.","reason":"Expired","code":410}\n'
        ),
    ),
    (
        Unauthorized,
        401,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":'
            b'"Unauthorized","code":401}\n'
        ),
    ),
    (
        Forbidden,
        403,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods is forbidden: User '
            b'\\"system:anonymous\\" cannot list resource \\"pods\\" in API group \\"\\" at the '
            b'cluster scope","reason":'
            b'"Forbidden","details":{"kind":"pods"},"code":403}\n'
        ),
    ),
    (
        Invalid,
        422,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"ConfigMap \\"A_\\" is invalid:'
            b' metadata.name: Invalid value: \\"A_\\"","reason":"Invalid","details":{"name":"A_","kind":"ConfigMap",'
            b'"causes":[{"reason":"FieldValueInvalid","message":"x","field":"metadata.name"}]},"code":422}\n'
        ),
    ),
    (
        ServerError,
        500,
        (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"resourceVersion: Invalid '
            b'value","code":500}\n'
        ),
    ),
    (ApiServerUnreachable, 503, b"upstream connect error"),
    (KubeError, 415, b'{"kind":"Status","message":"415: Unsupported Media Type","reason":"UnsupportedMediaType"}'),
]


@pytest.mark.parametrize(("error", "code", "body"), BODIES, ids=lambda value: getattr(value, "__name__", ""))
def test_response_becomes_the_error_of_its_status(error: type[KubeError], code: int, body: bytes):
    raised = an_error(code, body)

    assert type(raised) is error
    assert raised.code == code
    assert "PATCH /api/v1/namespaces/shop/configmaps/a: " in str(raised)


def test_message_is_that_of_the_server():
    error = an_error(*BODIES[3][1:])

    assert str(error) == 'PATCH /api/v1/namespaces/shop/configmaps/a: configmaps "none" not found (404)'
    assert error.reason == "NotFound"


def test_text_of_a_proxy_is_truncated():
    error = an_error(502, b"<html>" + b"x" * 10_000)

    assert isinstance(error, ApiServerUnreachable)
    assert len(str(error)) < 300


def test_retry_after_is_read_from_the_header_and_from_the_status():
    by_header = an_error(429, b"too many requests", retry_after="3")
    by_status = an_error(429, b'{"kind":"Status","details":{"retryAfterSeconds":7}}')
    by_nobody = an_error(429, b"{}")

    assert isinstance(by_header, TooManyRequests)
    assert (by_header.retry_after, by_status.retry_after, by_nobody.retry_after) == (3, 7, None)


def test_expired_resource_version_inside_a_watch_is_gone():
    error = from_status(Status(code=410, reason="Expired", message="too old resource version: 1 (9)"), "WATCH /x")

    assert isinstance(error, Gone)
