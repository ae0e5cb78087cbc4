from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from kubernaut.api.remediation import Deduplication
from kubernaut.gateway import stored_alerts
from kubernaut.gateway.alertmanager import Alert, AlertStatus
from kubernaut.gateway.responses import RequestReference, Result, ResultStatus, batch_response, signal_response
from kubernaut.gateway.stored_alerts import TTL, StoredAlerts, key_of

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
CREATED = Result(status=ResultStatus.CREATED, name="Down", message="signal created")


def an_alert(pod: str = "cart-1") -> Alert:
    return Alert(status=AlertStatus.FIRING, labels={"alertname": "Down", "pod": pod}, starts_at=NOW)


def test_an_alert_is_known_by_labels_state_and_times():
    stored = StoredAlerts()
    stored.add(key_of(an_alert()), CREATED)

    assert stored.get(key_of(an_alert())) == CREATED
    assert stored.get(key_of(an_alert("cart-2"))) is None
    assert stored.get(key_of(msgspec.structs.replace(an_alert(), status=AlertStatus.RESOLVED))) is None
    assert stored.get(key_of(msgspec.structs.replace(an_alert(), starts_at=NOW.replace(hour=21)))) is None
    stored.discard(key_of(an_alert()))
    assert stored.get(key_of(an_alert())) is None


def test_the_next_delivery_is_told_the_request_but_not_an_old_count():
    reference = RequestReference(name="rr-1", namespace="kubernaut-system")
    counted = Deduplication(occurrence_count=2, first_seen_at=NOW, last_seen_at=NOW)
    stored = StoredAlerts()
    stored.add(key_of(an_alert()), replace(CREATED, reference=reference, deduplication=counted))

    again = stored.get(key_of(an_alert()))

    assert again is not None
    assert batch_response([again], 0).results[0].remediation_request_name == "rr-1"
    alone = signal_response(again, 0)
    assert (alone.remediation_request_name, alone.remediation_request_namespace) == ("rr-1", "kubernaut-system")
    assert alone.metadata is None


def test_a_later_repetition_is_seen_and_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(stored_alerts, "MAX_ALERTS", 10)
    now = 100.0
    stored = StoredAlerts(clock=lambda: now)
    for number in range(11):
        stored.add(key_of(an_alert(str(number))), CREATED)

    assert len(stored) == 10
    assert stored.get(key_of(an_alert("0"))) is None
    assert stored.get(key_of(an_alert("10"))) == CREATED
    now += TTL
    assert stored.get(key_of(an_alert("10"))) is None
