"""What must hold after a history: read without the code under test."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import valkey.asyncio

from faults.clients import NOTE, event_id
from faults.histories import History
from faults.stack import Stack

AHEAD = timedelta(minutes=30)
"""An event stamped further ahead than this was stamped by a wrong clock. It waits until its time and goes behind the
others, so that no order is promised for it; that it is stored once is."""

QUEUE, DEAD_LETTERS = "audit:dlq:events", "audit:dead-letter:events"

EventKey = tuple[str, int, int, int]
"""Client, life, writer, number."""


@dataclass(kw_only=True)
class Check:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    acknowledged: int = 0
    stored: int = 0

    def fail(self, problem: str, examples: Sequence[object] = ()) -> None:
        self.problems.append(problem + (f", such as {examples[0]}" if examples else ""))


def acknowledged_events(files: Path, client: str) -> dict[EventKey, str]:
    """The correlation of each event that a client noted as acknowledged."""
    found: dict[EventKey, str] = {}
    for line in (files / "acknowledged").read_bytes().splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue  # it was killed in the middle of the line
        if isinstance(note, dict) and "first" in note:
            for number in range(note["first"], note["last"] + 1):
                found[client, note["life"], note["writer"], number] = note["correlation"]
    return found


async def check(stack: Stack, history: History, ended: datetime) -> Check:
    """Compare what was acknowledged with what is stored."""
    result = Check()
    acknowledged: dict[EventKey, str] = {}
    for client in history.clients:
        acknowledged |= acknowledged_events(stack.files_of(client.name), client.name)
        _check_report(result, stack.files_of(client.name), client.name)
    connection = await asyncpg.connect(stack.database, timeout=10)
    try:
        rows = await connection.fetch(
            """SELECT ledger.shard, ledger.sequence, ledger.event_id, ledger.correlation_id,
                      events.event_data, events.event_timestamp
                 FROM audit_ledger AS ledger LEFT JOIN audit_events AS events USING (event_id)
                ORDER BY ledger.shard, ledger.sequence"""
        )
        counts = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM audit_events) AS events, (SELECT count(*) FROM audit_ledger) AS rows,
                      (SELECT count(*) FROM audit_conflicts) AS conflicts"""
        )
        await _check_trees(result, connection)
    finally:
        await connection.close()
    result.acknowledged, result.stored = len(acknowledged), len(rows)
    _check_rows(result, rows, acknowledged, ended)
    if (counts["events"], counts["conflicts"]) != (counts["rows"], 0):
        result.fail(f"the tables do not fit: {dict(counts)}")
    await _check_queue(result, stack)
    return result


def _check_report(result: Check, files: Path, client: str) -> None:
    try:
        report = json.loads((files / "report").read_text())
    except (OSError, ValueError) as error:
        result.fail(f"{client} did not end by itself: {error}")
        return
    if report["waiting"] or report["quarantined"]:
        result.fail(f"{client} still holds events: {report}")


def _check_rows(result: Check, rows: Iterable[Any], acknowledged: dict[EventKey, str], ended: datetime) -> None:
    seen: dict[EventKey, str] = {}
    order: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row["event_data"] is None:
            result.fail(f"row {row['sequence']} has no payload")
            continue
        data = json.loads(row["event_data"])
        key = (data["client"], data["life"], data["writer"], data["number"])
        if key in seen:
            result.fail(f"{key} is stored twice")
        if row["event_id"] != event_id(*key) or row["correlation_id"] != data["correlation"] or data["note"] != NOTE:
            result.fail(f"{key} is stored with other content")
        seen[key] = row["correlation_id"]
        if row["event_timestamp"] < ended + AHEAD:
            order[row["correlation_id"], data["client"], data["writer"]].append((data["life"], data["number"]))
    lost = [key for key, correlation in acknowledged.items() if seen.get(key) != correlation]
    if lost:
        result.fail(f"{len(lost)} of {len(acknowledged)} acknowledged events are lost", sorted(lost))
    for place, found in order.items():
        if found != sorted(found):
            first = next(i for i in range(1, len(found)) if found[i] < found[i - 1])
            result.fail(f"events of {place} are out of order: {found[first]} stands behind {found[first - 1]}")


async def _check_trees(result: Check, connection: asyncpg.Connection) -> None:
    """The root of each tree, computed from the leaves by the definition of RFC 9162."""
    for tree in await connection.fetch("SELECT shard, size, root FROM audit_trees ORDER BY shard"):
        rows = await connection.fetch(
            "SELECT sequence, leaf_hash FROM audit_ledger WHERE shard = $1 ORDER BY sequence", tree["shard"]
        )
        if [row["sequence"] for row in rows] != list(range(1, tree["size"] + 1)):
            result.fail(f"ledger {tree['shard']} of {tree['size']} leaves has {len(rows)} rows, or gaps")
        elif tree["root"] != root_of([row["leaf_hash"] for row in rows]):
            result.fail(f"the leaves of ledger {tree['shard']} do not lead to its root")


def root_of(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of leaves that are hashed already."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + root_of(leaves[:middle]) + root_of(leaves[middle:])).digest()


async def _check_queue(result: Check, stack: Stack) -> None:
    client = valkey.asyncio.from_url(stack.valkey)
    try:
        queued, dead = await client.xlen(QUEUE), await client.xrange(DEAD_LETTERS, count=1)
    finally:
        await client.aclose()
    if queued:
        result.fail(f"{queued} events are still in the dead-letter queue")
    if dead:
        result.fail(f"an event is among the dead letters: {dead[0][1].get(b'reason', b'').decode()}")
