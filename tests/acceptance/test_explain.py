"""`kubernaut signals explain` on a running stack, after the signal is gone, and from an export."""

import json
import uuid

import pytest

from acceptance.test_up import SYSTEM, a_signal, apply
from support.eventually import eventually

pytestmark = pytest.mark.kubernetes


def explain(up, *arguments):
    done = up.run("kubernaut", "signals", "explain", *arguments, "-o", "json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def test_decision_is_explained_from_the_ledger_when_the_signal_is_gone(up, tmp_path):
    name = f"sp-{uuid.uuid4().hex[:8]}"
    manifest = a_signal(name, severity="warning")
    apply(up, manifest)
    correlation = manifest["spec"]["remediationRequestRef"]["name"]
    kind = "signalprocessing.classification.decision"

    def is_recorded():
        found = up.run(
            "kubernaut", "audit", "query", "--correlation-id", correlation, "--event-type", kind, "-o", "name"
        )
        return found.stdout.strip()

    await eventually(is_recorded)
    up.run("kubectl", "delete", "signalprocessing", name, "-n", SYSTEM)
    online = explain(up, name)
    export = tmp_path / "export.ndjson"
    up.run("kubernaut", "audit", "export", export, "--correlation-id", correlation)
    offline = explain(up, name, "--export", export, "--url", "http://127.0.0.1:1")

    assert offline == online
    (priority,) = [answer for answer in online["answers"] if answer["name"] == "priority"]
    assert priority["value"] == "P2"
    assert priority["rule"]["file"] == "policy.rego"
    assert "priority := {" in priority["rule"]["text"]
    severity = next(each for each in online["inputs"] if each["path"] == "input.signal.severity")
    assert (severity["value"], severity["answers"]) == ("warning", ["severity", "priority"])
    by_change = {change["description"]: change["answers"] for change in online["changes"]}
    assert by_change["alert severity critical"] == {"severity": "critical", "priority": "P1"}
    text = up.run("kubernaut", "signals", "explain", name, "--export", export).stdout
    assert "with alert severity critical: severity critical, priority P1" in text


def test_signal_that_nobody_knows_is_a_finding(up):
    done = up.run("kubernaut", "signals", "explain", "sp-none", check=False)

    assert done.returncode == 1
    assert "no decision about 'sp-none' found" in done.stderr
