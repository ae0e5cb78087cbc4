"""One side of a connection speaks IPv4 and the other IPv6, which `localhost` does not say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_muster.records.reader import Fact
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.scene import LOOPBACK, Failure, Scene


def calls_this_machine(scene: Scene, failure: Failure) -> Fact | None:
    """A connection of the failed test, or of its worker's fixtures, to this machine."""
    uses = [use for fact in scene.record.facts if fact.kind == "connect" and (use := _use(fact)) is not None]
    return next((use.fact for use in uses if _is_of(use, failure)), None)


def crossed(failures: Sequence[Failure], call: Fact, *, reruns: int) -> Finding:
    """In a rerun the connections went to the other family, and the test passed."""
    first = failures[0]
    called, served = ("IPv6", "IPv4") if call.details.get("family") == "inet6" else ("IPv4", "IPv6")
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
    fact: Fact
    family: str
    port: int


def claims(scene: Scene) -> Iterator[Finding]:
    """Tests that connected only in one family to a port that is theirs in the other one."""
    uses = [use for fact in scene.record.facts if (use := _use(fact)) is not None]
    good = {(use.port, use.family) for use in uses if use.fact.kind == "connect" and scene.went_well(use.fact)}
    heard = {(use.port, use.family) for use in uses if use.fact.kind == "listen"}
    by_port: dict[tuple[int, str], list[Failure]] = {}
    for failure in scene.failures:
        own = [use for use in uses if use.fact.kind == "connect" and _is_of(use, failure)]
        for port in {use.port for use in own}:
            families = {use.family for use in own if use.port == port}
            family = next(iter(families))
            other = (port, "inet" if family == "inet6" else "inet6")
            if len(families) == 1 and (port, family) not in good and (other in good or other in heard):
                by_port.setdefault((port, family), []).append(failure)
    for (port, family), failures in by_port.items():
        yield _finding(scene, uses, port, family, failures)


def _finding(scene: Scene, uses: list[_Use], port: int, family: str, failures: list[Failure]) -> Finding:
    called, served = ("IPv6", "IPv4") if family == "inet6" else ("IPv4", "IPv6")
    first = failures[0]
    call = next(use.fact for use in uses if use.port == port and _is_of(use, first))
    serving = [use.fact for use in uses if use.port == port and use.family != family]
    service = next((fact for fact in serving if fact.kind == "listen"), serving[0])
    strangers = [use.fact for use in uses if use.port == port and use.family == family and use.fact.kind == "listen"]
    resolved = [fact for fact in scene.record.facts if fact.kind == "resolve" and fact.worker == first.worker]
    names = sorted({str(fact.details.get("host")) for fact in resolved} & {"localhost", "ip6-localhost"})
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
            text=f"something else listens at {fact.details.get('host')} port {port}, which is {called}",
            at=fact.at,
            worker=fact.worker,
            test=fact.test,
            source=fact.source,
        )
        for fact in strangers[:1]
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


def _use(fact: Fact) -> _Use | None:
    family, port = fact.details.get("family"), fact.details.get("port")
    if fact.kind not in {"connect", "listen"} or family not in {"inet", "inet6"} or not port:
        return None
    host = str(fact.details.get("host"))
    return _Use(fact=fact, family=family, port=int(port)) if host in LOOPBACK else None


def _is_of(use: _Use, failure: Failure) -> bool:
    return use.fact.test == failure.test and use.fact.worker == failure.worker
