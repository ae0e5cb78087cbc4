from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api import limits
from kubernaut.api.events import GatewayPayload
from kubernaut.api.vocabulary import EventType


@given(text=st.text(max_size=80), max_length=st.integers(limits.MARK_LENGTH, 60))
def test_a_text_has_at_most_its_length_and_says_when_it_was_cut(text, max_length):
    cut = limits.truncate(text, max_length)

    assert len(cut) <= max_length
    assert "\0" not in cut
    assert limits.truncate(cut, max_length) == cut
    if len(text) <= max_length:
        assert cut == text.replace("\0", "\ufffd")
    else:
        assert "…[truncated " in cut


def test_texts_that_differ_behind_the_limit_stay_different():
    assert limits.truncate("x" * 300 + "a", 253) != limits.truncate("x" * 300 + "b", 253)


def test_a_column_shorter_than_the_mark_is_no_error():
    assert len(limits.truncate("x" * 300, 5)) == 5


def test_only_long_texts_of_a_payload_are_cut():
    payload = GatewayPayload(
        event_type=EventType.SIGNAL_RECEIVED, signal_type="alert", signal_name="x" * 10_000, namespace="shop",
        fingerprint="", occurrence_count=7,
    )  # fmt: skip

    cut = limits.truncate_payload(payload)

    assert (len(cut.signal_name), cut.namespace, cut.occurrence_count) == (limits.MAX_PAYLOAD_TEXT, "shop", 7)
