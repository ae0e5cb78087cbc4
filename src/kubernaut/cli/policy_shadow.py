"""`kubernaut policy shadow`: what the shadow policy of a running controller would have decided otherwise."""

from typing import Annotated

import cyclopts
import msgspec

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.ops.json_faults import JSON_FAULTS
from kubernaut.ops.visible_text import visible

TIMEOUT = 10.0  # seconds
PORT_FORWARD = "kubectl port-forward deploy/signalprocessing-controller 8081"
DISAGREEMENTS = Table(
    heads=("decided", "target", "alert", "part", "is", "would be"),
    details=("decided",),
    droppable=("target",),
    both_ends=("target",),
    exact=("decided",),
)


async def shadow(
    *,
    controller: Annotated[
        str, cyclopts.Parameter(env_var="KUBERNAUT_CONTROLLER_URL", help="Health address of the controller")
    ] = "http://127.0.0.1:8081",
    output: OutputOption = Output.TABLE,
) -> int:
    """List the signals that the shadow policy (`classifier.shadow`) would have decided otherwise, newest first.

    Exit code 1 when there is one.
    """
    # Lazy import, see kubernaut.cli.app.
    import httpx2

    # As above.
    from kubernaut.signalprocessing.policy.outcome import text_of
    from kubernaut.signalprocessing.policy.shadow import ShadowReport
    from kubernaut.signalprocessing.policy.shadow_endpoint import PATH

    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT) as http:
            response = await http.get(f"{controller.rstrip('/')}{PATH}")
    except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise CommandError(f"{controller}: {error}", code=3, hint=PORT_FORWARD) from error
    if response.status_code == 404:
        raise CommandError(f"{controller}: this controller has no shadow policy; set classifier.shadow", code=2)
    try:
        report = msgspec.json.decode(response.content, type=ShadowReport)
    except JSON_FAULTS as error:
        raise CommandError(f"{controller}: answers {response.status_code}, no report of a shadow", code=3) from error
    if not emit(report, output, [each.alert for each in report.disagreements]):
        rows = [
            (f"{each.at:%Y-%m-%dT%H:%M:%S}", each.target, each.alert, part, text_of(live), text_of(other))
            for each in report.disagreements
            for part, (live, other) in each.parts.items()
        ]
        if rows:
            table(DISAGREEMENTS, rows)
        say(f"{report.same} the same, {report.different} different, {report.failed} failed, {report.skipped} skipped")
    if report.withheld:
        note(f"{report.withheld} disagreements are listed on the controller's own machine only: {PORT_FORWARD}")
    if report.error:
        note(visible(f"the shadow policy was rejected: {report.error}"))
    return 1 if report.different or report.error else 0
