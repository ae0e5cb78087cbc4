"""What looks like a secret is replaced, what does not stays."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.ops import redaction
from kubernaut.ops.redaction import REDACTED, redact
from support.secret_corpus import HARMLESS, LEAKS


def test_the_corpus_has_more_than_a_hundred_formats_and_as_many_harmless_texts():
    assert len({leak.kind.removesuffix(" in quotes") for leak in LEAKS}) > 130
    assert len(HARMLESS) > 100


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.kind)
def test_a_secret_is_replaced(leak):
    redacted = redact(leak.text)

    assert REDACTED in redacted
    assert leak.secret not in redacted
    # Not even a part of it that would help.
    assert not any(leak.secret[start : start + 12] in redacted for start in range(len(leak.secret) - 11))


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("leak", LEAKS[::7], ids=lambda leak: leak.kind)
def test_what_was_redacted_stays_as_it_is(leak):
    assert redact(redact(leak.text)) == redact(leak.text)


@pytest.mark.parametrize(
    "key", ["password", "DB_PASSWORD", "api-key", "example.com/token", "client_secret", "tokenValue", "pwd", "secret"]
)
def test_a_label_with_the_name_of_a_secret_loses_its_value(key):
    value = "Tr0ub4dor&3" if key == "secret" else "hunter2"

    assert redaction.redact_labels({key: value}) == {key: REDACTED}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("secret", "db-credentials"),
        ("secret", "none"),
        ("exported_secret", "db-credentials"),
        ("secretName", "db-credentials"),
        ("token_type", "bearer"),
        ("secretsmanager", "on"),
        ("pod-template-hash", "7d4b9c6f5d"),
        ("password", "true"),
        ("kubernaut.ai/token", "x"),
    ],
)
def test_a_label_that_only_sounds_like_a_secret_stays(key, value):
    assert redaction.redact_labels({key: value}) == {key: value}


def test_annotations_that_repeat_whole_objects_are_left_out():
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "long": "x" * 3000, "note": "fine"}

    assert redaction.redact_annotations(annotations) == {"note": "fine"}


@given(text=st.text(max_size=200))
def test_any_text_is_redacted_without_an_error(text):
    redact(text)
    redact(f"password={text} https://a:{text}@b?sig={text}")


@pytest.mark.parametrize(
    "part", ["a", "=", "://", "token=", "password: ", "-----BEGIN PRIVATE KEY-----", "eyJ", " -u ", "curl "]
)
def test_the_time_is_linear_in_the_length(part):
    redact(part)

    def seconds(size: int) -> float:
        text = part * (size // len(part))
        started = time.process_time()
        redact(text)
        return time.process_time() - started

    assert min(seconds(200_000) for _ in range(3)) < 40 * max(0.002, min(seconds(20_000) for _ in range(3)))
