"""The ledger events of holds and removals."""

from datetime import timedelta
from importlib import resources
from uuid import UUID

import pytest

from kubernaut.api.vocabulary import EVENT_CATEGORIES
from kubernaut.datastorage import canonical, operations
from kubernaut.datastorage.operations import KEPT_TYPES, MAX_ROWS, Operation, OperationType, RemovedRow
from support.ledger_events import NOW

OPERATION = Operation(type=OperationType.RETENTION_APPLIED, correlation_id="datastorage-retention-2026-11", time=NOW)


def rows(*sequences: int) -> list[RemovedRow]:
    return [RemovedRow(0, sequence, UUID(int=sequence), NOW) for sequence in sequences]


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [([], []), ([5], [(5, 5)]), ([1, 2, 3], [(1, 3)]), ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)])],
)
def test_sequences_become_ranges(sequences: list[int], expected: list[tuple[int, int]]):
    assert operations.ranges(sequences) == expected


def test_removal_names_its_rows_and_its_id_follows_from_them():
    entry = operations.removal(OPERATION, rows(4, 5, 9))
    later = operations.removal(Operation(**{**_fields(), "time": NOW + timedelta(days=1)}), rows(4, 5, 9))

    removal = operations.decode_removal(entry.event.event_data)
    assert (removal.first_sequence, removal.last_sequence, removal.count) == (4, 9, 3)
    assert removal.sequences == [(4, 5), (9, 9)]
    assert entry.event.event_id == later.event.event_id
    assert entry.event.event_id != operations.removal(OPERATION, rows(4, 5)).event.event_id
    assert entry.event.event_category in EVENT_CATEGORIES


def _fields() -> dict[str, object]:
    return {name: getattr(OPERATION, name) for name in OPERATION.__struct_fields__}


def test_largest_removal_is_within_the_limits_of_an_event():
    start = 2**40
    entry = operations.removal(OPERATION, rows(*range(start, start + 2 * MAX_ROWS, 2)))

    assert canonical.admitted(entry.event.event_data)


def test_database_keeps_the_records_of_removals_and_holds():
    schema = resources.files("kubernaut.datastorage").joinpath("sql/schema.sql").read_text()

    assert all(f"'{type}'" in schema for type in KEPT_TYPES)
