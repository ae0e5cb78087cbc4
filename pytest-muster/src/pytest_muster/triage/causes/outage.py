"""A target that tests shared served them until a moment, and nobody afterwards."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_muster.records.run_record import Activity, ResourceEvent
from pytest_muster.triage.findings import Evidence
from pytest_muster.triage.run_view import Access, Failure, RunView, Target

GONE = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.EPIPE,
    errno.ENOENT,
    errno.ENXIO,
    errno.EHOSTUNREACH,
}
_GONE_CLASSES = ("Connect", "Connection", "BrokenPipe", "Disconnect", "ServerDown", "IncompleteRead", "FileNotFound")


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The moment from which a target no longer serves anybody."""

    target: Target
    failures: tuple[Failure, ...]
    """Of tests that used the target afterwards."""
    passed: tuple[Access, ...]
    """Uses by tests that passed, before it."""

    @property
    def first_failure(self) -> float:
        return self.failures[0].at


def looks_gone(failure: Failure) -> bool:
    error = failure.error
    return error.errno in GONE or any(name.startswith(_GONE_CLASSES) for name in (error.kind, *error.kinds))


def outages(view: RunView) -> Iterator[Outage]:
    """Targets that tests of any worker used well first, and that served no test that began later."""
    passed = {(run.worker, run.test): run for run in view.passed}
    failed: dict[Target, list[Failure]] = {}
    for failure in view.failures:
        for target in view.targets_of(failure):
            failed.setdefault(target, []).append(failure)
    for target, failures in failed.items():
        uses = [access for access in view.by_target.get(target, ()) if access.activity.kind != "remove"]
        good = [access for access in uses if (access.worker, str(access.activity.test)) in passed]
        # A test that was running at that moment may have used the target before it.
        bad = [failure for failure in failures if not good or failure.at > good[-1].at]
        if good and bad and len(bad) >= 0.9 * len(failures):
            yield Outage(target=target, failures=tuple(bad), passed=tuple(good))


def describe_action(action: Activity) -> str:
    details = action.details
    match action.kind:
        case "kill":
            return f"sent signal {details.get('signal')} to process {details.get('pid')}"
        case "remove":
            return f"removed {details.get('path')}"
        case "rename":
            return f"moved {details.get('path')}"
        case "spawn":
            return f"ran `{' '.join(map(str, details.get('argv', ())))}`"
        case "connect":
            return f"talked to {details.get('host', details.get('path'))}:{details.get('port', '')}".rstrip(":")
        case "sqlite":
            return f"opened {details.get('path')}"
        case _:
            return f"wrote {details.get('path')}"


def used_before(view: RunView, lost: Outage) -> Evidence:
    last = lost.passed[-1]
    tests = {access.activity.test for access in lost.passed}
    return Evidence(
        text=f"{len(tests)} tests used {view.display_name(lost.target)} well before, "
        f"the last at {view.elapsed(last.at)}",
        at=last.at,
        worker=last.worker,
        test=last.activity.test,
    )


def failed_uses(view: RunView, lost: Outage, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    what = f"{first.error.kind}" + (f" (errno {first.error.errno})" if first.error.errno is not None else "")
    return Evidence(
        text=f"all {len(failures)} uses afterwards failed, the first at {view.elapsed(first.at)} with {what}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def failures_since(view: RunView, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    return Evidence(
        text=f"{len(failures)} tests failed from then on, first at {view.elapsed(first.at)} with {first.error.kind}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def still_running(view: RunView, action: Activity) -> Evidence:
    others = sorted({run.worker for run in view.record.tests if run.stop > action.at and run.worker != action.worker})
    return Evidence(text=f"{', '.join(others)} still had tests to run at that moment", at=action.at)


def resource_event(event: ResourceEvent) -> Evidence:
    tail = (event.tail or event.error or "").strip().splitlines()[-3:]
    what = "died" if event.event == "died" else "failed its probe"
    if event.suspended:
        what += f": process {', '.join(map(str, event.suspended))} lives, and is stopped by a signal"
    words = f"; its last lines: {' | '.join(tail)}" if tail else ""
    return Evidence(text=f"{event.name} {what}{words}", at=event.at, worker=event.worker)
