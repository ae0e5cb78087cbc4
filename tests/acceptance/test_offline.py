"""`kubernaut process` decides files as a cluster would, and refuses bad input with a sentence and an exit code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.embedded.demo import scenario

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "src/kubernaut/embedded/demo"
POLICY = ROOT / "src/kubernaut/signalprocessing/default_policy/policy.rego"


def kubernaut(*arguments, content=None):
    return subprocess.run(
        [Path(sys.executable).with_name("kubernaut"), *map(str, arguments)],
        capture_output=True,
        text=True,
        input=content,
        timeout=60,
        check=False,
    )


def test_the_shop_is_decided_as_the_demo_expects():
    done = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "-o", "json")

    assert done.returncode == 0, done.stderr
    decided = {signal["spec"]["signal"]["name"]: signal["status"] for signal in json.loads(done.stdout)}
    assert decided.keys() == scenario.EXPECTED.keys()
    for alert, expected in scenario.EXPECTED.items():
        status = decided[alert]
        assert status["phase"] == "Completed"
        assert status["environmentClassification"]["environment"] == expected.environment
        assert status["signalClassification"]["severity"] == expected.severity
        assert status["signalClassification"]["signalMode"] == expected.mode
        assert status["priorityAssignment"]["priority"] == expected.priority
        assert status["kubernetesContext"].get("degradedMode", False) == expected.degraded


def test_a_resolve_notice_opens_nothing():
    done = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster")

    assert "KubeDeploymentReplicasMismatch: resolved, creates no signal" in done.stderr
    assert "KubeDeploymentReplicasMismatch" not in done.stdout


def test_rules_of_ones_own_decide(tmp_path):
    text = POLICY.read_text().replace('"critical": "P0", "high": "P1"', '"critical": "P3", "high": "P1"')
    (tmp_path / "policy.rego").write_text(text)

    done = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "--policy", tmp_path)

    (line,) = [line for line in done.stdout.splitlines() if line.startswith("KubePodCrashLooping")]
    assert line.split()[-4:-1] == ["P3", "namespace-labels", "production-critical"]


def test_a_policy_that_does_not_compile_is_named_with_line_and_column(tmp_path):
    text = POLICY.read_text().replace('default severity := "unknown"', 'default severity := := "unknown"')
    (tmp_path / "policy.rego").write_text(text)
    line = text[: text.index(":= :=")].count("\n") + 1

    done = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "--policy", tmp_path)

    assert done.returncode == 2
    assert f"policy.rego:{line}:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["process", DEMO / "alerts.json", "--cluster", "/nowhere"], "/nowhere"),
        (["process", POLICY, "--cluster", DEMO / "cluster"], "policy.rego"),
        (["process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "--policy", "/nowhere"], "/nowhere"),
        (["process"], "SIGNAL"),
        (["signals", "show"], "NAME"),
        (["frobnicate"], "frobnicate"),
    ],
    ids=["no folder", "no signal", "no policy", "no argument", "no name", "no command"],
)
def test_wrong_usage_exits_2_and_says_what(arguments, says):
    done = kubernaut(*arguments)

    assert done.returncode == 2
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "verify", "--url", "http://127.0.0.1:9"],
        ["audit", "query", "--url", "http://127.0.0.1:9"],
        ["signals", "list", "--kubeconfig", "/nowhere"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_reached_exits_3_and_names_a_command_that_helps(arguments):
    done = kubernaut(*arguments)

    assert done.returncode == 3
    assert "try: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_payload_whose_alerts_are_no_list_is_refused_with_its_path(tmp_path):
    payload = json.loads((DEMO / "alerts.json").read_text()) | {"alerts": {}}
    (tmp_path / "alerts.json").write_text(json.dumps(payload))

    done = kubernaut("process", tmp_path / "alerts.json", "--cluster", DEMO / "cluster")

    assert done.returncode == 2
    assert "$.alerts" in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_payload_may_have_the_encoding_of_another_system(tmp_path, encoding):
    payload = (DEMO / "alerts.json").read_text()
    (tmp_path / "alerts.json").write_bytes(payload.encode(encoding))

    done = kubernaut("process", tmp_path / "alerts.json", "--cluster", DEMO / "cluster", "-o", "json")

    assert (done.returncode, len(json.loads(done.stdout))) == (0, 6), done.stderr


def test_a_payload_is_read_as_the_gateway_reads_it(tmp_path):
    payload = json.loads((DEMO / "alerts.json").read_text()) | {"version": "1"}
    (good, *_) = (alert for alert in payload["alerts"] if alert["status"] == "firing")
    good["labels"]["alertname"] = "ApiDown"
    good["annotations"]["summary"] = "cut \ud83d http:// \U0001f6a8 nul \0"
    payload["alerts"] = [good, {"labels": {"alertname": "Watchdog"}}, {"labels": "Bad"}]
    text = "\ufeff" + json.dumps(payload, indent="\t").replace("http://", r"http:\/\/")
    (tmp_path / "alerts.json").write_text(text)

    done = kubernaut("process", tmp_path / "alerts.json", "--cluster", DEMO / "cluster", "-o", "json")

    assert done.returncode == 0, done.stderr
    (signal,) = json.loads(done.stdout)
    assert signal["spec"]["signal"]["annotations"]["summary"] == "cut \ufffd http:// \U0001f6a8 nul \ufffd"
    assert "Watchdog: ignored" in done.stderr
    assert "unknown: rejected: labels is not a map of texts" in done.stderr


def test_a_payload_may_be_yaml(tmp_path):
    (tmp_path / "alerts.yaml").write_text(
        "alerts:\n- startsAt: 2026-11-22T20:00:00Z\n  labels: {alertname: Down, namespace: shop, deployment: cart}\n"
    )

    done = kubernaut("process", tmp_path / "alerts.yaml", "--cluster", DEMO / "cluster", "-o", "json")

    (signal,) = json.loads(done.stdout)
    assert signal["spec"]["signal"]["firingTime"] == "2026-11-22T20:00:00Z"


def test_output_is_plain_off_a_terminal(tmp_path):
    shutil.copytree(DEMO / "cluster", tmp_path / "cluster")

    done = kubernaut("process", DEMO / "alerts.json", "--cluster", tmp_path / "cluster")

    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("redirect", "code"), [(">&-", 0), (">/dev/full", 3)])
def test_an_output_that_cannot_be_written_needs_no_traceback(redirect, code):
    program = Path(sys.executable).with_name("kubernaut")

    done = subprocess.run(
        ["bash", "-c", f'"$0" crd {redirect}', program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("No space left" in done.stderr) == (code == 3)


PAYLOAD = json.loads((DEMO / "alerts.json").read_text())
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "x"},
    "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "api"},
    "reason": "FailedCreate",
    "type": "Warning",
}


def decided(done):
    """Name, target and priority of each signal, from JSON."""
    return [
        (signal["spec"]["signal"]["name"], signal["spec"]["signal"]["targetResource"]["name"])
        for signal in json.loads(done.stdout)
    ]


def alert(name, **labels):
    return {"labels": {"alertname": name, "severity": "critical", "namespace": "shop", **labels}, "status": "firing"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"alerts": [alert("A", deployment="api")]}, [("A", "api")]),
        (EVENT, [("FailedCreate", "api")]),
        ({"kind": "EventList", "items": [EVENT, EVENT]}, [("FailedCreate", "api")]),
        ({"kind": "List", "items": [EVENT, {"alerts": [alert("A", deployment="api")]}]}, None),
        ({"kind": "List", "items": None}, []),
        ({"kind": "Event", **EVENT, "type": "Normal"}, []),
        ({"alerts": [alert("A", deployment="api"), alert("A", deployment="api", pod="x")]}, [("A", "api")]),
    ],
    ids=["payload", "event", "list of events", "mixed list", "empty list", "normal event", "folding"],
)
def test_whatever_the_gateway_takes_is_taken_from_standard_input(content, expected):
    done = kubernaut("process", "-", "--cluster", DEMO / "cluster", "-o", "json", content=json.dumps(content))

    assert done.returncode == 0, done.stderr
    expected = [("FailedCreate", "api"), ("A", "api")] if expected is None else expected
    assert decided(done) == expected


def test_several_files_fold_as_in_a_cluster(tmp_path):
    for number, severity in enumerate(("info", "critical", "info")):
        labels = {"alertname": "A", "namespace": "shop", "deployment": "api", "severity": severity}
        (tmp_path / f"{number}.json").write_text(json.dumps({"alerts": [{"labels": labels}]}))

    done = kubernaut("process", *sorted(tmp_path.glob("*.json")), "--cluster", DEMO / "cluster", "-o", "json")

    severities = [signal["spec"]["signal"]["severity"] for signal in json.loads(done.stdout)]
    assert severities == ["info", "critical"]
    assert "which it supersedes" in done.stderr
    assert "one more occurrence" in done.stderr


def test_the_configuration_of_the_gateway_counts(tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        "intake: {labels: {app: Deployment.v1.apps}, ignore: [Quiet*]}\ncluster: {name: eu-1, label: region}\n"
    )
    content = {
        "alerts": [
            alert("Mapped", app="api"),
            alert("QuietOne", deployment="api"),
            alert("Elsewhere", deployment="api", region="us-1"),
            alert("Here", deployment="api", region="eu-1"),
        ]
    }

    arguments = ["--cluster", DEMO / "cluster", "--gateway-config", tmp_path / "gateway.yaml", "-o", "json"]
    done = kubernaut("process", "-", *arguments, content=json.dumps(content))

    signals = {each["spec"]["signal"]["name"]: each for each in json.loads(done.stdout)}
    assert signals.keys() == {"Mapped", "Elsewhere", "Here"}
    assert signals["Mapped"]["spec"]["signal"]["targetResource"]["name"] == "api"
    assert signals["Elsewhere"]["status"]["kubernetesContext"]["degradedMode"]
    assert not signals["Here"]["status"]["kubernetesContext"].get("degradedMode", False)
    assert "QuietOne: ignored" in done.stderr


CONFLICT = 'severity := "info" if input.signal.name == "KubePodCrashLooping"\n'
"""Disagrees with the rule of the built-in policy for some inputs only, so that loading cannot tell."""


def test_a_policy_that_fell_back_is_told_and_exits_1(tmp_path):
    (tmp_path / "policy.rego").write_text(POLICY.read_text() + "\n" + CONFLICT)

    done = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "--policy", tmp_path)

    assert done.returncode == 1
    assert "the policy failed, a fallback decided" in done.stderr
    assert "severity" in done.stderr


def test_a_controller_that_fails_signals_does_so_offline(tmp_path):
    (tmp_path / "policy.rego").write_text(POLICY.read_text() + "\n" + CONFLICT)
    (tmp_path / "controller.yaml").write_text("classifier: {onPolicyError: fail}\n")

    arguments = ["--cluster", DEMO / "cluster", "--policy", tmp_path / "policy.rego"]
    done = kubernaut(
        "process", DEMO / "alerts.json", *arguments, "--controller-config", tmp_path / "controller.yaml", "-o", "json"
    )

    assert done.returncode == 1
    phases = {signal["spec"]["signal"]["name"]: signal["status"]["phase"] for signal in json.loads(done.stdout)}
    assert (phases["KubePodCrashLooping"], phases["HighRequestLatency"]) == ("Failed", "Completed")
    assert "KubePodCrashLooping: Failed: policy evaluation failed" in done.stderr


def test_a_signal_that_was_decided_is_decided_anew():
    before = kubernaut("process", DEMO / "alerts.json", "--cluster", DEMO / "cluster", "-o", "json")
    signals = [
        {**signal, "apiVersion": "kubernaut.ai/v1alpha1", "kind": "SignalProcessing"}
        for signal in json.loads(before.stdout)
    ]
    for signal in signals:
        signal["status"]["priorityAssignment"]["priority"] = "P3"
        signal["status"].pop("conditions")

    content = json.dumps({"kind": "List", "items": signals})
    again = kubernaut("process", "-", "--cluster", DEMO / "cluster", "-o", "json", content=content)

    assert again.returncode == 0, again.stderr
    assert [signal["status"]["priorityAssignment"]["priority"] for signal in json.loads(again.stdout)] == [
        signal["status"]["priorityAssignment"]["priority"] for signal in json.loads(before.stdout)
    ]
