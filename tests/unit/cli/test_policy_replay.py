"""`kubernaut policy replay` and `diff`: what another policy would have decided."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from kubernaut.cli import app
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.live import open_policy
from support import recorded

POLICY = Path(__file__).resolve().parents[3] / "src/kubernaut/signalprocessing/default_policy/policy.rego"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of 45 signals that the built-in policy decided."""
    path = tmp_path_factory.mktemp("history") / "events.ndjson"

    async def record() -> None:
        async with open_policy(sources.builtin()) as policy:
            recorded.write_events(path, recorded.events(await recorded.decided_signals(policy)))

    asyncio.run(record())
    return path


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in policy, in which staging is as urgent as production, and a team is a squad."""
    text = POLICY.read_text()
    text = text.replace('"Staging": {"critical": "P1"', '"Staging": {"critical": "P0"')
    path = tmp_path_factory.mktemp("changed") / "policy.rego"
    path.write_text(text.replace('"kubernaut.ai/team": "team"', '"kubernaut.ai/team": "squad"'))
    return path


def replayed(capsys, *arguments: str):
    code = app.run(["policy", "replay", *arguments, "-o", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_policy_that_decided_changes_nothing(history, capsys):
    code, report = replayed(capsys, str(POLICY), "--from", str(history), "--fail-on-change")

    assert code == 0
    assert report["signals"] == 45
    assert report["changes"] == []
    assert report["withoutFacts"] == 0


def test_a_changed_rule_changes_exactly_the_signals_that_it_is_about(history, changed, capsys):
    code, report = replayed(capsys, str(changed), "--from", str(history), "--fail-on-change")

    assert code == 1
    assert report["totals"] == {"priority": 2}
    for change in report["changes"]:
        assert change["parts"] == {"priority": ["P1", "P0"]}
        assert change["ruleAfter"] == "staging-critical"
        assert change["alert"] == "HighMemoryUsage"


def test_the_summary_is_one_line_and_without_the_option_the_exit_code_is_0(history, changed, capsys):
    code = app.run(["policy", "replay", str(changed), "--from", str(history)])

    output = capsys.readouterr().out.splitlines()
    assert code == 0
    assert output[-1] == "45 signals, 2 would change priority"
    assert output[0].split() == ["DECIDED", "SIGNAL", "ALERT", "PART", "WAS", "WOULD", "BE", "RULE"]
    assert len(output) == 4


def test_a_baseline_compares_all_parts(history, changed, capsys):
    _, report = replayed(capsys, str(changed), "--from", str(history), "--baseline", str(POLICY))

    assert report["totals"].keys() == {"priority", "labels"}


def test_signals_of_an_earlier_version_are_counted_not_guessed(history, tmp_path, capsys):
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    for line in lines[: len(lines) // 2]:
        line["event_data"].pop("facts", None)
    path = tmp_path / "events.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    _, report = replayed(capsys, str(POLICY), "--from", str(path))

    assert report["signals"] == 45
    assert 10 < report["withoutFacts"] < 35


def test_exports_pages_and_lists_are_read_as_well(history, changed, tmp_path, capsys):
    lines = history.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    forms = {
        "export": "\n".join(
            [
                '{"version":"kubernaut.audit.export.v1","exported_at":"2026-01-01T00:00:00Z","checkpoints":[]}',
                *(json.dumps({"entry": "x", "event": line, "proof": []}) for line in lines),
                '{"events": 1, "removed": 0}',
            ]
        ),
        "page": json.dumps({"data": events, "pagination": {}}),
        "list": json.dumps(events),
    }
    for name, text in forms.items():
        path = tmp_path / name
        path.write_text(text)

        _, report = replayed(capsys, str(changed), "--from", str(path))

        assert (report["signals"], report["totals"]) == (45, {"priority": 2}), name


def test_a_file_that_holds_no_events_is_refused_with_its_line(tmp_path, capsys):
    path = tmp_path / "x"
    path.write_text('{"event_type": "a"}\n{nonsense}\n')

    code = app.run(["policy", "replay", str(POLICY), "--from", str(path)])

    assert code == 2
    assert "x:2: no audit event" in capsys.readouterr().err


def test_diff_shows_text_and_answers(changed, capsys):
    code = app.run(["policy", "diff", str(POLICY), str(changed), "-o", "json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 1
    assert '+    "Staging": {"critical": "P0"' in "\n".join(found["text"]).replace("\t", "    ")
    parts = {each["part"] for each in found["answers"]["differences"]}
    assert parts == {"priority", "labels"}
    assert app.run(["policy", "diff", str(POLICY), str(POLICY)]) == 0


def test_diff_over_past_signals(history, changed, capsys):
    code = app.run(["policy", "diff", str(POLICY), str(changed), "--from", str(history), "-o", "json"])

    found = msgspec.json.decode(capsys.readouterr().out)
    assert code == 1
    assert found["answers"]["inputs"] == 45
    assert {each["part"] for each in found["answers"]["differences"]} == {"priority", "labels"}
