"""One side of a connection speaks IPv4 and the other IPv6, which `localhost` does not say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_muster.records.run_record import Activity
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import LOOPBACK, Failure, RunView


def calls_this_machine(view: RunView, failure: Failure) -> Activity | None:
    """A connection of the failed test, or of its worker's fixtures, to this machine."""
    uses = [
        use for activity in view.record.activities if activity.kind == "connect" and (use := _use(activity)) is not None
    ]
    return next((use.activity for use in uses if _is_of(use, failure)), None)


def swapped(failures: Sequence[Failure], call: Activity, *, reruns: int) -> Finding:
    """In a rerun the connections went to the other family, and the test passed."""
    first = failures[0]
    called, served = ("IPv6", "IPv4") if call.details.get("address_family") == "inet6" else ("IPv4", "IPv6")
    port = call.details.get("port")
    return Finding(
        cause=Cause.ADDRESS_FAMILY,
        title=f"port {port} is called on {called}, and what the tests want is served on {served}",
        confidence=0.94,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=(
            Evidence(
                text=f"{first.test} connects to {call.details.get('host')} port {port}, which is {called}",
                at=call.at,
                worker=call.worker,
                test=first.test,
                source=call.source,
            ),
            Evidence(text="it failed again when it ran alone, so other tests have no part in it", test=first.test),
            Evidence(text=f"it passed when its connections went to {served} first", test=first.test),
        ),
        remedy=f"Say {'127.0.0.1' if served == 'IPv4' else '::1'} where it connects, or listen on both families.",
        resource=f"port {port}",
        reruns=reruns,
    )


@dataclass(frozen=True, kw_only=True)
class _Use:
    activity: Activity
    family: str
    port: int


def claims(view: RunView) -> Iterator[Finding]:
    """Tests that connected only in one family to a port that is theirs in the other one."""
    uses = [use for activity in view.record.activities if (use := _use(activity)) is not None]
    good = {
        (use.port, use.family) for use in uses if use.activity.kind == "connect" and view.phase_passed(use.activity)
    }
    listening = {(use.port, use.family) for use in uses if use.activity.kind == "listen"}
    by_port: dict[tuple[int, str], list[Failure]] = {}
    for failure in view.failures:
        own = [use for use in uses if use.activity.kind == "connect" and _is_of(use, failure)]
        for port in {use.port for use in own}:
            families = {use.family for use in own if use.port == port}
            family = next(iter(families))
            other = (port, "inet" if family == "inet6" else "inet6")
            if len(families) == 1 and (port, family) not in good and (other in good or other in listening):
                by_port.setdefault((port, family), []).append(failure)
    for (port, family), failures in by_port.items():
        yield _finding(view, uses, port, family, failures)


def _finding(view: RunView, uses: list[_Use], port: int, family: str, failures: list[Failure]) -> Finding:
    called, served = ("IPv6", "IPv4") if family == "inet6" else ("IPv4", "IPv6")
    first = failures[0]
    call = next(use.activity for use in uses if use.port == port and _is_of(use, first))
    serving = [use.activity for use in uses if use.port == port and use.family != family]
    service = next((activity for activity in serving if activity.kind == "listen"), serving[0])
    strangers = [
        use.activity for use in uses if use.port == port and use.family == family and use.activity.kind == "listen"
    ]
    resolved = [
        activity
        for activity in view.record.activities
        if activity.kind == "resolve" and activity.worker == first.worker
    ]
    names = sorted({str(activity.details.get("host")) for activity in resolved} & {"localhost", "ip6-localhost"})
    evidence = [
        Evidence(
            text=f"{first.test} connects to {call.details.get('host')} port {port}, which is {called}",
            at=call.at,
            worker=call.worker,
            test=first.test,
            source=call.source,
        ),
        Evidence(
            text=f"{service.worker} {'listens' if service.kind == 'listen' else 'reached it'} at "
            f"{service.details.get('host')} port {port}, which is {served}",
            at=service.at,
            worker=service.worker,
            test=service.test,
            source=service.source,
        ),
    ]
    evidence += [Evidence(text=f"the name {name} was looked up and means both families") for name in names]
    evidence += [
        Evidence(
            text=f"something else listens at {activity.details.get('host')} port {port}, which is {called}",
            at=activity.at,
            worker=activity.worker,
            test=activity.test,
            source=activity.source,
        )
        for activity in strangers[:1]
    ]
    only = "" if strangers else " only"
    return Finding(
        cause=Cause.ADDRESS_FAMILY,
        title=f"port {port} is served on {served}{only}, and is called on {called}",
        confidence=0.92 if service.kind == "listen" and not strangers else 0.85,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Say 127.0.0.1 or ::1 on both sides instead of a name, or listen on both families at port {port}.",
        resource=f"port {port}",
    )


def _use(activity: Activity) -> _Use | None:
    family, port = activity.details.get("address_family"), activity.details.get("port")
    if activity.kind not in {"connect", "listen"} or family not in {"inet", "inet6"} or not port:
        return None
    host = str(activity.details.get("host"))
    return _Use(activity=activity, family=family, port=int(port)) if host in LOOPBACK else None


def _is_of(use: _Use, failure: Failure) -> bool:
    return use.activity.test == failure.test and use.activity.worker == failure.worker
