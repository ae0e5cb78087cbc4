"""`kubernaut audit hold`, `erase` and `export` against a running service."""

from pathlib import Path

import httpx2
import pytest

from kubernaut.audit import StoreError
from kubernaut.cli import holds
from kubernaut.cli.connection import ConnectionOptions
from support.datastorage import BATCH
from support.ledger_events import a_wire_event


async def test_hold_and_erasure_from_the_command_line(http: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]):
    await http.post(BATCH, json=[a_wire_event(correlation_id="rr-1")])
    connection = ConnectionOptions(url=str(http.base_url))

    assert await holds.place("rr-1", reason="lawsuit 7", as_user="alice", connection=connection) == 0
    assert await holds.list_holds(connection=connection) == 0
    with pytest.raises(StoreError, match="is under a legal hold"):
        await holds.erase(order="GDPR-1", correlation_id="rr-1", as_user="alice", connection=connection)
    assert await holds.release("rr-1", reason="settled", as_user="bob", connection=connection) == 0
    assert "alice" in capsys.readouterr().out


async def test_export_without_a_key_says_so(http: httpx2.AsyncClient, tmp_path: Path):
    await http.post(BATCH, json=[a_wire_event()])

    with pytest.raises(StoreError, match="ledger is not signed"):
        await holds.export(
            tmp_path / "export.ndjson", as_user="alice", connection=ConnectionOptions(url=str(http.base_url))
        )
