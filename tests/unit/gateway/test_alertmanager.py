import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.signals import Target
from kubernaut.gateway.alertmanager import (
    Webhook,
    alert_name,
    fingerprint_of,
    severity_of,
    signal_of,
)
from kubernaut.gateway.decoder import decode
from kubernaut.gateway.labels import DEFAULT_LABELS, subject_of
from kubernaut.gateway.targets import ResolvedObject, resolve
from kubernaut.gateway.text_limits import truncate_labels
from support.alerts import LONG_AGO, a_webhook, an_alert
from support.gateway import KINDS, a_cluster

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)


def a_notification(*alerts, **changes) -> Webhook:
    return decode(msgspec.json.encode(a_webhook(*alerts, **changes)))


def test_common_labels_count_and_win():
    alert = an_alert(namespace="dev", pod="cart-1")
    webhook = a_notification(alert, commonLabels={"namespace": "shop"}, commonAnnotations={"runbook": "r"})

    signal = signal_of(
        webhook.alerts[0], webhook, ResolvedObject(target=Target(kind="Pod", name="x"), owner=OWNER), NOW
    )

    assert signal.labels["namespace"] == "shop"
    assert signal.annotations == {"runbook": "r", "summary": "KubePodCrashLooping fires"}


OWNER = Target(kind="Deployment", name="cart", namespace="shop")


def test_the_fingerprint_is_that_of_the_owner_whatever_the_alert():
    assert fingerprint_of(OWNER) == hashlib.sha256(b"shop:Deployment:cart").hexdigest()
    assert fingerprint_of(OWNER, "eu-1") == hashlib.sha256(b"eu-1:shop:Deployment:cart").hexdigest()
    assert fingerprint_of(Target(kind="Node", name="n1")) == hashlib.sha256(b":Node:n1").hexdigest()


def test_a_signal_carries_the_fields_of_the_alert():
    alert = an_alert("CartIsDown", starts_at="2026-11-22T19:59:58.123456789Z", namespace="shop", deployment="cart")
    webhook = a_notification(alert)

    signal = signal_of(webhook.alerts[0], webhook, ResolvedObject(target=OWNER, owner=OWNER), NOW, "eu-1")

    assert (signal.name, signal.severity, signal.type, signal.source) == (
        "CartIsDown",
        "critical",
        "alert",
        "prometheus",
    )
    assert signal.cluster_id == "eu-1"
    assert signal.fingerprint == fingerprint_of(OWNER, "eu-1")
    assert signal.firing_time == datetime(2026, 11, 22, 19, 59, 58, 123457, UTC)
    assert signal.received_time == NOW
    data = msgspec.json.decode(signal.provider_data)
    assert data["generatorURL"] == "http://prometheus.example.com/graph"
    assert data["receiver"] == "kubernaut"


def test_missing_fields_are_unknown_and_never_an_error():
    alert = an_alert(namespace="shop", deployment="cart")
    del alert["labels"]["alertname"], alert["labels"]["severity"], alert["annotations"], alert["fingerprint"]
    webhook = a_notification(alert)

    signal = signal_of(webhook.alerts[0], webhook, ResolvedObject(target=OWNER, owner=OWNER), NOW)

    assert (signal.name, signal.severity) == ("unknown", "unknown")


@pytest.mark.parametrize("field", ["groupKey", "externalURL", "receiver"])
def test_provider_data_is_bounded(field):
    webhook = a_notification(an_alert(namespace="shop", deployment="cart"), **{field: "x" * 100_000})

    signal = signal_of(webhook.alerts[0], webhook, ResolvedObject(target=OWNER, owner=OWNER), NOW)

    assert len(signal.provider_data) <= 4096
    assert field not in msgspec.json.decode(signal.provider_data)


def test_an_alert_keeps_its_identity_when_it_ends():
    firing = an_alert(namespace="shop", pod="a")
    ended = firing | {"status": "resolved", "endsAt": "2026-11-22T20:00:00Z"}
    webhook = a_notification(firing, ended, an_alert(namespace="shop", pod="b"))

    first, second, third = webhook.alerts
    assert first.id == second.id != third.id
    assert firing["endsAt"] == LONG_AGO


labels = st.dictionaries(
    st.sampled_from([*KINDS, "job", "exported_namespace", "severity", "team"]) | st.text(max_size=8),
    st.sampled_from(["cart", "shop", "a.b", "No", ""]) | st.text(max_size=12),
    max_size=8,
)


@given(labels=labels, common=labels)
async def test_every_alert_is_mapped_or_has_no_target_at_all(labels, common):
    alert = an_alert(starts_at="2026-11-22T20:00:00Z") | {"labels": labels}
    webhook = a_notification(alert, commonLabels=common)

    resolved = await resolve(subject_of(webhook.alerts[0].labels, DEFAULT_LABELS, "cluster"), a_cluster())

    if resolved is None:
        return
    signal = signal_of(webhook.alerts[0], webhook, resolved, NOW)
    assert signal.target_resource == resolved.target
    assert resolved.target.name
    # What was built must be what the API server accepts.
    assert msgspec.convert(msgspec.to_builtins(signal), type(signal)) == signal
    assert 1 <= len(signal.name) <= 253


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"alertname": "A", "rule": "B"}, "A"),
        ({"AlertName": "A"}, "A"),
        ({"alert_name": "A", "rulename": "B"}, "A"),
        ({"alertname": " ", "rule": "Terminal shell in container"}, "Terminal shell in container"),
        ({"rule_name": "B"}, "B"),
        ({"name": "api"}, "unknown"),
    ],
)
def test_a_name_is_found_under_other_spellings_of_its_label(labels, name):
    assert alert_name(labels) == name


@pytest.mark.parametrize(
    ("labels", "severity"),
    [
        ({"severity": "warning", "Severity": "critical"}, "warning"),
        ({"Severity": "critical"}, "critical"),
        ({"severity": " ", "SEVERITY": "page"}, "page"),
        ({"alert_severity": "high"}, "high"),
        ({"alertSeverity": "high", "priority": "P1"}, "high"),
        ({"priority": "P1"}, "P1"),
        ({"priority": "high"}, ""),
        ({"priority": "0", "level": "error"}, ""),
        ({}, ""),
    ],
)
def test_a_severity_is_found_under_other_spellings_of_its_label(labels, severity):
    assert severity_of(labels) == severity


def test_a_long_severity_of_another_spelling_is_cut_as_any():
    assert len(severity_of({"Severity": "x" * 5000})) == len(truncate_labels({"severity": "x" * 5000})["severity"])
