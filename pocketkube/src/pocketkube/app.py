"""The ASGI application: who asks, what for, and how the answer travels."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from pocketkube import discovery, patching, reading, reviews, tables
from pocketkube.admission import cannot_handle, doubled_fields
from pocketkube.kubeconfig import USER
from pocketkube.openapi import Documents
from pocketkube.requests import Options, Query, Target, manager_required, options_of, target_of
from pocketkube.resources import Registry, Resource
from pocketkube.status import (
    ApiError,
    bad_request,
    method_not_allowed,
    no_such_page,
    no_such_path,
    unsupported_media_type,
)
from pocketkube.store import Store, decode, encode
from pocketkube.writing import Deletion, Outcome, Writer

BODY_AT_MOST = 3 * 1024 * 1024
"""Bytes of a request body, as on a real server."""

_OPEN = frozenset({"/healthz", "/readyz", "/livez", "/version"})
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
            if size > BODY_AT_MOST:
                text = f"limit is {BODY_AT_MOST}"
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
        if "/" + top not in _OPEN and not self._knows(request.headers.get(b"authorization", b"")):
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if top in {"api", "apis"}:
            parts = path.strip("/").split("/")
            if len(parts) > (2 if top == "api" else 3):
                await self._resource(request, send)
                return
        await self._document(request, send)

    def _knows(self, authorization: bytes) -> bool:
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
                    raise no_such_path()
                await _send(send, 200, content3)
            case [""]:
                paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]
                await _send(send, 200, encode({"paths": paths}))
            case _:
                raise no_such_path()

    def _discovery(self, top: str, rest: list[str], request: Request) -> tuple[dict[str, Any], bytes]:
        registry = self._registry
        wants_all = "as=APIGroupDiscoveryList" in request.header(b"accept") and "v=v2" in request.header(b"accept")
        if not rest and wants_all:
            names = [""] if top == "api" else registry.groups()
            return discovery.aggregated(registry, names), discovery.AGGREGATED.encode()
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
        raise no_such_page()

    async def _resource(self, request: Request, send: Send) -> None:
        target = target_of(request.path)
        resource = self._registry.at(target.group, target.version, target.plural)
        review = reviews.KINDS.get((target.group, target.plural)) if target.version == "v1" else None
        if review is not None:
            await self._review(request, send, review)
            return
        if resource is None:
            raise no_such_path() if self._registry.versions(target.group) else no_such_page()
        if target.namespace is not None and not resource.namespaced:
            raise no_such_path()
        if target.subresource and not _has_subresource(resource, target.subresource):
            raise no_such_path()
        if request.method in {"GET", "HEAD"}:
            await self._read(request, send, resource, target)
            return
        outcome = await self._write(request, resource, target)
        await asyncio.shield(self._store.committed())
        await _send(send, outcome.code, outcome.data, warnings=outcome.warnings)

    async def _review(self, request: Request, send: Send, kind: str) -> None:
        if request.method != "POST":
            raise method_not_allowed()
        try:
            content = decode(await request.body())
        except msgspec.DecodeError as error:
            raise bad_request(f"json parse error: {error}") from None
        await _send(send, 201, encode(reviews.answered(kind, content, self._tokens)))

    async def _read(self, request: Request, send: Send, resource: Resource, target: Target) -> None:
        if not target.name and request.query.flag("watch"):
            await self._watch(request, send, resource, target)
            return
        accept = request.header(b"accept")
        as_table = "as=Table" in accept and tables.wants_table(accept)
        if target.name:
            record = reading.get(self._store, resource, _key(resource, target))
            if as_table:
                printed = tables.printer(resource, request.query.text("includeObject"))
                head = {"resourceVersion": str(record.revision)}
                await _send(send, 200, printed.table(head, [record.data]))
                return
            await _send(send, 200, reading.presented(resource, record.data))
            return
        page = reading.listed(self._store, resource, target.namespace, request.query)
        if as_table:
            printed = tables.printer(resource, request.query.text("includeObject"))
            await _send(send, 200, printed.page(page))
            return
        await _send(send, 200, page.as_json(resource))

    async def _watch(self, request: Request, send: Send, resource: Resource, target: Target) -> None:
        wanted = reading.watch_request(self._store, resource, target.namespace, request.query)
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", _JSON)],
        }
        await send(start)
        # Headers travel with the first bytes; a quiet watch must still look open.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        show = reading.presented
        accept = request.header(b"accept")
        if "as=Table" in accept and tables.wants_table(accept):
            show = tables.printer(resource, request.query.text("includeObject")).event
        pump = asyncio.create_task(self._pump(send, wanted, show), name="watch")
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

    async def _pump(self, send: Send, wanted: reading.WatchRequest, show: reading.Show) -> None:
        async for lines in reading.watched(self._store, wanted, show):
            await send({"type": "http.response.body", "body": lines, "more_body": True})

    async def _write(self, request: Request, resource: Resource, target: Target) -> Outcome:
        agent = request.header(b"user-agent")
        match request.method, bool(target.name):
            case "POST", False:
                if resource.namespaced and target.namespace is None:
                    raise method_not_allowed()
                value = await _object(request, resource)
                options = options_of(request.query, agent, "create")
                return self._writer.create(resource, target.namespace, value, options)
            case "PUT", True:
                value = await _object(request, resource)
                options = options_of(request.query, agent, "update")
                return self._writer.replace(resource, _key(resource, target), target.subresource, value, options)
            case "PATCH", True:
                options = options_of(request.query, agent, "patch")
                return await self._patch(request, resource, target, options)
            case "DELETE", named if not target.subresource:
                deletion = _deletion(request.query, await request.body())
                if named:
                    return self._writer.delete(resource, _key(resource, target), deletion)
                return self._delete_all(request, resource, target, deletion)
        raise method_not_allowed()

    async def _patch(self, request: Request, resource: Resource, target: Target, options: Options) -> Outcome:
        body = await request.body()
        if request.content_type == patching.APPLY_PATCH:
            if not request.query.text("fieldManager"):
                raise manager_required()
            config = patching.configuration_of(body)
            return self._writer.apply(resource, _key(resource, target), target.subresource, config, options)
        change = patching.change_of(resource, request.content_type, body)
        return self._writer.change(resource, _key(resource, target), target.subresource, change, options)

    def _delete_all(self, request: Request, resource: Resource, target: Target, deletion: Deletion) -> Outcome:
        page = reading.listed(self._store, resource, target.namespace, request.query)
        for record in page.records:
            self._writer.delete(resource, record.key, deletion)
        return Outcome(code=200, data=page.as_json(resource))


def credentials(token: str) -> list[bytes]:
    """Return the Authorization headers that prove knowledge of the token."""
    basic = base64.b64encode(f"{USER}:{token}".encode())
    return [b"Bearer " + token.encode(), b"Basic " + basic]


def _has_subresource(resource: Resource, name: str) -> bool:
    return (name == "status" and resource.has_status) or (name == "finalize" and resource.kind == "Namespace")


def _key(resource: Resource, target: Target) -> tuple[str, str]:
    if resource.namespaced and target.namespace is None:
        raise no_such_path()
    return (target.namespace or "", target.name)


async def _object(request: Request, resource: Resource) -> dict[str, Any]:
    body = await request.body()
    kind = request.content_type or "application/json"
    if kind not in _JSON_TYPES:
        raise unsupported_media_type(_JSON_TYPES)
    try:
        value: dict[str, Any] = (decode if kind == "application/json" else _yaml)(body)
        if request.query.text("fieldValidation") == "Strict" and kind == "application/json":
            doubled = doubled_fields(body)
            if doubled:
                raise cannot_handle(resource, "strict decoding error: " + ", ".join(doubled))
    except (msgspec.DecodeError, ValueError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get"
            f" version/kind; json parse error: {error} ({body[:64].decode('utf-8', 'replace')})"
        ) from None
    return value


def _yaml(body: bytes) -> Any:
    import yaml

    try:
        return yaml.load(body, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


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
        raise _bad_policy(policy)
    return Deletion(
        uid=preconditions.uid,
        resource_version=preconditions.resource_version,
        policy=policy,
        dry_run=bool(content.dry_run or query.texts("dryRun")),
    )


def _bad_policy(policy: str) -> ApiError:
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
