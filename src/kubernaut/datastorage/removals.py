"""Why a payload is not there: marks of removed rows, believed only as far as a ledger event names them."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from uuid import UUID

import asyncpg
import msgspec

from kubernaut.api.events import RemovedEvents
from kubernaut.datastorage import database, operations, proven_events, queries
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.operations import REMOVALS, OperationType, Removal
from kubernaut.datastorage.verification import StoredRow

MAX_OPERATIONS = 100
"""Removals that one verification lists, and that it keeps in memory."""


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """A removal as the ledger has it."""

    event_id: UUID
    type: str
    time: datetime
    removal: Removal
    """Its ranges ascend and do not overlap."""

    firsts: list[int]
    """The first sequences of its ranges."""

    def problem(self, mark: asyncpg.Record) -> str:
        """What a mark says of this removal that is not so; empty when all is."""
        if mark["reason"] != REMOVALS[OperationType(self.type)]:
            return f"the ledger event {self.event_id} has another reason"
        if mark["expired_at"] != self.time:
            return f"the ledger event {self.event_id} has another time"
        return ""

    def names(self, shard: int, sequence: int) -> bool:
        """Whether this removal is of that row."""
        place = bisect_right(self.firsts, sequence) - 1
        return self.removal.shard == shard and place >= 0 and sequence <= self.removal.sequences[place][1]


class Removals:
    """The marks of one verification."""

    def __init__(self, pool: asyncpg.Pool | asyncpg.Connection, reader: LedgerReader) -> None:
        self._pool = pool
        self._reader = reader
        self._is_marked: dict[int, bool] = {}
        self._operations: OrderedDict[UUID, _Operation | str] = OrderedDict()
        self._summary: dict[UUID, RemovedEvents] = {}

    @property
    def summary(self) -> list[RemovedEvents]:
        """What was removed by which ledger event, as far as the rows were seen."""
        return list(self._summary.values())

    async def explain(self, stored: Sequence[StoredRow]) -> list[StoredRow]:
        """The rows with what their marks say: removed, or why the mark is not to be believed."""
        marks: dict[tuple[int, int], asyncpg.Record] = {}
        for shard in {each.row.shard for each in stored}:
            marks |= await self._marks(shard, [each.row.sequence for each in stored if each.row.shard == shard])
        if not marks:
            return list(stored)
        explained = []
        for each in stored:
            mark = marks.get((each.row.shard, each.row.sequence))
            explained.append(each if mark is None else await self._explain(each, mark))
        return explained

    async def _marks(self, shard: int, sequences: list[int]) -> dict[tuple[int, int], asyncpg.Record]:
        if not self._is_marked.get(shard):
            # Asked again as long as there are none: retention may begin while we verify.
            self._is_marked[shard] = (await self._rows("is_marked", shard=shard))[0]["is_marked"]
            if not self._is_marked[shard]:
                return {}
        found = await self._rows("marks", shard=shard, sequences=sequences)
        return {(shard, mark["sequence"]): mark for mark in found}

    async def _explain(self, stored: StoredRow, mark: asyncpg.Record) -> StoredRow:
        row = stored.row
        operation = await self._operation(mark["operation_id"])
        problem = ""
        if isinstance(operation, str):
            problem = operation
        elif mark["event_id"] != row.event_id or not operation.names(row.shard, row.sequence):
            problem = f"the ledger event {mark['operation_id']} does not name it"
        else:
            problem = operation.problem(mark)
        if problem or isinstance(operation, str):
            return replace(stored, missing_reason=f"the row is marked as removed, but {problem}", is_marked_wrong=True)
        if stored.payload is None:
            self._count(operation, 1)
            return replace(stored, is_removed=True)
        return stored

    async def explain_all(self, shard: int, missing: Mapping[int, bytes], marks: Sequence[asyncpg.Record]) -> bool:
        """Whether each row without a payload is marked, by a ledger event that names it, and no other row is marked.

        `missing` has the text of the event's id by sequence; `marks` are those of the same rows, as `marked_tiles`
        groups them. The rows are counted if so.
        """
        if sum(len(mark["sequences"]) for mark in marks) != len(missing):
            return False
        counts: list[tuple[_Operation, int]] = []
        for mark in marks:
            operation = await self._operation(mark["operation_id"])
            if isinstance(operation, str) or operation.problem(mark):
                return False
            for sequence, event_id in zip(mark["sequences"], mark["event_ids"], strict=True):
                if missing.get(sequence) != event_id.encode() or not operation.names(shard, sequence):
                    return False
            counts.append((operation, len(mark["sequences"])))
        for operation, count in counts:
            self._count(operation, count)
        return True

    def _count(self, operation: _Operation, count: int) -> None:
        known = self._summary.get(operation.event_id)
        if known is None and len(self._summary) == MAX_OPERATIONS:
            return
        self._summary[operation.event_id] = RemovedEvents(
            operation_id=operation.event_id,
            reason=REMOVALS[OperationType(operation.type)],
            order=operation.removal.order or None,
            removed_at=operation.time,
            count=count + (known.count if known else 0),
        )

    async def _operation(self, event_id: UUID) -> _Operation | str:
        known = self._operations.get(event_id)
        if known is None:
            known = self._operations[event_id] = await self._read(event_id)
            if len(self._operations) > MAX_OPERATIONS:
                self._operations.popitem(last=False)
        return known

    async def _read(self, event_id: UUID) -> _Operation | str:
        """The removal with this id, as far as the tree has it, or why there is none."""
        proven = await proven_events.read(self._reader, event_id)
        if isinstance(proven, str):
            return proven
        event = proven.event
        if event.event_type not in REMOVALS:
            return f"the event {event_id} removes nothing"
        try:
            removal = operations.decode_removal(event.event_data)
        except msgspec.MsgspecError as error:
            return f"the ledger event {event_id} does not say what it removed: {error}"
        if any(first > last for first, last in removal.sequences) or any(
            last >= first for (_, last), (first, _) in pairwise(removal.sequences)
        ):
            return f"the ledger event {event_id} names rows out of order"
        return _Operation(
            event_id=event_id,
            type=event.event_type,
            time=event.event_timestamp,
            removal=removal,
            firsts=[first for first, _ in removal.sequences],
        )

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)
