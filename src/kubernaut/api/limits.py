"""How long texts may be: in the columns of an audit event, in its data, and in an alert.

A limit of a later stage is kept at the first one. So the gateway cuts what it stores to the limits of an alert, from
which every audit event follows that DataStorage admits; and whoever derives an event cuts texts of others to the
columns' lengths. What is cut ends with a mark, which differs where the texts differ.
"""

import hashlib
from typing import TypeVar

import msgspec

Payload = TypeVar("Payload", bound=msgspec.Struct)

MAX_EVENT_TYPE = 100
MAX_EVENT_CATEGORY = 50
MAX_EVENT_ACTION = 50
MAX_CORRELATION_ID = 255
MAX_VERSION = 10
MAX_ACTOR_TYPE = 50
MAX_ACTOR_ID = 255
MAX_ACTOR_IP = 45
MAX_RESOURCE_TYPE = 100
MAX_RESOURCE_ID = 255
MAX_RESOURCE_NAME = 255
MAX_NAMESPACE = 253
MAX_CLUSTER_ID = 255
MAX_TRACE_ID = 255
MAX_SPAN_ID = 255
MAX_EVENT_SEVERITY = 20
MAX_ERROR_CODE = 50
MAX_DURATION = 2**31 - 1  # milliseconds
MAX_RETENTION_DAYS = 2555

MAX_PAYLOAD_TEXT = 2048
"""Of one text in the data that our services write; all texts of an event together stay below DataStorage's limit."""

MAX_ALERT_NAME = 253
MAX_SEVERITY = 63
"""Of a severity as its sender spells it."""

MAX_LABEL_NAME = 512
MAX_LABEL_VALUE = 8192
MAX_LABELS = 256
"""Labels of an alert, and annotations as well."""

MAX_LABELS_SIZE = 128 * 1024
"""Bytes of all labels of an alert as JSON, and of its annotations as well; an object of Kubernetes has 1.5 MiB at
most."""

MAX_PROVIDER_DATA = 4096
"""Bytes of what a signal keeps about the source of its alert."""

_MARK = "…[truncated {}]"
MARK_LENGTH = len(_MARK.format("12345678"))


def truncate(text: str, max_length: int) -> str:
    """The text, or as much of it as fits with a mark; PostgreSQL cannot store NUL, which becomes U+FFFD."""
    text = text.replace("\0", "\ufffd")
    if len(text) <= max_length:
        return text
    return (text[: max(0, max_length - MARK_LENGTH)] + mark_of(text))[:max_length]


def mark_of(text: str) -> str:
    """The mark of a text that is cut."""
    return _MARK.format(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8])


def truncate_payload(payload: Payload) -> Payload:
    """The data of an audit event, with texts that DataStorage admits."""
    long = {
        name: truncate(value, MAX_PAYLOAD_TEXT)
        for name in payload.__struct_fields__
        if isinstance(value := getattr(payload, name), str) and (len(value) > MAX_PAYLOAD_TEXT or "\0" in value)
    }
    return msgspec.structs.replace(payload, **long) if long else payload
