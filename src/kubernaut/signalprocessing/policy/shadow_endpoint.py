"""`/shadow` beside the health endpoints: what the shadow policy would have decided otherwise."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.signalprocessing.policy.shadow import ShadowedPolicy

PATH = "/shadow"


def shadow_routes(shadowed: ShadowedPolicy) -> list[Route]:
    """The route that answers with a ShadowReport as JSON."""

    async def report(_: Request) -> Response:
        return Response(msgspec.json.encode(shadowed.report()), media_type="application/json")

    return [Route(PATH, report)]
