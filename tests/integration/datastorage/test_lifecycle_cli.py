"""`kubernaut audit hold`, `erase` and `export` against a running service."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from kubernaut.audit import StoreError
from kubernaut.cli import holds
from kubernaut.cli.connection import ConnectionOptions
from kubernaut.cli.errors import command_error
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


ABSENT: dict[str, Callable[[ConnectionOptions], Awaitable[int]]] = {
    "place": lambda connection: holds.place("none", reason="x", as_user="alice", connection=connection),
    "release": lambda connection: holds.release("none", reason="x", as_user="alice", connection=connection),
    "erase": lambda connection: holds.erase(order="1", correlation_id="none", as_user="alice", connection=connection),
}


@pytest.mark.parametrize("act", ABSENT.values(), ids=ABSENT.keys())
async def test_what_is_not_there_is_no_outage(
    http: httpx2.AsyncClient, act: Callable[[ConnectionOptions], Awaitable[int]]
):
    with pytest.raises(StoreError) as caught:
        await act(ConnectionOptions(url=str(http.base_url)))

    error = command_error(caught.value)
    assert error is not None
    assert (error.code, error.hint) == (1, "kubernaut audit query")
