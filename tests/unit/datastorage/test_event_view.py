"""What the page of one event shows."""

from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import msgspec
import pytest

from kubernaut.api.ledger import notes
from kubernaut.datastorage import chain
from kubernaut.datastorage.chain import Event, Row
from kubernaut.datastorage.verification import StoredRow
from kubernaut.datastorage.web.event_view import EventView, Value, event_view
from support.ledger_events import an_entry


def a_stored_row(**fields: object) -> StoredRow:
    entry = an_entry(**fields)
    (row,) = chain.link(0, 6, {}, [entry])
    return StoredRow(row=row, payload=entry.event)


def values_of(view: EventView) -> dict[str, Value]:
    return {value.name: value for section in view.sections for value in section.values}


def test_every_field_of_an_event_and_of_its_row_is_on_the_page():
    view = event_view(a_stored_row(), (), ())

    assert {*values_of(view)} == {*Event.__struct_fields__, "received_at", "late"} - {"event_data"}
    # The id stands among the fields of the event, and the link is of rows from before the tree.
    assert {value.name for value in view.ledger.values} == {*Row._fields} - {"event_id", "late", "link_hash"}


def test_row_from_before_the_tree_shows_its_link():
    stored = a_stored_row()
    old = replace(stored, row=stored.row._replace(link_hash=b"\x01", leaf_hash=None))

    values = {value.name: value.text for value in event_view(old, (), ()).ledger.values}

    assert (values["link_hash"], values["leaf_hash"]) == ("01", "")


def test_links_lead_to_parent_and_timeline():
    parent = UUID(int=9)
    view = event_view(a_stored_row(parent_event_id=str(parent), correlation_id="a/../b"), (), ())

    values = values_of(view)
    assert values["parent_event_id"].url == f"/ui/events/{parent}"
    assert values["correlation_id"].url == view.timeline_url == "/ui/timeline?correlation_id=a%2F..%2Fb"


def test_script_gets_the_hash_of_what_is_shown_and_the_keys():
    stored = a_stored_row()
    key, witness = notes.new_signer("log").verifier, notes.new_signer("witness").verifier

    proof = event_view(stored, [key], [witness]).proof

    assert proof is not None
    assert proof.digest == sha256(chain.canonical(stored.payload)).hexdigest()
    assert (proof.keys, proof.witnesses) == (key.vkey, witness.vkey)
    assert proof.receipt_url == f"/ui/events/{stored.row.event_id}/receipt"


def test_data_is_json_over_several_lines_with_escapes():
    view = event_view(a_stored_row(event_data={"b": [1], "a": "\u202e\x1b"}), (), ())

    assert view.data == '{\n  "a": "\\u202e\\u001b",\n  "b": [\n    1\n  ]\n}'


def test_data_that_somebody_broke_in_the_database_is_still_shown():
    stored = a_stored_row()
    assert stored.payload is not None
    broken = msgspec.structs.replace(stored.payload, event_data=msgspec.Raw(b"{\xff"))

    assert event_view(replace(stored, payload=broken), (), ()).data == "{\ufffd"


@pytest.mark.parametrize(
    ("fields", "text", "is_explained"),
    [
        ({"is_removed": True}, "removed by retention or by an order to erase", True),
        ({}, "no ledger event says why", False),
        ({"missing_reason": "the row is marked as removed, but nobody did"}, "but nobody did", False),
    ],
)
def test_event_without_content_says_why_and_is_not_proven(fields, text, is_explained):
    view = event_view(replace(a_stored_row(), payload=None, **fields), (), ())

    assert text in view.absence
    assert view.is_absence_explained is is_explained
    assert (view.proof, view.sections) == (None, ())
    assert view.ledger.values
