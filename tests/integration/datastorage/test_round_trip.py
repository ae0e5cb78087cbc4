"""What PostgreSQL makes of an event, and what the chain makes of that."""

import json
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernaut.api.events import StoredEvent, VerifyRequest
from kubernaut.datastorage import canonical, chain, intake
from kubernaut.datastorage.event_pages import Filters, PageRequest
from kubernaut.datastorage.store import Store
from support.ledger_events import NOW, a_body, a_wire_event

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.integers(-(10**308), 10**308)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 2**53 + 1])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
SPELLINGS = st.sampled_from(
    [
        "1E5",
        "1e+2",
        "1.0",
        "100.00",
        "-0",
        "-0.000",
        "0e10",
        "1.5e-7",
        "123456789012345678901234567890.50",
        "1e399",
        "9e-400",
    ]
)


def spelled(value: Any, numbers: list[str]) -> str:
    """JSON with some numbers spelled as nobody would."""
    text = json.dumps(value, ensure_ascii=len(numbers) % 2 == 0)
    return f'{{"value": {text}, "numbers": [{", ".join(numbers)}]}}'


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, numbers=st.lists(SPELLINGS, max_size=3))
async def test_what_canonical_saw_at_insert_is_what_it_sees_after_a_round_trip(
    sql: asyncpg.Connection, value: Any, numbers: list[str]
):
    sent = spelled(value, numbers)
    form = canonical.data(sent)

    from_what_we_store = await sql.fetchval("SELECT $1::jsonb", form.decode())
    from_what_was_sent = await sql.fetchval("SELECT $1::jsonb", sent)

    assert canonical.data(from_what_we_store) == form
    assert canonical.data(from_what_was_sent) == form


OPTIONAL_TEXTS = ("actor_type", "actor_id", "resource_name", "namespace", "cluster_id", "error_code", "error_message")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(TEXT, VALUES, max_size=4),
    texts=st.fixed_dictionaries({}, optional=dict.fromkeys(OPTIONAL_TEXTS, TEXT)),
    address=st.none() | st.ip_addresses().map(str),
    time=st.datetimes(min_value=NOW.replace(year=1970, tzinfo=None), max_value=NOW.replace(tzinfo=None)),
    duration=st.none() | st.integers(0, 2**31 - 1),
    sensitive=st.booleans(),
)
async def test_every_field_comes_back_as_it_was_admitted(
    store: Store,
    data: dict[str, Any],
    texts: dict[str, str],
    address: str | None,
    time: Any,
    duration: int | None,
    sensitive: bool,
):
    correlation = f"rr-{uuid4()}"
    event = a_wire_event(
        **texts,
        correlation_id=correlation,
        event_data=data,
        actor_ip=address,
        event_timestamp=time.isoformat() + "Z",
        duration_ms=duration,
        is_sensitive=sensitive,
    )
    (entry,) = intake.admit(a_body(event), NOW, 1)

    assert await store.append([entry]) == [None]

    (stored,) = (await store.read.timeline(correlation)).events
    assert admitted_again(stored) == entry.event
    verification = await store.read.verify(VerifyRequest(correlation_id=correlation))
    assert verification.is_valid, verification.findings
    page = await store.read.page(Filters(correlation_id=correlation), PageRequest())
    assert [found.event_id for found in page.data] == [entry.event.event_id]


def admitted_again(stored: StoredEvent) -> chain.Event:
    fields = {field: getattr(stored, field) for field in chain.Event.__struct_fields__}
    return chain.Event(**fields | {"event_data": msgspec.Raw(canonical.data(stored.event_data))})
