"""Whatever is changed in a ledger is found, and the first bad row is named."""

from datetime import timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.datastorage import chain
from kubernaut.datastorage.verification import MAX_FINDINGS, StoredRow, Verifier
from support.ledger_events import an_entry

COUNT = 9


def a_ledger(count: int = COUNT) -> list[StoredRow]:
    entries = [
        an_entry(event_id=str(UUID(int=number)), correlation_id=f"rr-{number % 3}", event_data={"n": number})
        for number in range(count)
    ]
    rows, _ = chain.link(0, chain.Head(), {}, entries)
    return [StoredRow(row=row, payload=entry.event) for row, entry in zip(rows, entries, strict=True)]


def verified(
    rows: list[StoredRow], *, is_whole_ledger: bool = True, trusted_head: tuple[int, bytes] | None = None
) -> Verifier:
    verifier = Verifier(is_whole_ledger=is_whole_ledger, trusted_head=trusted_head)
    for row in rows:
        verifier.check(row)
    verifier.finish()
    return verifier


def changed(stored: StoredRow, **columns: object) -> StoredRow:
    return StoredRow(row=stored.row._replace(**columns), payload=stored.payload)


def test_untouched_ledger_verifies_and_tells_its_head():
    rows = a_ledger()

    verifier = verified(rows)

    assert verifier.findings == []
    assert (verifier.total_count, verifier.bad_count) == (COUNT, 0)
    assert verifier.head == (COUNT, rows[-1].row.link_hash)


def test_one_correlation_verifies_alone():
    rows = [row for row in a_ledger() if row.row.correlation_id == "rr-1"]

    verifier = verified(rows, is_whole_ledger=False)

    assert verifier.findings == []
    assert verifier.head == (rows[-1].row.sequence, rows[-1].row.event_hash)


COLUMNS = {
    "event_id": UUID(int=99),
    "correlation_id": "rr-9",
    "content_hash": b"x" * 32,
    "previous_event_hash": b"x" * 32,
    "event_hash": b"x" * 32,
    "link_hash": b"x" * 32,
    "late": True,
}


@given(st.integers(0, COUNT - 1), st.sampled_from(sorted(COLUMNS)))
def test_edited_column_of_the_ledger_is_the_first_finding(place: int, column: str):
    rows = a_ledger()
    rows[place] = changed(rows[place], **{column: COLUMNS[column]})

    verifier = verified(rows)

    assert verifier.findings[0].sequence == place + 1
    assert verifier.bad_count <= 2


@given(st.integers(0, COUNT - 1), st.integers(-5, 5).filter(bool), st.sampled_from(["event_timestamp", "received_at"]))
def test_edited_time_is_the_first_finding(place: int, seconds: int, column: str):
    rows = a_ledger()
    moved = getattr(rows[place].row, column) + timedelta(seconds=seconds)
    rows[place] = changed(rows[place], **{column: moved})

    assert verified(rows).findings[0].sequence == place + 1


@given(st.integers(0, COUNT - 1), st.booleans())
def test_edited_payload_is_exactly_one_finding(place: int, is_whole_ledger: bool):
    rows = a_ledger()
    rows = rows if is_whole_ledger else [row for row in rows if row.row.correlation_id == f"rr-{place % 3}"]
    at = place if is_whole_ledger else place // 3
    payload = rows[at].payload
    assert payload is not None
    edited = msgspec.structs.replace(payload, event_data=msgspec.Raw(b'{"n":100}'))
    rows[at] = StoredRow(row=rows[at].row, payload=edited)

    verifier = verified(rows, is_whole_ledger=is_whole_ledger)

    assert [(finding.sequence, finding.event_id) for finding in verifier.findings] == [(place + 1, payload.event_id)]
    assert "changed" in verifier.findings[0].message
    assert verifier.findings[0].expected_hash == rows[at].row.content_hash.hex()


@given(st.integers(0, COUNT - 1))
def test_missing_payload_is_exactly_one_finding(place: int):
    rows = a_ledger()
    rows[place] = StoredRow(row=rows[place].row, payload=None)

    assert [finding.sequence for finding in verified(rows).findings] == [place + 1]


@given(st.integers(0, COUNT - 2), st.integers(1, 3))
def test_deleted_rows_are_named_by_the_first(place: int, count: int):
    rows = a_ledger()
    del rows[place : min(place + count, COUNT - 1)]

    verifier = verified(rows)

    assert verifier.findings[0].sequence == place + 1
    assert "missing" in verifier.findings[0].message


@given(st.permutations(range(COUNT)).filter(lambda order: order != list(range(COUNT))))
def test_reordered_rows_are_found(order: list[int]):
    rows = a_ledger()
    # Somebody renumbers the rows, so that the sequence alone looks right.
    renumbered = [changed(rows[old], sequence=new + 1) for new, old in enumerate(order)]

    first = next(new for new, old in enumerate(order) if new != old)
    assert verified(renumbered).findings[0].sequence == first + 1


@given(st.integers(0, COUNT - 2))
def test_row_that_was_rewritten_with_fitting_hashes_shows_at_the_next(place: int):
    rows = a_ledger()
    row = rows[place].row._replace(correlation_id="rr-9")
    previous = rows[place - 1].row.link_hash if place else chain.ORIGIN
    row = row._replace(link_hash=chain.link_hash(previous, row))
    rows[place] = StoredRow(row=row, payload=rows[place].payload)

    assert [finding.sequence for finding in verified(rows).findings][-1] == place + 2


@given(st.integers(0, COUNT - 1))
def test_truncated_tail_shows_only_against_a_trusted_head(length: int):
    rows = a_ledger()
    trusted_head = (COUNT, rows[-1].row.link_hash)

    assert verified(rows, trusted_head=trusted_head).findings == []
    assert verified(rows[:length]).findings == []
    assert [finding.sequence for finding in verified(rows[:length], trusted_head=trusted_head).findings] == [length + 1]


def test_rewritten_ledger_shows_against_a_trusted_head():
    rows = a_ledger()

    verifier = verified(rows, trusted_head=(4, b"y" * 32))

    assert [finding.sequence for finding in verifier.findings] == [4]
    assert verifier.findings[0].expected_hash == (b"y" * 32).hex()


def test_head_inside_the_ledger_is_compared_too():
    rows = a_ledger()

    assert verified(rows, trusted_head=(4, rows[3].row.link_hash)).findings == []


def test_list_of_findings_is_bounded_and_the_count_is_not():
    rows = [StoredRow(row=row.row, payload=None) for row in a_ledger(MAX_FINDINGS + 20)]

    verifier = verified(rows)

    assert len(verifier.findings) == MAX_FINDINGS
    assert verifier.bad_count == MAX_FINDINGS + 20
