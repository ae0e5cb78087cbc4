"""Alerts that end and begin again, without a cluster: the signals that a gateway would open."""

import json
from typing import Any

from kubernaut.gateway.cluster import ManifestReader
from kubernaut.gateway.config import GatewayConfig
from kubernaut.gateway.decoder import decode
from kubernaut.gateway.offline import OfflineIntake
from support.alerts import a_webhook, ago, an_alert, over


async def statuses_of(*notifications: list[dict[str, Any]]) -> list[list[str]]:
    intake = OfflineIntake(ManifestReader([], []), GatewayConfig())
    results = [await intake.process(decode(json.dumps(a_webhook(*alerts)).encode())) for alerts in notifications]
    return [[str(result.status) for result in each] for each in results]


def about(pod: str, **more: str) -> dict[str, Any]:
    return an_alert("Down", namespace="shop", pod=pod, **more)


async def test_an_alert_that_was_resolved_opens_a_new_signal():
    alert = about("a")

    assert await statuses_of([alert], [alert], [over(alert)], [alert]) == [
        ["created"],
        ["duplicate"],
        ["resolved"],
        ["created"],
    ]


async def test_a_signal_is_open_as_long_as_one_of_its_alerts_fires():
    first, second = about("a", container="x"), about("a", container="y")

    assert await statuses_of([first, second], [over(first)], [first]) == [
        ["created", "duplicate"],
        ["resolved"],
        ["duplicate"],
    ]


async def test_a_more_severe_alert_ends_when_all_do():
    warning, critical = about("a", severity="warning"), about("a")

    assert await statuses_of([warning], [critical], [over(critical)], [critical], [over(warning), over(critical)]) == [
        ["created"],
        ["created"],
        ["resolved"],
        ["duplicate"],
        ["resolved", "resolved"],
    ]


async def test_in_one_notification_the_end_counts_after_the_start_unless_it_was_before_it():
    ended = about("a", starts_at=ago(minutes=9)) | {"status": "resolved", "endsAt": ago(minutes=6)}
    began = about("a", starts_at=ago(minutes=5))

    assert await statuses_of([about("a")], [began, ended], [began]) == [
        ["created"],
        ["created", "resolved"],
        ["duplicate"],
    ]
    assert await statuses_of([began, over(began)], [began]) == [["created", "resolved"], ["created"]]
