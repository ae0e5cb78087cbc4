"""`kubernaut policy eval` decides as the controller does, from each kind of input."""

import json
import os
import re
from pathlib import Path

import pytest

from kubernaut.cli import app

SRC = Path(__file__).resolve().parents[3] / "src" / "kubernaut"
POLICY = str(SRC / "signalprocessing" / "default_policy" / "policy.rego")
DEMO = SRC / "embedded" / "demo"
DOCUMENT = {
    "signal": {"name": "X", "severity": "Sev1", "labels": {"a": "b"}},
    "namespace": {"name": "shop", "labels": {"kubernaut.ai/environment": "production", "kubernaut.ai/team": "t"}},
}


def run(capsys, *arguments: str):
    code = app.run(["policy", "eval", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_document_gives_one_decision(tmp_path, capsys):
    path = tmp_path / "input.json"
    path.write_text(json.dumps(DOCUMENT))

    code, output, _ = run(capsys, POLICY, "--input", str(path), "-o", "json")

    decided = json.loads(output)
    assert code == 0
    assert decided["priority"] == "P0"
    assert decided["policyName"] == "production-critical"
    assert decided["labels"] == {"team": ["t"]}
    assert decided["input"]["fallbackEnvironment"] == {"environment": "Unknown", "source": "default"}


def test_a_document_on_standard_input(capsys):
    read, write = os.pipe()
    os.write(write, json.dumps(DOCUMENT).encode())
    os.close(write)
    saved = os.dup(0)
    os.dup2(read, 0)
    try:
        code, output, _ = run(capsys, POLICY, "-i", "-")
    finally:
        os.dup2(saved, 0)

    assert code == 0
    assert re.search(r"priority +P0 +rego-policy \(production-critical\)", output)


def test_alerts_are_enriched_as_process_enriches_them(capsys):
    arguments = [str(DEMO / "alerts.json"), "--cluster", str(DEMO / "cluster"), "-o", "json"]

    _, output, _ = run(capsys, POLICY, "--input", *arguments)
    app.run(["process", *arguments])

    processed = json.loads(capsys.readouterr().out)
    assert [(each["priority"], each["environment"]) for each in json.loads(output)] == [
        (
            each["status"]["priorityAssignment"]["priority"],
            each["status"]["environmentClassification"]["environment"],
        )
        for each in processed
    ]
    assert len(processed) > 3


def test_a_signal_with_its_recorded_context_needs_no_cluster(tmp_path, capsys):
    app.run(["process", str(DEMO / "alerts.json"), "--cluster", str(DEMO / "cluster"), "-o", "json"])
    first = json.loads(capsys.readouterr().out)[0]
    path = tmp_path / "signal.json"
    path.write_text(json.dumps({"kind": "SignalProcessing", **first}))

    _, output, _ = run(capsys, POLICY, "--input", str(path), "-o", "json")

    (decided,) = json.loads(output)
    assert decided["priority"] == first["status"]["priorityAssignment"]["priority"]


def test_a_rule_that_fails_is_named_and_the_exit_code_is_1(tmp_path, capsys):
    policy = tmp_path / "policy.rego"
    policy.write_text(
        'package signalprocessing\nimport rego.v1\ndefault severity := "info"\n'
        'priority := {"priority": "P1"} if input.signal.name == "HighMemoryUsage"\n'
    )
    path = tmp_path / "input.json"
    path.write_text(json.dumps(DOCUMENT))

    code, output, errors = run(capsys, str(policy), "--input", str(path))

    assert code == 1
    assert re.search(r"priority +P3 +fallback-severity", output)
    assert "priority failed: priority policy returned no results" in errors


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"foo": 1}', "no input of a policy"),
        ('{"signal": []}', "`signal` must be an object"),
        ('{"signal": {"labels": {"a": 1}}}', "`signal`: Expected `str`, got `int`"),
        ("{", "1:2: not valid JSON"),
    ],
)
def test_what_is_no_input_is_refused_with_its_place(tmp_path, capsys, content, reason):
    path = tmp_path / "input.json"
    path.write_text(content)

    code, _, errors = run(capsys, POLICY, "--input", str(path))

    assert code == 2
    assert reason in errors
