"""A status that somebody edited by hand neither blocks a signal nor spoils its record."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kubernaut.api.signals import FailureInfo, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.signalprocessing import audit_events, reconciler
from support.signals import a_signal

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ODD_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
]


def created(status: SignalStatus) -> SignalProcessing:
    signal = a_signal(status=status)
    return msgspec.structs.replace(
        signal, metadata=msgspec.structs.replace(signal.metadata, creation_timestamp=CREATED)
    )


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.ENRICHING, Phase.COMPLETED, Phase.FAILED])
def test_time_outside_of_the_signals_life_is_recorded_as_its_creation(phase: Phase, odd: datetime):
    status = SignalStatus(
        phase=phase,
        start_time=odd,
        completion_time=odd if phase.is_final else None,
        failure_info=FailureInfo(error="x", consecutive_failures=3, last_failure_time=odd),
    )

    events = audit_events.events_of(created(status))

    assert events
    assert {event.event_timestamp for event in events} == {CREATED}
    assert all((event.duration_ms or 0) < 1_000 for event in events)


def test_time_within_the_signals_life_is_recorded_as_it_is():
    start = CREATED + timedelta(minutes=5)

    events = audit_events.events_of(created(SignalStatus(phase=Phase.ENRICHING, start_time=start)))

    assert {event.event_timestamp for event in events} == {start}


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("failures", [1, 10**9])
def test_failure_at_an_odd_time_delays_no_retry(odd: datetime, failures: int):
    status = SignalStatus(
        phase=Phase.ENRICHING,
        start_time=odd,
        failure_info=FailureInfo(error="x", consecutive_failures=failures, last_failure_time=odd),
    )

    assert reconciler._remaining_backoff(created(status)) is None
