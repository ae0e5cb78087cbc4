"""No secret of an alert is stored anywhere."""

import msgspec
import pytest

from support.alerts import an_alert, over
from support.eventually import eventually
from support.secret_corpus import LEAKS

pytestmark = pytest.mark.kubernetes


async def test_a_secret_in_any_text_of_an_alert_is_neither_stored_nor_logged_nor_recorded(
    gateway, cluster, store, capfd
):
    leaks = LEAKS[::9]
    alerts = [
        an_alert(
            f"{leak.text} {number}", namespace=cluster.shop, pod=f"pod-{number}", severity=leak.text, note=leak.text
        )
        | {"annotations": {"summary": leak.text}, "generatorURL": f"http://prometheus/graph?{leak.text}"}
        for number, leak in enumerate(leaks)
    ]

    created = await gateway.post(*alerts, groupKey=" ".join(leak.text for leak in leaks))
    resolved = await gateway.post(*map(over, alerts))

    assert {created.status_code, resolved.status_code} == {207}
    await eventually(lambda: len(store.stored) >= 2 * len(leaks))
    signals, requests = await cluster.signals(), await cluster.requests()
    assert len(signals) == len(leaks)
    written = msgspec.json.encode([signals, requests, list(store.stored.values())]).decode()
    written += created.text + resolved.text + capfd.readouterr().out
    assert not [leak.kind for leak in leaks if leak.secret in written]
