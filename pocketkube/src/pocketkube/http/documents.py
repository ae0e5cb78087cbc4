"""What the server tells about itself: health, version, discovery, OpenAPI."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pocketkube.codec import encode
from pocketkube.http import discovery
from pocketkube.http.openapi import OpenApi
from pocketkube.http.responses import JSON, json_response
from pocketkube.resources.registry import Registry
from pocketkube.status import group_not_found, path_not_found

PREFIX = "pocketkube.prefix"
"""Key of a scope: what stood before the path, so that addresses in documents lead back through it."""


class Documents:
    """The endpoints that list what is served."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._openapi = OpenApi(registry)

    async def health(self, request: Request) -> Response:
        """Tell that the server answers."""
        return Response(b"ok", media_type="text/plain")

    async def version(self, request: Request) -> Response:
        """Return the version of the API."""
        return json_response(200, encode(discovery.VERSION))

    async def paths(self, request: Request) -> Response:
        """List where a person may start."""
        paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        return json_response(200, encode({"paths": paths}))

    async def core_discovery(self, request: Request) -> Response:
        """Describe the core group, or one version of it."""
        version = request.path_params.get("version", "").strip("/")
        if version:
            return self._versions_of_group(["", *version.split("/")])
        if _accepts_aggregated(request):
            return self._aggregated([""])
        return json_response(200, encode(discovery.api_versions(request.headers.get("host", ""))))

    async def discovery(self, request: Request) -> Response:
        """Describe all named groups, one group, or one version of a group."""
        path = request.path_params.get("path", "").strip("/")
        if path:
            return self._versions_of_group(path.split("/"))
        if _accepts_aggregated(request):
            return self._aggregated(self._registry.groups())
        return json_response(200, encode(discovery.group_list(self._registry)))

    def _versions_of_group(self, names: list[str]) -> Response:
        content: dict[str, Any]
        if len(names) == 1 and self._registry.versions(names[0]):
            content = discovery.group(self._registry, names[0])
        elif len(names) == 2 and self._registry.has_version(names[0], names[1]):
            content = discovery.resource_list(self._registry, names[0], names[1])
        else:
            raise group_not_found()
        return json_response(200, encode(content), JSON)

    def _aggregated(self, groups: list[str]) -> Response:
        content = discovery.aggregated(self._registry, groups)
        return json_response(200, encode(content), discovery.AGGREGATED_MEDIA_TYPE)

    async def openapi_v2(self, request: Request) -> Response:
        """Return the one document of version 2."""
        return json_response(200, self._openapi.version2())

    async def openapi_v3(self, request: Request) -> Response:
        """Return the document of one group and version, or the list of all documents."""
        name = request.path_params.get("path", "").strip("/")
        document = self._openapi.version3(name) if name else self._openapi.index(request.scope[PREFIX])
        if document is None:
            raise path_not_found()
        return json_response(200, document)


def _accepts_aggregated(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "as=APIGroupDiscoveryList" in accept and "v=v2" in accept
