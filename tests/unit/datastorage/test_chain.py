"""Hashes are pinned: a change here makes every ledger out there look tampered."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from kubernaut.api.ledger import entries, merkle
from kubernaut.datastorage import chain
from support.ledger_events import NOW, an_entry

EVENT_ID = "00000000-0000-4000-8000-000000000001"


def a_row(**more: object) -> chain.Row:
    row = chain.Row(
        shard=0,
        sequence=7,
        event_id=UUID(EVENT_ID),
        correlation_id="rr-1",
        event_timestamp=datetime(2026, 1, 31, 23, 59, 59, 1, tzinfo=UTC),
        received_at=datetime(2026, 2, 1, tzinfo=UTC),
        late=False,
        content_hash=b"c" * 32,
        previous_event_hash=chain.ORIGIN,
        event_hash=b"e" * 32,
        link_hash=None,
        format=2,
        leaf_hash=None,
    )
    return row._replace(**more)


def test_canonical_event_names_every_field_sorted():
    event = an_entry(event_id=EVENT_ID, event_data={"b": 1, "a": 1.0}, actor_ip="::FFFF:1.2.3.4").event

    assert chain.canonical(event) == (
        b'{"actor_id":"signalprocessing-service","actor_ip":"::ffff:102:304","actor_type":"service","cluster_id":null,'
        b'"correlation_id":"rr-1","duration_ms":null,"error_code":null,"error_message":null,'
        b'"event_action":"phase_transition","event_category":"signalprocessing","event_data":{"a":1,"b":1},'
        b'"event_id":"00000000-0000-4000-8000-000000000001","event_outcome":"success",'
        b'"event_timestamp":"2026-11-22T20:00:00.000001Z","event_type":"signalprocessing.phase.transition",'
        b'"is_sensitive":false,"namespace":null,"parent_event_id":null,"resource_id":"rr-1","resource_name":null,'
        b'"resource_type":"signalprocessing","retention_days":2555,"severity":"info","span_id":null,"trace_id":null,'
        b'"version":"1.0"}'
    )
    fields = list(event.__struct_fields__)
    assert fields == sorted(fields)


def test_hashes_are_the_published_ones():
    content = an_entry(event_id=EVENT_ID, event_data={"a": 1}).content_hash
    event = chain.event_hash(chain.ORIGIN, content)

    assert content.hex() == "195d372484bfb4adc234299548482cc575dfdd6c7745a159f5fb74e1ab9604e4"
    assert event.hex() == "85a33aed96135585115b95e2761f8aa75f03afadddac2f0fd153baff0c1de2f3"
    assert (
        chain.link_hash(chain.ORIGIN, a_row()).hex()
        == "e5ca2886c5e7a338bbdc76d9c4a9bf2072036aa2b3975fcb4b435c12cea71422"
    )
    assert chain.leaf_hash(a_row()) == merkle.leaf_hash(chain.ledger_entry(a_row()))


def test_entry_names_every_column_sorted():
    assert chain.ledger_entry(a_row()) == (
        b'{"content_hash":"Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M=","correlation_id":"rr-1",'
        b'"event_hash":"ZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWU=",'
        b'"event_id":"00000000-0000-4000-8000-000000000001","event_timestamp":"2026-01-31T23:59:59.000001Z",'
        b'"format":2,"late":false,"previous_event_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",'
        b'"received_at":"2026-02-01T00:00:00Z","sequence":7,"shard":0}'
    )
    assert entries.decode(chain.ledger_entry(a_row())).sequence == 7
    assert b'"link_hash":"bGxs' in chain.ledger_entry(a_row(format=1, link_hash=b"l" * 32))


def test_leaf_covers_every_column_but_itself():
    other = {
        "shard": 1,
        "sequence": 8,
        "event_id": UUID(int=2),
        "correlation_id": "rr-2",
        "event_timestamp": NOW,
        "received_at": NOW,
        "late": True,
        "content_hash": b"x" * 32,
        "previous_event_hash": b"x" * 32,
        "event_hash": b"x" * 32,
        "link_hash": b"x" * 32,
        "format": 1,
    }
    leaves = {chain.leaf_hash(a_row(**{column: value})) for column, value in other.items()}

    assert {*other} == {*chain.Row._fields} - {"leaf_hash"}
    assert len(leaves | {chain.leaf_hash(a_row())}) == len(other) + 1


def test_link_covers_every_column_that_places_a_row():
    other = {
        "shard": 1,
        "sequence": 8,
        "event_id": UUID(int=2),
        "correlation_id": "rr-2",
        "event_timestamp": NOW,
        "received_at": NOW,
        "late": True,
        "event_hash": b"x" * 32,
    }
    links = {chain.link_hash(chain.ORIGIN, a_row(**{column: value})) for column, value in other.items()}

    assert len(links | {chain.link_hash(chain.ORIGIN, a_row())}) == len(other) + 1
    assert chain.link_hash(b"y" * 32, a_row()) not in links


def test_content_hash_covers_every_field():
    event = an_entry(event_id=EVENT_ID).event
    changes: dict[str, object] = {
        "duration_ms": 1,
        "event_data": msgspec.Raw(b"{}"),
        "event_id": UUID(int=1),
        "event_timestamp": NOW,
        "is_sensitive": True,
        "parent_event_id": UUID(int=1),
        "retention_days": 1,
    }
    hashes = {
        chain.content_hash(msgspec.structs.replace(event, **{field: changes.get(field, "other")}))
        for field in event.__struct_fields__
    }

    assert len(hashes | {chain.content_hash(event)}) == len(event.__struct_fields__) + 1


def test_correlation_stays_in_its_ledger():
    assert {chain.shard_of(f"rr-{number}", 1) for number in range(20)} == {0}
    assert {chain.shard_of(f"rr-{number}", 4) for number in range(100)} == {0, 1, 2, 3}
    assert chain.shard_of("rr-1", 4) == chain.shard_of("rr-1", 4)


def test_event_hashed_with_the_other_spelling_of_its_address_has_its_content():
    event = an_entry(actor_ip="::ffff:10.0.0.1").event
    spelled_otherwise = msgspec.structs.replace(event, actor_ip="::ffff:10.0.0.1")

    assert event != spelled_otherwise
    assert chain.has_content(event, chain.content_hash(event))
    assert chain.has_content(event, chain.content_hash(spelled_otherwise))
    assert not chain.has_content(an_entry(actor_ip="::ffff:10.0.0.2").event, chain.content_hash(spelled_otherwise))
