"""Whatever is changed in a ledger is found, and the first bad row is named."""

from datetime import timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.datastorage import chain, ledger
from kubernaut.datastorage.verification import MOST_FINDINGS, Checked, Walk
from support.ledger_events import an_entry

COUNT = 9


def a_ledger(count: int = COUNT) -> list[Checked]:
    entries = [
        an_entry(event_id=str(UUID(int=number)), correlation_id=f"rr-{number % 3}", event_data={"n": number})
        for number in range(count)
    ]
    rows, _ = ledger.extend(0, ledger.Head(), {}, entries)
    return [Checked(row=row, payload=entry.event) for row, entry in zip(rows, entries, strict=True)]


def walked(rows: list[Checked], *, whole: bool = True, kept: tuple[int, bytes] | None = None) -> Walk:
    walk = Walk(whole=whole, kept=kept)
    for row in rows:
        walk.see(row)
    walk.end()
    return walk


def changed(checked: Checked, **columns: object) -> Checked:
    return Checked(row=checked.row._replace(**columns), payload=checked.payload)


def test_untouched_ledger_verifies_and_tells_its_head():
    rows = a_ledger()

    walk = walked(rows)

    assert walk.findings == []
    assert (walk.total, walk.bad) == (COUNT, 0)
    assert walk.head == (COUNT, rows[-1].row.link_hash)


def test_one_correlation_verifies_alone():
    rows = [row for row in a_ledger() if row.row.correlation_id == "rr-1"]

    walk = walked(rows, whole=False)

    assert walk.findings == []
    assert walk.head == (rows[-1].row.sequence, rows[-1].row.event_hash)


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

    walk = walked(rows)

    assert walk.findings[0].sequence == place + 1
    assert walk.bad <= 2


@given(st.integers(0, COUNT - 1), st.integers(-5, 5).filter(bool), st.sampled_from(["event_timestamp", "received_at"]))
def test_edited_time_is_the_first_finding(place: int, seconds: int, column: str):
    rows = a_ledger()
    moved = getattr(rows[place].row, column) + timedelta(seconds=seconds)
    rows[place] = changed(rows[place], **{column: moved})

    assert walked(rows).findings[0].sequence == place + 1


@given(st.integers(0, COUNT - 1), st.booleans())
def test_edited_payload_is_exactly_one_finding(place: int, whole: bool):
    rows = a_ledger()
    rows = rows if whole else [row for row in rows if row.row.correlation_id == f"rr-{place % 3}"]
    at = place if whole else place // 3
    payload = rows[at].payload
    assert payload is not None
    edited = msgspec.structs.replace(payload, event_data=msgspec.Raw(b'{"n":100}'))
    rows[at] = Checked(row=rows[at].row, payload=edited)

    walk = walked(rows, whole=whole)

    assert [(finding.sequence, finding.event_id) for finding in walk.findings] == [(place + 1, payload.event_id)]
    assert "changed" in walk.findings[0].message
    assert walk.findings[0].expected_hash == rows[at].row.content_hash.hex()


@given(st.integers(0, COUNT - 1))
def test_missing_payload_is_exactly_one_finding(place: int):
    rows = a_ledger()
    rows[place] = Checked(row=rows[place].row, payload=None)

    assert [finding.sequence for finding in walked(rows).findings] == [place + 1]


@given(st.integers(0, COUNT - 2), st.integers(1, 3))
def test_deleted_rows_are_named_by_the_first(place: int, count: int):
    rows = a_ledger()
    del rows[place : min(place + count, COUNT - 1)]

    walk = walked(rows)

    assert walk.findings[0].sequence == place + 1
    assert "missing" in walk.findings[0].message


@given(st.permutations(range(COUNT)).filter(lambda order: order != list(range(COUNT))))
def test_reordered_rows_are_found(order: list[int]):
    rows = a_ledger()
    # Somebody renumbers the rows, so that the sequence alone looks right.
    renumbered = [changed(rows[old], sequence=new + 1) for new, old in enumerate(order)]

    first = next(new for new, old in enumerate(order) if new != old)
    assert walked(renumbered).findings[0].sequence == first + 1


@given(st.integers(0, COUNT - 2))
def test_row_that_was_rewritten_with_fitting_hashes_shows_at_the_next(place: int):
    rows = a_ledger()
    row = rows[place].row._replace(correlation_id="rr-9")
    previous = rows[place - 1].row.link_hash if place else chain.ORIGIN
    row = row._replace(link_hash=chain.link_hash(previous, row))
    rows[place] = Checked(row=row, payload=rows[place].payload)

    assert [finding.sequence for finding in walked(rows).findings][-1] == place + 2


@given(st.integers(0, COUNT - 1))
def test_cut_tail_shows_only_against_a_kept_head(length: int):
    rows = a_ledger()
    kept = (COUNT, rows[-1].row.link_hash)

    assert walked(rows, kept=kept).findings == []
    assert walked(rows[:length]).findings == []
    assert [finding.sequence for finding in walked(rows[:length], kept=kept).findings] == [length + 1]


def test_rewritten_ledger_shows_against_a_kept_head():
    rows = a_ledger()

    walk = walked(rows, kept=(4, b"y" * 32))

    assert [finding.sequence for finding in walk.findings] == [4]
    assert walk.findings[0].expected_hash == (b"y" * 32).hex()


def test_head_inside_the_ledger_is_compared_too():
    rows = a_ledger()

    assert walked(rows, kept=(4, rows[3].row.link_hash)).findings == []


def test_list_of_findings_is_bounded_and_the_count_is_not():
    rows = [Checked(row=row.row, payload=None) for row in a_ledger(MOST_FINDINGS + 20)]

    walk = walked(rows)

    assert len(walk.findings) == MOST_FINDINGS
    assert walk.bad == MOST_FINDINGS + 20
