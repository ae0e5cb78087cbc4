"""Rows with their payloads as PostgreSQL prints them, hashed without becoming Python objects; pure.

The statement `ledger_lines` returns a row as text, which COPY writes as one line with a separator that no JSON has.
Nearly every row becomes its canonical forms by putting those texts between constants, at a third of the cost of
decoding and encoding each column. That is no second definition of the canonical forms: `recognise` answers only when
the hashes are those that stand in the rows, and otherwise its caller hashes the rows as everybody else does.

Two different rows never have the same text here. A text column is put between quotes as it is, so one that contains a
quote or a backslash is left to the caller; what may be absent or span lines comes as JSON from PostgreSQL. Everything
else has one spelling per value.
"""

from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from kubernaut.datastorage import canonical

SEPARATOR = "\x01"
QUOTE = "\x02"
NULL = "null"
"""Options of COPY as CSV. What holds a separator, a line break or a quote is quoted, and so fits nowhere."""

SESSION = {"bytea_output": "hex", "datestyle": "ISO, YMD", "intervalstyle": "postgres"}
"""Settings by which every text has the form that is expected here; the time zone is UTC in every session of ours."""

COLUMNS = 35
"""Texts in a line."""

_CORRELATION = 10  # where that of the row is
_PAYLOAD = 11  # where the texts of the payload begin
_DATA = 22  # where its data is
_SEPARATOR = SEPARATOR.encode()
_NULL = NULL.encode()
_NO_PAYLOAD = [_NULL] * (COLUMNS - _PAYLOAD)
_FORMAT = b"2"
_BOOLEANS = {b"t": b"true", b"f": b"false"}
_EVENT = b"kubernaut.event.v1\n"
_CONTENT = (
    b'kubernaut.content.v1\n{"actor_id":"%b","actor_ip":%b,"actor_type":"%b","cluster_id":%b,"correlation_id":"%b",'
    b'"duration_ms":%b,"error_code":%b,"error_message":%b,"event_action":"%b","event_category":"%b","event_data":%b,'
    b'"event_id":"%b","event_outcome":"%b","event_timestamp":"%b","event_type":"%b","is_sensitive":%b,"namespace":%b,'
    b'"parent_event_id":%b,"resource_id":"%b","resource_name":%b,"resource_type":"%b","retention_days":%b,'
    b'"severity":"%b","span_id":%b,"trace_id":%b,"version":"%b"}'
)
_LEAF = (
    b'\0{"content_hash":"%b","correlation_id":"%b","event_hash":"%b","event_id":"%b","event_timestamp":"%b","format":2,'
    b'"late":%b,"previous_event_hash":"%b","received_at":"%b","sequence":%b,"shard":%d}'
)


class Recognised(NamedTuple):
    """Consecutive rows in which nothing is wrong, as far as their texts show."""

    leaves: list[bytes]
    missing: dict[int, bytes]
    """The rows without a payload: the text of the event's id by sequence."""


def recognise(lines: Sequence[bytes], shard: int, first: int) -> Recognised | None:
    """Rows of format 2 whose sequences begin with `first`, each with the right hashes, and its payload or none at all.

    None when that is not so of one of them, or cannot be told from its text.
    """
    found: list[bytes] = []
    missing: dict[int, bytes] = {}
    sequence = first
    arrival = arrival_text = b""
    for line in lines:
        fields = line.split(_SEPARATOR)
        if len(fields) != COLUMNS or fields[0] != b"%d" % sequence:
            return None
        if fields[3] != arrival_text:  # the rows of a group have the same one
            arrival_text = fields[3]
            arrival = _time(arrival_text)
        try:
            if fields[_DATA] == _NULL:
                missing[sequence] = fields[1]
                leaf = _leaf_without_payload(fields, shard, arrival)
            else:
                leaf = _leaf(fields, shard, arrival)
        except (KeyError, ValueError, RecursionError):  # not what such a column looks like
            return None
        if leaf is None:
            return None
        found.append(leaf)
        sequence += 1
    return Recognised(found, missing)


def _leaf(fields: list[bytes], shard: int, arrival: bytes) -> bytes | None:
    (
        sequence,
        event_id,
        timestamp,
        _,
        late,
        content_hash,
        previous_event_hash,
        event_hash,
        format_,
        leaf_hash,
        correlation_of_row,
        actor_id,
        actor_type,
        correlation_id,
        event_action,
        event_category,
        event_outcome,
        event_type,
        resource_id,
        resource_type,
        severity,
        version,
        event_data,
        actor_ip,
        cluster_id,
        duration_ms,
        error_code,
        error_message,
        is_sensitive,
        namespace,
        parent_event_id,
        resource_name,
        retention_days,
        span_id,
        trace_id,
    ) = fields
    texts = b"".join(fields[_CORRELATION:_DATA])
    if b'"' in texts or b"\\" in texts or format_ != _FORMAT:
        return None
    time = _time(timestamp)
    event = _CONTENT % (
        actor_id,
        actor_ip,
        actor_type,
        cluster_id,
        correlation_id,
        duration_ms,
        error_code,
        error_message,
        event_action,
        event_category,
        canonical.encode(canonical.decode(event_data)),
        event_id,
        event_outcome,
        time,
        event_type,
        _BOOLEANS[is_sensitive],
        namespace,
        parent_event_id,
        resource_id,
        resource_name,
        resource_type,
        retention_days,
        severity,
        span_id,
        trace_id,
        version,
    )
    content = sha256(event).digest()
    if content != a2b_base64(content_hash):
        return None
    if sha256(_EVENT + a2b_base64(previous_event_hash) + content).digest() != a2b_base64(event_hash):
        return None
    entry = _LEAF % (
        content_hash,
        correlation_of_row,
        event_hash,
        event_id,
        time,
        _BOOLEANS[late],
        previous_event_hash,
        arrival,
        sequence,
        shard,
    )
    leaf = sha256(entry).digest()
    return leaf if leaf == a2b_base64(leaf_hash) else None


def _leaf_without_payload(fields: list[bytes], shard: int, arrival: bytes) -> bytes | None:
    sequence, event_id, timestamp, _, late, content_hash, previous, event_hash, format_, leaf_hash, correlation = (
        fields[:_PAYLOAD]
    )
    if b'"' in correlation or b"\\" in correlation or format_ != _FORMAT or fields[_PAYLOAD:] != _NO_PAYLOAD:
        return None
    if sha256(_EVENT + a2b_base64(previous) + a2b_base64(content_hash)).digest() != a2b_base64(event_hash):
        return None
    entry = _LEAF % (
        content_hash,
        correlation,
        event_hash,
        event_id,
        _time(timestamp),
        _BOOLEANS[late],
        previous,
        arrival,
        sequence,
        shard,
    )
    leaf = sha256(entry).digest()
    return leaf if leaf == a2b_base64(leaf_hash) else None


def _time(text: bytes) -> bytes:
    """`2026-01-31 23:59:59.000001+00` as it is hashed; PostgreSQL leaves out zeros at the end."""
    if len(text) == 29:
        return b"%bT%bZ" % (text[:10], text[11:26])
    seconds, _, fraction = text.removesuffix(b"+00").partition(b".")
    date, _, time = seconds.partition(b" ")
    return b"%bT%b.%bZ" % (date, time, fraction.ljust(6, b"0")) if fraction else b"%bT%bZ" % (date, time)
