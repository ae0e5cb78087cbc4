"""`kubernaut audit …` against a running DataStorage."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx2
import pytest
import yaml

from kubernaut.api.ledger import checkpoints, notes
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.audit import StoreRejected
from kubernaut.cli import audit
from kubernaut.cli.app import app
from kubernaut.cli.errors import CommandError, command_error
from support.datastorage import BATCH, JSON, VERIFY
from support.ledger_events import a_body, a_wire_event

Command = Callable[..., Awaitable[int]]


@pytest.fixture
def kubernaut(http: httpx2.AsyncClient) -> Command:
    """Runs `kubernaut audit` with these arguments and returns its exit code."""

    async def run(*arguments: str) -> int:
        command, bound, _ = app.parse_args(
            ["audit", *arguments, "--url", str(http.base_url)], exit_on_error=False, print_error=False
        )
        code: int = await command(*bound.args, **bound.kwargs)
        return code

    return run


async def store(http: httpx2.AsyncClient, *events: dict[str, object]) -> None:
    assert (await http.post(BATCH, content=a_body(*events), headers=JSON)).status_code == 201


async def head(http: httpx2.AsyncClient) -> TreeHead:
    (first,) = (await http.post(VERIFY)).json()["heads"]
    return TreeHead(size=first["head_sequence"], root=bytes.fromhex(first["head_hash"]))


async def test_every_decision_on_a_namespace_is_found(http: httpx2.AsyncClient, kubernaut: Command, capsys):
    target = {"namespace": "shop", "resource_type": "Deployment", "resource_id": "cart"}
    wanted = a_wire_event(**target, severity="critical", actor_type="service", actor_id="me", event_outcome="failure")
    await store(http, wanted, a_wire_event(namespace="billing"), a_wire_event())
    filters = [
        ["-n", "shop"],
        ["--resource-kind", "Deployment", "--resource-name", "cart"],
        ["--severity", "critical"],
        ["--actor-type", "service", "--actor-id", "me"],
        ["--event-outcome", "failure", "--event-category", "signalprocessing", "--since", "2020-01-01"],
    ]

    for given in filters:
        assert await kubernaut("query", *given, "-o", "name") == 0
        assert capsys.readouterr().out == f"{wanted['event_id']}\n", given


@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_event_data_is_shown_as_data(output, parse, http: httpx2.AsyncClient, kubernaut: Command, capsys):
    event = a_wire_event(event_data={"event_type": "x", "deep": [{"a": 1}]})
    await store(http, event)

    assert await kubernaut("query", "-o", output) == 0

    (found,) = parse(capsys.readouterr().out)["data"]
    assert found["event_data"] == event["event_data"]


async def test_more_events_than_one_page_are_all_shown_or_counted(http: httpx2.AsyncClient, kubernaut: Command, capsys):
    for count in (800, 700):
        await store(http, *[a_wire_event() for _ in range(count)])

    assert await kubernaut("timeline", "rr-1", "-o", "name") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1500
    assert await kubernaut("query", "--limit", "1400", "--offset", "10", "-o", "json") == 0
    page = json.loads(capsys.readouterr().out)
    assert len({event["event_id"] for event in page["data"]}) == 1400
    assert page["pagination"]["has_more"]
    assert await kubernaut("query", "--limit", "3") == 0
    assert "3 of 1500 events; next page: --cursor " in capsys.readouterr().err


async def test_hostile_names_are_shown_and_not_obeyed(http: httpx2.AsyncClient, kubernaut: Command, capsys):
    hostile = "\x1b]0;pwned\x07\r\n\u202e"
    await store(http, a_wire_event(correlation_id=hostile, resource_id=hostile, namespace="\x1b[2J"))

    assert await kubernaut("query") == 0
    assert await kubernaut("timeline", hostile) == 0
    assert await kubernaut("verify", hostile) == 0
    assert await kubernaut("timeline", hostile + "!") == 1

    printed = capsys.readouterr()
    assert not set("\x1b\x07\r\u202e") & set(printed.out + printed.err)


async def test_correlation_that_is_not_there_is_a_finding(http: httpx2.AsyncClient, kubernaut: Command, capsys):
    await store(http, a_wire_event())

    assert await kubernaut("verify", "rr-2") == 1

    printed = capsys.readouterr()
    assert printed.err.startswith("No events found for correlation_id rr-2")
    assert "verified" not in printed.out
    assert "ledger 0: size 1, root " in printed.out


async def test_verification_prints_the_head_and_names_each_bad_row(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, kubernaut: Command, capsys
):
    await store(http, a_wire_event(), a_wire_event(), a_wire_event())
    assert await kubernaut("verify") == 0
    assert f"ledger 0: size 3, root {(await head(http)).root.hex()}" in capsys.readouterr().out
    await sql.execute(
        "SET kubernaut.allow_change = 'audit_events'; UPDATE audit_events SET severity = 'low' "
        "WHERE event_id IN (SELECT event_id FROM audit_ledger WHERE sequence IN (1, 3))"
    )

    for arguments in (["verify"], ["verify", "rr-1"], ["verify", "--shard", "0"]):
        assert await kubernaut(*arguments) == 1, arguments
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[2:4]] == ["1", "3"]
        assert lines[-1].startswith("ledger 0: size 3, root ")
    assert await kubernaut("verify", "-o", "json") == 1
    assert [found["sequence"] for found in json.loads(capsys.readouterr().out)["findings"]] == [1, 3]


async def test_checkpoint_kept_elsewhere_is_compared_and_its_signature_verified(
    http: httpx2.AsyncClient, kubernaut: Command, capsys, tmp_path: Path
):
    await store(http, a_wire_event(), a_wire_event())
    signer = notes.new_signer("example.com/log/0")
    kept, forged = tmp_path / "kept", tmp_path / "forged"
    kept.write_text(str(checkpoints.sign(signer.name, await head(http), [signer])))
    forged.write_text(str(checkpoints.sign(signer.name, TreeHead(size=2, root=bytes(32)), [signer])))
    await store(http, a_wire_event())
    key = signer.verifier.vkey
    stranger = notes.new_signer(signer.name).verifier.vkey

    assert await kubernaut("verify", "--checkpoint", str(kept)) == 0
    assert await kubernaut("verify", "--checkpoint", str(kept), "--key", key) == 0
    assert await kubernaut("verify", "--checkpoint", str(forged), "--key", key) == 1
    with pytest.raises(CommandError, match="not signed by a known key") as caught:
        await kubernaut("verify", "--checkpoint", str(kept), "--key", stranger)
    assert caught.value.code == 1
    assert capsys.readouterr().out.count("ledger 0: size 3, root ") == 3


async def test_state_file_keeps_up_to_where_was_verified(
    http: httpx2.AsyncClient, kubernaut: Command, capsys, tmp_path: Path, sql: asyncpg.Connection
):
    state = tmp_path / "state.json"
    await store(http, *[a_wire_event() for _ in range(300)])

    assert await kubernaut("verify", "--state", str(state)) == 0
    assert "300 of 300 events" in capsys.readouterr().out
    assert await kubernaut("verify", "--state", str(state)) == 0
    shown = capsys.readouterr().out
    assert "44 of 44 events" in shown
    assert "verified before up to 256" in shown

    await sql.execute("SET kubernaut.allow_change = 'audit_events'")
    await sql.execute(
        "UPDATE audit_events SET severity = 'low' "
        "WHERE event_id = (SELECT event_id FROM audit_ledger WHERE sequence = 7)"
    )
    assert await kubernaut("verify", "--state", str(state)) == 0
    kept = state.read_bytes()
    assert await kubernaut("verify", "--state", str(state), "--full") == 1
    assert state.read_bytes() == kept


async def test_another_ledger_than_that_of_the_state_file_does_not_verify(
    http: httpx2.AsyncClient, kubernaut: Command, tmp_path: Path
):
    state = tmp_path / "state.json"
    await store(http, a_wire_event())
    await kubernaut("verify", "--state", str(state))
    kept = json.loads(state.read_bytes())
    kept["heads"][0]["head_hash"] = "00" * 32
    state.write_text(json.dumps(kept))

    assert await kubernaut("verify", "--state", str(state)) == 1
    state.write_text("{}")
    with pytest.raises(CommandError, match="not the state of a verification") as caught:
        await kubernaut("verify", "--state", str(state))
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "arguments",
    [["rr-1", "--checkpoint", "x"], ["rr-1", "--shard", "0"], ["--key", "x"], ["rr-1", "--state", "x"]],
    ids=lambda arguments: " ".join(arguments),
)
async def test_options_that_exclude_each_other_are_wrong_usage(arguments: list[str]):
    command, bound, _ = app.parse_args(["audit", "verify", *arguments], exit_on_error=False, print_error=False)

    with pytest.raises(CommandError) as caught:
        await command(*bound.args, **bound.kwargs)

    assert caught.value.code == 2


def test_checkpoint_of_another_ledger_than_the_asked_one_is_wrong_usage():
    with pytest.raises(CommandError, match="ledger 3"):
        audit._shard("example.com/log/3", audit.TrustedHead(shard=1))


async def test_filter_that_can_match_nothing_is_wrong_usage(kubernaut: Command):
    with pytest.raises(StoreRejected, match="gateway, notification") as caught:
        await kubernaut("query", "--event-category", "gatway")

    known = command_error(caught.value)
    assert known is not None
    assert known.code == 2
