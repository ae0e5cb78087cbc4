"""`/shadow` beside the health endpoints: what the shadow policy would have decided otherwise.

Counts are for whoever reaches the port. The list names alerts, targets and labels, so only who is on this machine gets
it: in the pod, or by `kubectl port-forward`, for which the API server asks who somebody is and what they may do.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.ops.http.addresses import is_loopback
from kubernaut.signalprocessing.policy.shadow import ShadowedPolicy, ShadowReport

PATH = "/shadow"


def shadow_routes(shadowed: ShadowedPolicy) -> list[Route]:
    """The route that answers with a ShadowReport as JSON."""

    async def report(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        return Response(msgspec.json.encode(report_for(peer, shadowed.report())), media_type="application/json")

    return [Route(PATH, report)]


def report_for(peer: str, report: ShadowReport) -> ShadowReport:
    """What somebody at this address may read of a report."""
    if is_loopback(peer):
        return report
    error = "rejected; the log has the reason" if report.error else ""
    return msgspec.structs.replace(report, error=error, withheld=len(report.disagreements), disagreements=[])
