"""Whatever JSON object is sent as a notification: no error of the server, and the good alerts in it are stored."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.alerts import a_webhook, an_alert

from .conftest import WEBHOOK

pytestmark = pytest.mark.kubernetes

HEADERS = {"content-type": "application/json"}
_numbers = itertools.count()

texts = st.text(max_size=8) | st.sampled_from(["", "firing", "resolved", "2026-11-22T20:00:00Z", "shop", "x" * 70_000])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
odd_alerts = values | st.dictionaries(st.sampled_from([*an_alert()]), values)
odd_alerts |= st.builds(lambda labels: an_alert() | {"labels": labels}, st.dictionaries(texts, texts, max_size=4))
fields = st.dictionaries(st.sampled_from([name for name in a_webhook() if name != "commonLabels"]) | texts, values)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changes=fields, odd=st.lists(odd_alerts, max_size=3), place=st.integers(0, 3), has_alerts=st.booleans())
async def test_any_json_object_gets_an_answer_and_good_alerts_in_it_are_stored(
    gateway, cluster, changes, odd, place, has_alerts
):
    pod = f"good-{next(_numbers)}"
    alerts = [*odd[:place], an_alert("Good", namespace=cluster.shop, pod=pod), *odd[place:]]
    content = json.dumps(changes | ({"alerts": alerts} if has_alerts else {})).encode()

    answer = await gateway.http.post(WEBHOOK, content=content, headers=HEADERS)

    if not has_alerts:
        assert answer.status_code in (200, 201, 202, 207, 400), answer.text
        return
    assert answer.status_code in (201, 207), answer.text
    results = answer.json().get("results") or [answer.json()]
    assert len(results) == len(alerts)
    assert results[min(place, len(odd))]["status"] == "created"
    stored = {request.spec.target_resource.name for request in await cluster.requests() if request.spec.target_resource}
    assert pod in stored
