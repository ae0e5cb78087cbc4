"""What the webhook accepts, and its responses to everything else."""

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from kubernaut.api import limits
from kubernaut.gateway.config import DataStorageConfig, GatewayConfig, IntakeConfig, ServerConfig
from kubernaut.gateway.service import open_service
from kubernaut.gateway.signals import SignalMapper
from support.alerts import LONG_AGO, a_webhook, ago, an_alert, over
from support.eventually import eventually

pytestmark = pytest.mark.kubernetes

WEBHOOK = "/api/v1/signals/prometheus"


def is_problem(response: httpx2.Response, status: int) -> dict:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["type"].startswith("https://kubernaut.ai/problems/")
    return document


async def test_a_body_that_is_too_large_is_rejected_with_or_without_a_length(gateway):
    async def chunks():
        for _ in range(33):
            yield b" " * 2**20

    headers = {"content-type": "application/json"}
    for content in (b" " * (2**25 + 1), chunks()):
        response = await gateway.http.post(WEBHOOK, content=content, headers=headers)
        assert is_problem(response, 413)["type"].endswith("/request-too-large")


async def test_a_notification_of_32_mib_is_stored(gateway, cluster):
    alert = an_alert(namespace=cluster.shop, pod="cart-1")
    body = json.dumps(a_webhook(alert | {"values": "HERE"}, alert, truncatedAlerts=7)).encode()
    body = body.replace(b"HERE", b"x" * (2**25 - len(body)))
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    answer = await gateway.http.post(WEBHOOK, content=gzip.compress(body), headers=headers)

    assert answer.status_code == 207
    assert answer.json()["truncatedAlerts"] == 7
    assert len(await cluster.signals()) == 1


async def test_only_a_body_that_is_no_notification_is_a_400(gateway):
    document = is_problem(await gateway.http.post(WEBHOOK, json={"status": "firing"}), 400)
    assert document["field_errors"].keys() == {"$"}

    document = is_problem(await gateway.http.post(WEBHOOK, json=a_webhook(alerts={})), 400)
    assert document["field_errors"].keys() == {"$.alerts"}

    assert (await gateway.post(alerts=None)).status_code == 200


async def test_a_bad_alert_is_rejected_alone_with_its_reason(gateway, cluster):
    good = an_alert("Good", namespace=cluster.shop, pod="cart-1")

    answer = await gateway.post(an_alert("Bad") | {"status": "pending"}, good, 5)

    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["rejected", "created", "rejected"]
    assert results[0] == {
        "status": "rejected", "signalName": "Bad", "error": "status 'pending' is neither 'firing' nor 'resolved'"
    }  # fmt: skip
    assert (await cluster.only()).spec.signal_name == "Good"


async def test_an_old_alert_that_still_fires_is_never_a_replay(gateway, cluster):
    alert = an_alert(namespace=cluster.shop, pod="cart-1", starts_at=ago(days=400))

    assert (await gateway.post(alert)).status_code == 201


async def test_an_alert_that_starts_in_the_future_or_at_an_unknown_time_is_stored(gateway, cluster):
    times = {"ahead": ago(minutes=-7), "zero": LONG_AGO, "past": ago(minutes=7)}
    alerts = [an_alert(name, namespace=cluster.shop, pod=name, starts_at=time) for name, time in times.items()]

    answer = await gateway.post(*alerts)

    assert answer.json()["summary"]["created"] == 3
    firing = {one.spec.signal.name: one.spec.signal for one in await cluster.signals()}
    assert firing["ahead"].firing_time == firing["ahead"].received_time
    assert firing["zero"].firing_time is None
    assert firing["past"].firing_time < firing["past"].received_time


async def test_a_resolve_notice_without_times_resolves_now(gateway, cluster):
    alert = an_alert(namespace=cluster.shop, pod="cart-1")
    await gateway.post(alert)

    answer = await gateway.post(over(alert, startsAt=LONG_AGO, endsAt=LONG_AGO))

    assert answer.json()["status"] == "resolved"
    resolved_at = (await cluster.only()).metadata.annotations["kubernaut.ai/resolved-at"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(resolved_at)) < timedelta(minutes=1)


async def test_a_timestamp_header_out_of_range_is_rejected(gateway, cluster):
    alert = an_alert(namespace=cluster.shop, pod="cart-1", starts_at=ago(days=2))

    for stamp in (ago(minutes=6), ago(minutes=-6), "yesterday", "2026-11-22T20:00:00", "1"):
        response = await gateway.http.post(WEBHOOK, json=a_webhook(alert), headers={"x-timestamp": stamp})
        assert "X-Timestamp" in is_problem(response, 400)["field_errors"]
    good = await gateway.http.post(WEBHOOK, json=a_webhook(alert), headers={"x-timestamp": ago(minutes=4)})

    assert good.status_code == 201


async def test_other_paths_and_methods_are_problems(gateway):
    is_problem(await gateway.http.get("/api/v1/signals/nothing"), 404)
    response = await gateway.http.get(WEBHOOK)
    is_problem(response, 405)
    assert response.headers["allow"] == "POST"


async def test_health_and_metrics(gateway, cluster):
    await gateway.post(an_alert(namespace=cluster.shop, pod="cart-1"), an_alert("Elsewhere"), an_alert("Watchdog"))

    for path in ("/livez", "/readyz", "/healthz", "/health", "/health/live", "/health/ready"):
        assert (await gateway.http.get(path)).status_code == 200
    text = (await gateway.http.get("/metrics")).text
    assert 'gateway_alerts_total{source="prometheus",status="created"} 1.0' in text
    assert 'gateway_alerts_total{source="prometheus",status="rejected"} 1.0' in text
    assert 'gateway_alerts_total{source="prometheus",status="ignored"} 1.0' in text
    assert 'gateway_heartbeat_timestamp_seconds{alert="Watchdog"}' in text
    assert f'gateway_http_request_duration_seconds_count{{path="{WEBHOOK}",status="207"}} 1.0' in text
    assert 'audit_events_buffered_total{service="gateway"}' in text


async def test_a_notification_is_seen_in_the_log_and_in_metrics(gateway, cluster, capfd):
    ahead = an_alert("Ahead", namespace=cluster.shop, pod="cart-1", starts_at=ago(minutes=-7))
    bad = an_alert("Bad") | {"status": "pending"}

    answer = await gateway.post(ahead, bad, an_alert("Nowhere"), groupKey="{}:{token=abc123}", truncatedAlerts=3)

    adjustment = "startsAt is in the future and counts as the time of receipt"
    assert [result.get("adjustments") for result in answer.json()["results"]] == [[adjustment], None, None]
    (signal,) = await cluster.signals()
    assert json.loads(signal.spec.signal.provider_data)["adjustments"] == [adjustment]
    lines = [" ".join(line.split()) for line in capfd.readouterr().out.splitlines()]
    (whole,) = [line for line in lines if "notification processed" in line]
    assert all(each in whole for each in ("alerts=3", "created=1", "rejected=2", "truncated_alerts=3", "127.0.0.1"))
    assert "abc123" not in whole
    assert [line for line in lines if "alert adjusted" in line and "alert=Ahead" in line]
    rejected = {line.partition("reason=")[2].split()[0] for line in lines if "alert rejected" in line}
    assert rejected == {"invalid-alert", "no-target"}
    text = (await gateway.http.get("/metrics")).text
    for sample in (
        'gateway_alerts_not_stored_total{reason="invalid-alert",status="rejected"} 1.0',
        'gateway_alert_adjustments_total{reason="future"} 1.0',
        'gateway_sender_alerts_total{sender="127.0.0.1",status="created"} 1.0',
        "gateway_truncated_alerts_total 3.0",
        "gateway_notifications_waiting 0.0",
    ):
        assert sample in text


async def test_an_alert_that_meets_a_defect_fails_alone(gateway, cluster, monkeypatch):
    process = SignalMapper.map

    async def stumble(mapper, alert, webhook):
        if alert.name == "Odd":
            raise LookupError("a secret of the gateway")
        return await process(mapper, alert, webhook)

    monkeypatch.setattr(SignalMapper, "map", stumble)
    answer = await gateway.post(an_alert("Odd", pod="a"), an_alert("Good", namespace=cluster.shop, pod="cart-1"))

    assert answer.status_code == 503
    assert [result["status"] for result in answer.json()["results"]] == ["failed", "created"]
    assert "secret" not in answer.text
    assert (await cluster.only()).spec.signal_name == "Good"


async def test_a_notification_of_many_bad_alerts_leaves_few_lines(gateway, capfd):
    await gateway.post(*[None] * 1000)

    lines = capfd.readouterr().out.splitlines()
    assert len([line for line in lines if "alert rejected" in line]) == 20
    assert any("lines_left_out=980" in line for line in lines)


async def test_before_the_caches_have_synced_an_alert_is_answered_with_503(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        '{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],'
        ' "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],'
        ' "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}]}'
    )
    config = GatewayConfig(
        kubeconfig=kubeconfig,
        server=ServerConfig(host="127.0.0.1", port=0),
        datastorage=DataStorageConfig(url="http://127.0.0.1:9", spool_dir=tmp_path / "spool", drain_timeout=0),
    )
    async with open_service(config) as server, httpx2.AsyncClient(base_url=server.url) as http:
        response = await http.post(WEBHOOK, json=a_webhook(an_alert(namespace="shop", pod="cart-1")))

        assert is_problem(response, 503)["retry"] is True
        assert int(response.headers["retry-after"]) > 0
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200


async def test_a_port_file_has_the_address(cluster, store, tmp_path):
    config = GatewayConfig(
        kubeconfig=cluster.kubeconfig,
        server=ServerConfig(host="127.0.0.1", port=0, port_file=tmp_path / "port"),
        intake=IntakeConfig(namespace=cluster.home),
        datastorage=DataStorageConfig(url=store.url, spool_dir=tmp_path / "spool", drain_timeout=1),
    )
    async with open_service(config) as server:
        assert (tmp_path / "port").read_text().strip() == f"127.0.0.1:{server.port}"


async def test_a_burst_about_many_workloads_is_stored_whole(gateway, cluster):
    alerts = [an_alert(f"A{number % 7}", namespace=cluster.shop, pod=f"pod-{number}") for number in range(60)]

    answers = await asyncio.gather(*(gateway.post(*alerts[start : start + 20]) for start in (0, 20, 40, 0, 20, 40)))

    assert {answer.status_code for answer in answers} == {207}
    requests = await cluster.requests()
    assert len(requests) == 60
    assert [request.status.deduplication.occurrence_count for request in requests] == [1] * 60


async def test_odd_texts_are_stored_and_long_ones_cut_with_a_mark(gateway, cluster, store):
    odd = an_alert("Spaß ☃ \t" + "x" * 300, namespace=cluster.shop, pod="cart-1", **{"a/b c": "ü" * 5000, "": ""})
    odd["labels"]["severity"] = "Sev-1 / \u0007"

    answer = await gateway.post(odd)

    assert answer.status_code == 201, answer.text
    (signal,) = await cluster.signals()
    assert signal.spec.signal.name == limits.truncate(odd["labels"]["alertname"], 253)
    assert signal.spec.signal.name.startswith("Spaß ☃ \tx")
    assert signal.spec.signal.severity == odd["labels"]["severity"]
    assert signal.spec.signal.labels["a/b c"] == "ü" * 5000
    await eventually(lambda: len(store.stored) == 1)
