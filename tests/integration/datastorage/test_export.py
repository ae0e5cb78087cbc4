"""Exports: the document of the Go project, and lines that an auditor checks without us."""

import asyncio
import json
import shlex
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from kubernaut.api.ledger import exports, notes
from kubernaut.api.ledger.exports import InvalidExport, VerifiedExport
from kubernaut.api.ledger.notes import Signer
from kubernaut.cli.ledger import verify_receipt
from kubernaut.datastorage.config import LedgerConfig
from kubernaut.datastorage.service import open_service
from support.datastorage import BATCH, config_for
from support.ledger_events import a_wire_event

EXPORT = "/api/v1/audit/export"
ALICE = {"X-Auth-Request-User": "alice@example.com"}
ORIGIN = "audit.example.com/ledger"


@pytest.fixture
def signer() -> Signer:
    return notes.new_signer(f"{ORIGIN}/0")


@pytest.fixture
async def log(database: str, tmp_path: Path, signer: Signer) -> AsyncIterator[httpx2.AsyncClient]:
    """A running service that signs, with 300 events of three correlations; one of rr-1 is erased."""
    keys = tmp_path / "keys"
    keys.write_text(f"{signer.skey}\n")
    config = config_for(database, ledger=LedgerConfig(origin=ORIGIN, key_file=keys))
    async with (
        open_service(config) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10, headers=ALICE) as http,
    ):
        events = [
            a_wire_event(correlation_id=f"rr-{n % 3}", event_data={"n": n, "user": "bob@example.org", "ip": "10.1.2.3"})
            for n in range(300)
        ]
        await http.post(BATCH, json=events)
        await http.post("/api/v1/audit/erasures", json={"order": "GDPR-1", "event_ids": [events[4]["event_id"]]})
        yield http


async def lines_of(http: httpx2.AsyncClient, **params: str) -> list[bytes]:
    response = await http.get(EXPORT, params={"format": "ndjson", **params})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return response.content.splitlines(keepends=True)


def verified(lines: list[bytes], signer: Signer) -> VerifiedExport:
    return exports.verify(lines, [signer.verifier])


async def test_everything_is_exported_and_proven(log: httpx2.AsyncClient, signer: Signer, tmp_path: Path):
    lines = await lines_of(log)

    export = verified(lines, signer)
    assert (export.events, export.removed) == (300, 1)
    assert export.checkpoints[0].head.size == 301
    assert export.header.exported_by == "alice@example.com"
    file = tmp_path / "export.ndjson"
    file.write_bytes(b"".join(lines))
    assert verify_receipt(file, [signer.verifier.vkey]) == 0
    assert verify_receipt(file, [notes.new_signer(f"{ORIGIN}/0").verifier.vkey]) == 1


async def test_filters_of_an_export(log: httpx2.AsyncClient, signer: Signer):
    assert verified(await lines_of(log, correlation_id="rr-0"), signer).events == 100
    one = verified(await lines_of(log, correlation_id="rr-1"), signer)
    assert (one.events, one.removed) == (99, 1)
    assert verified(await lines_of(log, event_category="security"), signer).events == 1
    assert verified(await lines_of(log, start_time="2030-01-01"), signer).events == 0
    assert verified(await lines_of(log, end_time="2026-11-23", event_category="signalprocessing"), signer).events == 299


async def test_every_change_of_an_export_is_found(log: httpx2.AsyncClient, signer: Signer):
    lines = await lines_of(log, correlation_id="rr-0")
    middle = json.loads(lines[50])
    edited = middle["entry"].replace('"format":2', '"format":3')
    changes = {
        "cut off": lines[:-1],
        "is not in the export": [*lines[:50], *lines[51:]],
        "in the order": [*lines[:50], lines[49], *lines[50:]],
        "content hash differs": [*lines[:50], _line(middle, event=middle["event"].replace("bob", "eve")), *lines[51:]],
        "line 51": [
            *lines[:50],
            _line(middle, entry=edited),
            *lines[51:],
        ],
        "removed ones": [*lines[:50], _line(middle, event=None), *lines[51:]],
        "line 1:": [lines[0].replace(ORIGIN.encode(), b"evil.example.com"), *lines[1:]],
        "another correlation": [lines[0].replace(b'"rr-0"', b'"rr-2"'), *lines[1:]],
        "not the header": lines[1:],
    }
    assert verified(lines, signer).events == 100
    for reason, changed in changes.items():
        with pytest.raises(InvalidExport, match=reason):
            verified(changed, signer)


def _line(line: dict[str, object], **changed: object) -> bytes:
    return json.dumps({name: value for name, value in (line | changed).items() if value is not None}).encode() + b"\n"


async def test_document_has_the_fields_of_the_contract(log: httpx2.AsyncClient):
    response = await log.get(EXPORT, params={"limit": "7", "offset": "2", "include_detached_signature": "true"})

    document = response.json()
    assert [event["event_data"]["n"] for event in document["events"]] == [2, 3, 5, 6, 7, 8, 9]
    assert all(event["hash_chain_valid"] for event in document["events"])
    assert document["hash_chain_verification"]["chain_integrity_percentage"] == 100
    assert document["export_metadata"]["total_events"] == 7
    assert document["export_metadata"]["exported_by"] == "alice@example.com"
    assert "detached_signature" in document


async def test_personal_data_is_redacted_on_demand(log: httpx2.AsyncClient):
    response = await log.get(EXPORT, params={"limit": "1", "redact_pii": "true"})

    data = response.json()["events"][0]["event_data"]
    assert (data["user"], data["ip"]) == ("b***@e***.org", "10.***.***.***")
    assert response.json()["export_metadata"]["exported_by"] == "a***@e***.com"


@pytest.mark.parametrize(
    "params",
    [
        {"format": "csv"},
        {"limit": "0"},
        {"limit": "10001"},
        {"offset": "-1"},
        {"start_time": "soon"},
        {"redact_pii": "yes"},
        {"redact_pii": "true", "format": "ndjson"},
        {"correlation_id": "\0"},
    ],
)
async def test_what_cannot_be_exported_is_a_400(http: httpx2.AsyncClient, params: dict[str, str]):
    assert (await http.get(EXPORT, params=params, headers=ALICE)).status_code == 400


async def test_who_exports_must_be_known_and_proofs_need_a_key(http: httpx2.AsyncClient):
    await http.post(BATCH, json=[a_wire_event()])

    assert (await http.get(EXPORT)).status_code == 401
    assert (await http.get(EXPORT, params={"format": "ndjson"}, headers=ALICE)).status_code == 404
    assert (await http.get(EXPORT, headers=ALICE)).json()["export_metadata"]["signature"] == ""


async def test_a_reader_of_a_pipe_that_exits_early_sees_no_traceback(log: httpx2.AsyncClient):
    events = [a_wire_event(event_data={"text": "x" * 5000}) for _ in range(500)]
    await log.post(BATCH, json=events)
    program = shlex.join([sys.executable, "-c", "from kubernaut.cli import main; main()"])
    command = f"set -o pipefail; {program} audit export --url {log.base_url} | head -1"
    shell = await asyncio.create_subprocess_shell(command, stdout=PIPE, stderr=PIPE, executable="/bin/bash")
    out, errors = await asyncio.wait_for(shell.communicate(), 60)

    assert (shell.returncode, out.count(b"\n"), errors) == (0, 1, b"")
