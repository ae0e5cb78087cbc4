import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api import limits
from kubernaut.gateway.alertmanager import AdjustmentReason, Alert
from kubernaut.gateway.decoder import decode
from kubernaut.gateway.text_limits import LEFT_OUT, truncate_labels
from support.alerts import a_webhook, an_alert

texts = st.builds(str.__mul__, st.text(max_size=4), st.sampled_from([0, 1, 70, 300, 3000, 100_000]))
labels = st.dictionaries(texts, texts, max_size=6)


@settings(max_examples=50)
@given(labels=labels, count=st.sampled_from([0, 5, 300, 3000]))
def test_labels_are_within_the_limits_and_cut_only_once(labels, count):
    labels = {**labels, **{f"label-{number}": "x" * 100 for number in range(count)}}

    cut = truncate_labels(labels)

    assert len(cut) <= limits.MAX_LABELS + 1
    assert len(msgspec.json.encode(cut)) <= limits.MAX_LABELS_SIZE + 100
    assert all(len(name) <= limits.MAX_LABEL_NAME for name in cut)
    assert all(len(value) <= limits.MAX_LABEL_VALUE for value in cut.values())


def test_labels_within_the_limits_stay_as_they_are():
    labels = {"alertname": "Down", "a": "ü" * limits.MAX_LABEL_VALUE}

    assert truncate_labels(labels) is labels


def test_too_many_labels_lose_the_longest_and_keep_what_an_alert_is_about():
    labels = {f"label-{number}": "x" * 50 for number in range(3000)} | {"pod": "cart-1", "alertname": "D" * 200}

    cut = truncate_labels(labels)

    assert (cut["pod"], cut["alertname"]) == ("cart-1", "D" * 200)
    assert cut[LEFT_OUT].startswith(f"{3002 - limits.MAX_LABELS} left out, ")


def test_an_alert_that_is_cut_is_marked_and_keeps_an_identity_of_its_own():
    one, two, whole = (
        decode(json.dumps(a_webhook(an_alert("A" * 400 + end, pod="cart-1"))).encode()).alerts[0]
        for end in ("1", "2", "")
    )

    assert isinstance(one, Alert)
    assert [adjustment.reason for adjustment in one.adjustments] == [AdjustmentReason.TRUNCATED]
    assert len(one.name) == limits.MAX_ALERT_NAME
    assert len({one.id, two.id, whole.id}) == len({one.name, two.name, whole.name}) == 3
