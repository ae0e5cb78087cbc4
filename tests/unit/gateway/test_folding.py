"""Which alerts are one signal."""

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from kubernaut.api.signals import Target
from kubernaut.gateway.alertmanager import Alert, AlertStatus
from kubernaut.gateway.config import HEARTBEATS
from kubernaut.gateway.folding import FoldBy, fold_key, severity_rank
from kubernaut.gateway.heartbeats import Heartbeats

API = Target(api_version="apps/v1", kind="Deployment", name="api", namespace="shop")
SHOP = Target(api_version="v1", kind="Namespace", name="shop")


def an_alert(name: str = "A", *, is_firing: bool = True, **labels: str) -> Alert:
    status = AlertStatus.FIRING if is_firing else AlertStatus.RESOLVED
    return Alert(status=status, labels={"alertname": name, **labels}, starts_at=datetime(2026, 11, 29, tzinfo=UTC))


def key(alert: Alert, owner: Target = API, cluster: str = "", by: FoldBy = FoldBy.ALERT) -> str:
    return fold_key(alert, owner, cluster, by)


def test_alerts_of_one_name_about_one_workload_fold():
    assert key(an_alert(pod="a", severity="info")) == key(an_alert(pod="b", severity="critical"))


def test_another_name_workload_group_or_cluster_does_not_fold():
    other = Target(api_version="apps.example.com/v1", kind="Deployment", name="api", namespace="shop")
    keys = [
        key(an_alert()),
        key(an_alert("B")),
        key(an_alert(), SHOP),
        key(an_alert(), other),
        key(an_alert(), cluster="eu"),
    ]

    assert len(set(keys)) == len(keys)


def test_the_version_of_a_group_does_not_matter():
    older = Target(api_version="apps/v1beta1", kind="Deployment", name="api", namespace="shop")

    assert key(an_alert()) == key(an_alert(), older)


def test_by_workload_the_name_matters_only_without_a_workload():
    assert key(an_alert("A"), by=FoldBy.WORKLOAD) == key(an_alert("B"), by=FoldBy.WORKLOAD)
    assert key(an_alert("A"), SHOP, by=FoldBy.WORKLOAD) != key(an_alert("B"), SHOP, by=FoldBy.WORKLOAD)


def test_without_a_workload_the_scrape_job_matters():
    assert key(an_alert(job="api"), SHOP) != key(an_alert(job="cart"), SHOP)
    assert key(an_alert(job="api")) == key(an_alert(job="cart"))


def test_a_fold_key_is_a_label_value():
    assert len(key(an_alert())) <= 63


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("critical", "high"),
        ("High", "warning"),
        ("WARN", "info"),
        ("sev-1", "SEV 2"),
        ("error", "note"),
        ("P1", "page5"),
    ],
)
def test_severities_are_ordered_however_they_are_spelled(worse, better):
    assert severity_rank(worse) > severity_rank(better)


def test_a_severity_that_is_not_known_is_no_more_severe_than_another():
    assert severity_rank("catastrophe!") == severity_rank("info") == severity_rank("")


@pytest.mark.parametrize(
    ("name", "is_heartbeat"),
    [
        ("Watchdog", True),
        ("watchdog", True),
        ("DeadMansSwitch", True),
        ("PrometheusAlertmanagerE2eDeadManSwitch", True),
        ("NodeMissedHeartbeat", False),
        ("WatchdogTimeout", False),
    ],
)
def test_heartbeats_are_known_by_their_names(name, is_heartbeat):
    assert Heartbeats(HEARTBEATS, CollectorRegistry()).observe(an_alert(name)) is is_heartbeat


def test_the_time_of_the_last_heartbeat_is_a_metric():
    registry = CollectorRegistry()
    heartbeats = Heartbeats(HEARTBEATS, registry)
    sample = ("gateway_heartbeat_timestamp_seconds", {"alert": "Watchdog"})

    heartbeats.observe(an_alert("Watchdog", is_firing=False))
    assert registry.get_sample_value(*sample) is None
    heartbeats.observe(an_alert("Watchdog"))
    assert registry.get_sample_value(*sample) > 0
