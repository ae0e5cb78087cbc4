"""The ASGI application: who asks, what for, and how the answer travels."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from pocketkube.codec import decode, decode_yaml, encode
from pocketkube.http import discovery, reviews, tables
from pocketkube.http.openapi import Documents
from pocketkube.kubeconfig import USER
from pocketkube.operations import reader
from pocketkube.operations.admission import decoding_error, duplicate_fields
from pocketkube.operations.requests import Options, Query, ResourcePath, manager_required, parse_options, parse_path
from pocketkube.operations.writer import Deletion, Writer, WriteResult
from pocketkube.patch import patches
from pocketkube.resources.registry import Registry, Resource
from pocketkube.status import (
    ApiError,
    bad_request,
    group_not_found,
    method_not_allowed,
    path_not_found,
    unsupported_media_type,
)
from pocketkube.storage.store import Store

MAX_BODY_BYTES = 3 * 1024 * 1024
"""Bytes of a request body, as on a real server."""

_UNAUTHENTICATED_PATHS = frozenset({"/healthz", "/readyz", "/livez", "/version"})
_JSON = b"application/json"
_JSON_TYPES = ("application/json", "application/yaml")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger(__name__)


class Request:
    """One HTTP request."""

    __slots__ = ("_receive", "headers", "method", "path", "query")

    def __init__(self, scope: Message, receive: Receive) -> None:
        self._receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query = Query(scope["query_string"])

    def header(self, name: bytes) -> str:
        """Return a header, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def content_type(self) -> str:
        """Return the media type of the body, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    async def body(self) -> bytes:
        """Return the whole body; raise a 413 for one that is too large."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            part = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                text = f"limit is {MAX_BODY_BYTES}"
                raise ApiError(413, "RequestEntityTooLarge", f"Request entity is too large: {text}")
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    async def closed(self) -> None:
        """Wait until the client went away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Application:
    """The API server as an ASGI application."""

    def __init__(self, store: Store, registry: Registry, tokens: Iterable[str]) -> None:
        self._store = store
        self._registry = registry
        self._writer = Writer(store, registry)
        self._documents = Documents(registry)
        self._tokens = tuple(tokens)
        self._credentials = [form for token in self._tokens for form in credentials(token)]
        self.closing = asyncio.Event()
        """Set before the server stops, so that watches end."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            await self._answer(request, send)
        except ApiError as error:
            if error.code == 404 and not error.reason:
                await _send(send, 404, error.message.encode(), b"text/plain; charset=utf-8")
                return
            await _send(send, error.code, error.as_json())
        except ConnectionAbortedError:
            return
        except Exception as error:
            log.exception("request failed: %s %s", request.method, request.path)
            refused = ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}: {error}")
            await _send(send, 500, refused.as_json())

    async def _answer(self, request: Request, send: Send) -> None:
        path = request.path
        top = path.split("/", 2)[1]
        if "/" + top not in _UNAUTHENTICATED_PATHS and not self._is_authenticated(
            request.headers.get(b"authorization", b"")
        ):
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if top in {"api", "apis"}:
            parts = path.strip("/").split("/")
            if len(parts) > (2 if top == "api" else 3):
                await self._resource(request, send)
                return
        await self._document(request, send)

    def _is_authenticated(self, authorization: bytes) -> bool:
        return any(hmac.compare_digest(authorization, known) for known in self._credentials)

    async def _document(self, request: Request, send: Send) -> None:
        parts = request.path.strip("/").split("/")
        if request.method not in {"GET", "HEAD"}:
            raise method_not_allowed()
        match parts:
            case ["healthz" | "readyz" | "livez", *_]:
                await _send(send, 200, b"ok", b"text/plain; charset=utf-8")
            case ["version"]:
                await _send(send, 200, encode(discovery.VERSION))
            case ["api" | "apis", *rest]:
                content, kind = self._discovery(parts[0], rest, request)
                await _send(send, 200, encode(content), kind)
            case ["openapi", "v2"]:
                await _send(send, 200, self._documents.version2())
            case ["openapi", "v3", *rest]:
                content3 = self._documents.version3("/".join(rest)) if rest else self._documents.index()
                if content3 is None:
                    raise path_not_found()
                await _send(send, 200, content3)
            case [""]:
                paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]
                await _send(send, 200, encode({"paths": paths}))
            case _:
                raise path_not_found()

    def _discovery(self, top: str, rest: list[str], request: Request) -> tuple[dict[str, Any], bytes]:
        registry = self._registry
        wants_all = "as=APIGroupDiscoveryList" in request.header(b"accept") and "v=v2" in request.header(b"accept")
        if not rest and wants_all:
            names = [""] if top == "api" else registry.groups()
            return discovery.aggregated(registry, names), discovery.AGGREGATED_MEDIA_TYPE.encode()
        if not rest:
            if top == "apis":
                return discovery.group_list(registry), _JSON
            return discovery.api_versions(request.header(b"host")), _JSON
        if top == "api":
            rest = ["", *rest]
        if len(rest) == 1 and registry.versions(rest[0]):
            return discovery.group(registry, rest[0]), _JSON
        if len(rest) == 2 and registry.has_version(rest[0], rest[1]):
            return discovery.resource_list(registry, rest[0], rest[1]), _JSON
        raise group_not_found()

    async def _resource(self, request: Request, send: Send) -> None:
        path = parse_path(request.path)
        resource = self._registry.for_path(path.group, path.version, path.plural)
        review = reviews.KINDS.get((path.group, path.plural)) if path.version == "v1" else None
        if review is not None:
            await self._review(request, send, review)
            return
        if resource is None:
            raise path_not_found() if self._registry.versions(path.group) else group_not_found()
        if path.namespace is not None and not resource.namespaced:
            raise path_not_found()
        if path.subresource and not _has_subresource(resource, path.subresource):
            raise path_not_found()
        if request.method in {"GET", "HEAD"}:
            await self._read(request, send, resource, path)
            return
        result = await self._write(request, resource, path)
        await asyncio.shield(self._store.committed())
        await _send(send, result.code, result.data, warnings=result.warnings)

    async def _review(self, request: Request, send: Send, kind: str) -> None:
        if request.method != "POST":
            raise method_not_allowed()
        try:
            content = decode(await request.body())
        except msgspec.DecodeError as error:
            raise bad_request(f"json parse error: {error}") from None
        await _send(send, 201, encode(reviews.review_response(kind, content, self._tokens)))

    async def _read(self, request: Request, send: Send, resource: Resource, path: ResourcePath) -> None:
        if not path.name and request.query.flag("watch"):
            await self._watch(request, send, resource, path)
            return
        accept = request.header(b"accept")
        as_table = "as=Table" in accept and tables.wants_table(accept)
        if path.name:
            record = reader.get(self._store, resource, _key(resource, path))
            if as_table:
                printed = tables.printer(resource, request.query.text("includeObject"))
                head = {"resourceVersion": str(record.revision)}
                await _send(send, 200, printed.table(head, [record.data]))
                return
            await _send(send, 200, reader.encode_served(resource, record.data))
            return
        page = reader.list_objects(self._store, resource, path.namespace, request.query)
        if as_table:
            printed = tables.printer(resource, request.query.text("includeObject"))
            await _send(send, 200, printed.page(page))
            return
        await _send(send, 200, page.as_json(resource))

    async def _watch(self, request: Request, send: Send, resource: Resource, path: ResourcePath) -> None:
        wanted = reader.watch_request(self._store, resource, path.namespace, request.query)
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", _JSON)],
        }
        await send(start)
        # Headers travel with the first bytes; a quiet watch must still look open.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        encode_object = reader.encode_served
        accept = request.header(b"accept")
        if "as=Table" in accept and tables.wants_table(accept):
            encode_object = tables.printer(resource, request.query.text("includeObject")).event
        pump = asyncio.create_task(self._pump(send, wanted, encode_object), name="watch")
        ends = [
            pump,
            asyncio.create_task(request.closed(), name="watch-client"),
            asyncio.create_task(self.closing.wait(), name="watch-server"),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if pump.done() and not pump.cancelled() and (error := pump.exception()) is not None:
            raise error
        await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send, wanted: reader.WatchRequest, encode_object: reader.Encoder) -> None:
        async for lines in reader.watch_events(self._store, wanted, encode_object):
            await send({"type": "http.response.body", "body": lines, "more_body": True})

    async def _write(self, request: Request, resource: Resource, path: ResourcePath) -> WriteResult:
        agent = request.header(b"user-agent")
        match request.method, bool(path.name):
            case "POST", False:
                if resource.namespaced and path.namespace is None:
                    raise method_not_allowed()
                value = await _object(request, resource)
                options = parse_options(request.query, agent, "create")
                return self._writer.create(resource, path.namespace, value, options)
            case "PUT", True:
                value = await _object(request, resource)
                options = parse_options(request.query, agent, "update")
                return self._writer.replace(resource, _key(resource, path), path.subresource, value, options)
            case "PATCH", True:
                options = parse_options(request.query, agent, "patch")
                return await self._patch(request, resource, path, options)
            case "DELETE", named if not path.subresource:
                deletion = _deletion(request.query, await request.body())
                if named:
                    return self._writer.delete(resource, _key(resource, path), deletion)
                return self._delete_all(request, resource, path, deletion)
        raise method_not_allowed()

    async def _patch(self, request: Request, resource: Resource, path: ResourcePath, options: Options) -> WriteResult:
        body = await request.body()
        if request.content_type == patches.APPLY_PATCH:
            if not request.query.text("fieldManager"):
                raise manager_required()
            config = patches.parse_apply_configuration(body)
            return self._writer.apply(resource, _key(resource, path), path.subresource, config, options)
        change = patches.parse_patch(resource, request.content_type, body)
        return self._writer.change(resource, _key(resource, path), path.subresource, change, options)

    def _delete_all(self, request: Request, resource: Resource, path: ResourcePath, deletion: Deletion) -> WriteResult:
        page = reader.list_objects(self._store, resource, path.namespace, request.query)
        for record in page.records:
            self._writer.delete(resource, record.key, deletion)
        return WriteResult(code=200, data=page.as_json(resource))


def credentials(token: str) -> list[bytes]:
    """Return the Authorization headers that prove knowledge of the token."""
    basic = base64.b64encode(f"{USER}:{token}".encode())
    return [b"Bearer " + token.encode(), b"Basic " + basic]


def _has_subresource(resource: Resource, name: str) -> bool:
    return (name == "status" and resource.has_status) or (name == "finalize" and resource.kind == "Namespace")


def _key(resource: Resource, path: ResourcePath) -> tuple[str, str]:
    if resource.namespaced and path.namespace is None:
        raise path_not_found()
    return (path.namespace or "", path.name)


async def _object(request: Request, resource: Resource) -> dict[str, Any]:
    body = await request.body()
    kind = request.content_type or "application/json"
    if kind not in _JSON_TYPES:
        raise unsupported_media_type(_JSON_TYPES)
    try:
        value: dict[str, Any] = (decode if kind == "application/json" else decode_yaml)(body)
        if request.query.text("fieldValidation") == "Strict" and kind == "application/json":
            doubled = duplicate_fields(body)
            if doubled:
                raise decoding_error(resource, "strict decoding error: " + ", ".join(doubled))
    except (msgspec.DecodeError, ValueError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get"
            f" version/kind; json parse error: {error} ({body[:64].decode('utf-8', 'replace')})"
        ) from None
    return value


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _DeleteOptions(msgspec.Struct, rename="camel"):
    preconditions: _Preconditions | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    dry_run: list[str] | None = None


_delete_options = msgspec.json.Decoder(_DeleteOptions).decode


def _deletion(query: Query, body: bytes) -> Deletion:
    try:
        content = _delete_options(body) if body else _DeleteOptions()
    except msgspec.DecodeError as error:
        raise bad_request(f"these are no DeleteOptions: {error}") from None
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


async def _send(send: Send, code: int, body: bytes, kind: bytes = _JSON, warnings: Iterable[str] = ()) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    headers.extend((b"warning", f'299 - "{_quoted(text)}"'.encode()) for text in warnings)
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
