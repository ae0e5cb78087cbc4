"""The endpoints of resources: from a request to an operation, and from its result to a response."""

import asyncio
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from pocketkube.codec import decode, encode
from pocketkube.http import reviews, tables
from pocketkube.http.bodies import media_type_of, read_body, read_deletion, read_message, read_object
from pocketkube.http.responses import WatchResponse, json_response
from pocketkube.operations import reader
from pocketkube.operations.requests import Options, Query, ResourcePath, manager_required, parse_options, parse_path
from pocketkube.operations.scale import SCALE, is_scalable, scale_of, scaling
from pocketkube.operations.writer import Deletion, Writer, WriteResult
from pocketkube.patch import patches
from pocketkube.resources.registry import Registry, Resource
from pocketkube.status import group_not_found, method_not_allowed, path_not_found
from pocketkube.storage.store import Store


class Endpoints:
    """Reads, writes and watches of every resource."""

    def __init__(self, store: Store, registry: Registry, tokens: list[str]) -> None:
        self._store = store
        self._registry = registry
        self._writer = Writer(store, registry)
        self._tokens = tokens
        self.stopping = asyncio.Event()
        """Set before the server stops, so that watches end."""

    async def resource(self, request: Request) -> Response:
        """Answer one request about a resource, one object, or one subresource."""
        # The raw path, because names are decoded after the path is split.
        path = parse_path(request.scope["raw_path"].decode("ascii"))
        review = reviews.KINDS.get((path.group, path.plural)) if path.version == "v1" else None
        if review is not None:
            return await self._review(request, path, review)
        resource = self._served(path)
        query = Query(request.scope["query_string"])
        if request.method in {"GET", "HEAD"}:
            return self._read(request, resource, path, query)
        result = await self._write(request, resource, path, query)
        if path.subresource == "scale":
            result = replace(result, data=encode(scale_of(resource, decode(result.data))))
        await asyncio.shield(self._store.committed())
        return json_response(result.code, result.data, warnings=result.warnings)

    def _served(self, path: ResourcePath) -> Resource:
        resource = self._registry.for_path(path.group, path.version, path.plural)
        if resource is None:
            raise path_not_found() if self._registry.versions(path.group) else group_not_found()
        if path.namespace is not None and not resource.namespaced:
            raise path_not_found()
        if path.subresource and not _has_subresource(resource, path.subresource):
            raise path_not_found()
        return resource

    async def _review(self, request: Request, path: ResourcePath, kind: str) -> Response:
        if request.method != "POST":
            raise method_not_allowed()
        group = path.group.partition(".")[0]
        content = await read_message(request, f"io.k8s.api.{group}.v1.{kind}")
        return json_response(201, encode(reviews.review_response(kind, content, self._tokens)))

    def _read(self, request: Request, resource: Resource, path: ResourcePath, query: Query) -> Response:
        printer = None
        if tables.wants_table(request.headers.get("accept", "")):
            printer = tables.printer(resource, query.text("includeObject"))
        if path.name:
            record = reader.get(self._store, resource, _key(resource, path))
            if path.subresource == "scale":
                return json_response(200, encode(scale_of(resource, record.as_object())))
            if printer is not None:
                return json_response(200, printer.table({"resourceVersion": str(record.revision)}, [record.data]))
            return json_response(200, reader.encode_served(resource, record.data))
        if query.flag("watch"):
            watch = reader.watch_request(self._store, resource, path.namespace, query)
            encoder = reader.encode_served if printer is None else printer.event
            return WatchResponse(reader.watch_events(self._store, watch, encoder), self.stopping)
        page = reader.list_objects(self._store, resource, path.namespace, query)
        return json_response(200, page.as_json(resource) if printer is None else printer.page(page))

    async def _write(self, request: Request, resource: Resource, path: ResourcePath, query: Query) -> WriteResult:
        agent = request.headers.get("user-agent", "")
        match request.method, bool(path.name):
            case "POST", False:
                if resource.namespaced and path.namespace is None:
                    raise method_not_allowed()
                value = await read_object(request, resource, query)
                options = parse_options(query, agent, "create")
                return self._writer.create(resource, path.namespace, value, options)
            case "PUT", True:
                options = parse_options(query, agent, "update")
                if path.subresource == "scale":
                    scale = await read_message(request, "io.k8s.api.autoscaling.v1.Scale")
                    change = scaling(resource, lambda _: patches.require_object(scale))
                    return self._writer.change(resource, _key(resource, path), path.subresource, change, options)
                value = await read_object(request, resource, query)
                return self._writer.replace(resource, _key(resource, path), path.subresource, value, options)
            case "PATCH", True:
                return await self._patch(request, resource, path, parse_options(query, agent, "patch"))
            case "DELETE", named if not path.subresource:
                deletion = await read_deletion(request, query)
                if named:
                    return self._writer.delete(resource, _key(resource, path), deletion)
                return self._delete_all(resource, path, query, deletion)
        raise method_not_allowed()

    async def _patch(self, request: Request, resource: Resource, path: ResourcePath, options: Options) -> WriteResult:
        body = await read_body(request)
        media_type, key = media_type_of(request), _key(resource, path)
        if media_type == patches.APPLY_PATCH:
            if not Query(request.scope["query_string"]).text("fieldManager"):
                raise manager_required()
            config = patches.parse_apply_configuration(body)
            return self._writer.apply(resource, key, path.subresource, config, options)
        if path.subresource == "scale":
            change = scaling(resource, patches.parse_patch(SCALE, media_type, body))
        else:
            change = patches.parse_patch(resource, media_type, body)
        return self._writer.change(resource, key, path.subresource, change, options)

    def _delete_all(self, resource: Resource, path: ResourcePath, query: Query, deletion: Deletion) -> WriteResult:
        page = reader.list_objects(self._store, resource, path.namespace, query)
        for record in page.records:
            self._writer.delete(resource, record.key, deletion)
        return WriteResult(code=200, data=page.as_json(resource))


def _has_subresource(resource: Resource, name: str) -> bool:
    return (
        (name == "status" and resource.has_status)
        or (name == "scale" and is_scalable(resource))
        or (name == "finalize" and resource.kind == "Namespace")
    )


def _key(resource: Resource, path: ResourcePath) -> tuple[str, str]:
    if resource.namespaced and path.namespace is None:
        raise path_not_found()
    return (path.namespace or "", path.name)
