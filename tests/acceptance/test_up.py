"""What a user sees of `kubernaut up` with kubectl, and what bad input gets."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import httpx2
import pytest
import yaml

from acceptance.conftest import BIN, start_up, stop_up
from kubernaut.embedded.demo import scenario
from support.alerts import a_webhook, an_alert, over
from support.eventually import eventually
from support.services import enterable_directory

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.kubernetes

SYSTEM = "kubernaut-system"
SERVER = os.environ.get("KUBEBUILDER_ASSETS", "")
"""The folder of a real kube-apiserver, whose name tells its version; empty for the embedded server."""


def a_signal(name, **signal_fields):
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "SignalProcessing",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": {
            "remediationRequestRef": {"name": f"rr-{name}"},
            "signal": {
                "fingerprint": "a" * 64,
                "name": "KubePodCrashLooping",
                "severity": "Sev1",
                "type": "alert",
                "targetType": "kubernetes",
                "targetResource": {"kind": "Pod", "name": "gone", "namespace": "default"},
                "receivedTime": "2026-08-01T10:00:00Z",
                **signal_fields,
            },
        },
    }


def apply(up, manifest, check=True):
    return up.run("kubectl", "apply", "-f", "-", input=yaml.safe_dump(manifest), check=check)


@pytest.fixture
def name():
    return f"sp-{uuid.uuid4().hex[:8]}"


def test_kubectl_follows_a_signal_from_apply_to_ready(up, name):
    apply(up, a_signal(name))
    waited = up.run("kubectl", "-n", SYSTEM, "wait", "--for=condition=Ready", f"sp/{name}", "--timeout=30s")
    wide = up.run("kubectl", "-n", SYSTEM, "get", "sp", name, "-o", "wide").stdout
    described = up.run("kubectl", "-n", SYSTEM, "describe", "sp", name).stdout

    assert "condition met" in waited.stdout
    heads, row = wide.splitlines()
    more = "ALERT TARGET NAMESPACE TARGET KIND TARGET OCCURRENCES RESOLVED AGE"
    assert heads.split() == ["NAME", "PHASE", "SEVERITY", "ENVIRONMENT", "PRIORITY", "REASON", *more.split()]
    assert row.split()[:6] == [name, "Completed", "critical", "Unknown", "P1", "Ready"]
    assert "Degraded Mode:  true" in described


async def test_kubectl_shows_the_events_of_a_signal(up, name):
    apply(up, a_signal(name))
    up.run("kubectl", "-n", SYSTEM, "wait", "--for=condition=Ready", f"sp/{name}", "--timeout=30s")

    def reasons():
        events = up.run("kubectl", "-n", SYSTEM, "get", "events", "-o", "json").stdout
        return {e["reason"] for e in json.loads(events)["items"] if e["involvedObject"]["name"] == name}

    assert await eventually(lambda: {"SignalProcessed", "EnrichmentDegraded"} <= reasons(), interval=0.2)


def test_crds_can_be_applied_by_kubectl_again_and_again(up):
    manifests = subprocess.run([BIN / "kubernaut", "crd"], capture_output=True, text=True, check=True).stdout
    ways = [["--server-side", "--force-conflicts"], []]
    if "1.20" in SERVER:
        ways = [["--validate=false"]]  # kube-apiserver 1.20 does not know selectableFields

    for how in ways:
        up.run("kubectl", "apply", *how, "-f", "-", input=manifests)

    assert "signalprocessings" in up.run("kubectl", "api-resources").stdout


@pytest.mark.skipif(
    bool(SERVER), reason="1.20 has no OpenAPI v3, which kubectl reads; 1.36-libs has no custom resources in OpenAPI"
)
def test_kubectl_explains_a_field(up):
    assert "SHA-256" in up.run("kubectl", "explain", "sp.spec.signal.fingerprint").stdout


def test_a_bad_fingerprint_is_refused(up, name):
    refused = apply(up, a_signal(name, fingerprint="not hex"), check=False)

    assert refused.returncode != 0
    assert "fingerprint" in refused.stderr
    assert up.run("kubectl", "-n", SYSTEM, "get", "sp", name, check=False).returncode != 0


@pytest.mark.skipif("1.20" in SERVER, reason="kube-apiserver 1.20 drops CEL rules silently")
def test_a_spec_cannot_be_changed(up, name):
    apply(up, a_signal(name))

    refused = apply(up, a_signal(name, severity="low"), check=False)

    assert refused.returncode != 0
    assert "spec is immutable after creation" in refused.stderr


async def test_a_namespace_can_be_deleted_with_what_is_in_it(up):
    namespace = f"ns-{uuid.uuid4().hex[:8]}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}}
    apply(up, manifest)
    apply(up, content)

    real = bool(SERVER)  # they run no controllers, so a namespace stays Terminating there
    up.run("kubectl", "delete", "namespace", namespace, f"--wait={not real}".lower())

    if not real:
        assert up.run("kubectl", "get", "namespace", namespace, check=False).returncode != 0


async def test_the_webhook_stores_alerts_and_the_trail_verifies(up):
    body = json.loads((Path(scenario.__file__).parent / "alerts.json").read_text())
    workload = f"cart-{uuid.uuid4().hex[:6]}"
    body["alerts"] = [body["alerts"][1] | {"labels": {**body["alerts"][1]["labels"], "deployment": workload}}]
    async with httpx2.AsyncClient(trust_env=False) as http:
        first = await http.post(up.webhook, json=body)
        again = await http.post(up.webhook, json=body)

    assert [first.status_code, again.status_code] == [201, 202]
    request = first.json()["remediationRequestName"]
    listed = await eventually(lambda: _completed(up, workload), interval=0.2)
    assert f"sp-{request}" in listed
    assert workload in _listed(up, "--open", "--priority", "P0,p1,P2,P3", "-n", "shop-staging")
    assert workload not in _listed(up, "-n", "elsewhere")
    heads, *rows = _listed(up, "--open").splitlines()
    (row,) = (row for row in rows if workload in row)
    assert heads.split()[-3:] == ["OCCURRENCES", "RESOLVED", "AGE"]
    assert row.split()[-3].isdecimal()
    assert row.split()[-2] == "-"
    wide = _wide(up, workload)
    assert (wide["ALERT"], wide["OCCURRENCES"], wide["RESOLVED"]) == ("HighRequestLatency", "1", "")
    (alert,) = body["alerts"]
    other = alert | {"labels": {**alert["labels"], "replica": "b"}}
    async with httpx2.AsyncClient(trust_env=False) as http:
        await http.post(up.webhook, json=body | {"alerts": [alert, other]})
        await http.post(up.webhook, json=body | {"alerts": [over(alert), over(other)]})
    wide = _wide(up, workload)
    assert wide["OCCURRENCES"] == "2"
    assert re.fullmatch(r"\d+s", wide["RESOLVED"])
    shown = up.run("kubernaut", "signals", "show", f"sp-{request}").stdout
    assert "HighRequestLatency" in shown
    timeline = await eventually(lambda: _timeline(up, request), interval=0.2)
    assert "gateway.signal.received" in timeline
    assert "verified" in up.run("kubernaut", "audit", "verify", request).stdout
    assert "verified" in up.run("kubernaut", "audit", "verify").stdout


def _wide(up, workload):
    """The cells of a workload's signal as kubectl lists them, by head."""
    heads, *rows = up.run("kubectl", "get", "sp", "-A", "-o", "wide").stdout.splitlines()
    (row,) = (row for row in rows if workload in row)
    found = list(re.finditer(r"\S+(?: \S+)*\s*", heads))
    return {head[0].strip(): row[head.start() : head.end()].strip() for head in found}


async def test_signals_are_watched_and_followed_from_end_to_end(up):
    watching = await asyncio.create_subprocess_exec(
        BIN / "kubernaut",
        *("signals", "watch", "--priority", "P2,P3"),
        env={**os.environ, **up.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    name = f"watched-{os.getpid()}"
    labels = {"alertname": "Watched", "severity": "info", "namespace": "nowhere", "deployment": name}
    async with httpx2.AsyncClient(timeout=20) as http:
        sent = await http.post(up.webhook, json={"alerts": [{"labels": labels}]})
    correlation = sent.json()["remediationRequestName"]

    line = b""
    async with asyncio.timeout(40):
        while name.encode() not in line:
            line = await watching.stdout.readline()
    watching.send_signal(signal.SIGINT)

    assert line.split()[2] == b"Completed"
    assert ((await watching.communicate())[1], watching.returncode) == (b"", 130)
    for argument in (f"sp-{correlation}", correlation):
        shown = up.run("kubernaut", "signals", "timeline", argument, "-o", "json", check=False)
        assert shown.returncode == 0, shown.stderr
        assert {event["correlation_id"] for event in json.loads(shown.stdout)["events"]} == {correlation}


async def test_every_event_of_an_extreme_alert_reaches_the_ledger(up):
    where = {"namespace": "default", "deployment": f"huge-{uuid.uuid4().hex[:6]}"}
    alerts = [
        an_alert("Severity", severity="s" * 300_000, **where),
        an_alert("N" * 64_000, **where, starts_at="9999-12-31T00:00:00Z"),
        an_alert("Labels", **where, **{f"label-{number}": "x" * 60 for number in range(4000)}),
        an_alert("Annotations", **where, starts_at="1492-10-12T00:00:00Z")
        | {"annotations": {"a": "\0\ud83d" * 99_000}},
    ]
    names = set()
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        for alert in alerts:
            content = json.dumps(a_webhook(alert)).encode()
            headers = {"content-type": "application/json"}
            answer = await http.post(up.webhook, content=content, headers=headers)
            assert answer.status_code in (201, 202), answer.text
            names.add(answer.json()["remediationRequestName"])

        for name in names:
            await eventually(lambda name=name: _timeline(up, name), interval=0.2, timeout=30)
        metrics = (await http.get(up.webhook.partition("/api/")[0] + "/metrics")).text
    assert 'audit_quarantine_size{service="gateway"} 0.0' in metrics


def _completed(up, workload):
    lines = up.run("kubernaut", "signals", "list").stdout.splitlines()
    return next((line for line in lines if workload in line and "Completed" in line), None)


def _listed(up, *options):
    return up.run("kubernaut", "signals", "list", *options).stdout


def test_a_priority_that_does_not_exist_is_named(up):
    wrong = up.run("kubernaut", "signals", "list", "--priority", "P0,urgent", check=False)

    assert wrong.returncode == 2
    assert "P0, P1, P2, P3" in wrong.stderr


def _timeline(up, request):
    text = up.run("kubernaut", "audit", "timeline", request, check=False).stdout
    return text if "signalprocessing.signal.processed" in text and "gateway.signal.received" in text else None


@pytest.mark.parametrize(
    ("content", "type", "status", "says"),
    [
        (b"{}", "application/json", 400, "alerts"),
        (b"not json", "application/json", 400, "JSON"),
        (b"{}", "text/plain", 400, "alerts"),
        (b" " * (2**25 + 1), "application/json", 413, ""),
    ],
    ids=["empty", "no json", "no json type", "too large"],
)
async def test_the_webhook_answers_rubbish_with_a_problem(up, content, type, status, says):
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(up.webhook, content=content, headers={"content-type": type})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.text


async def test_an_object_instead_of_an_array_is_refused(up):
    url = f"{up.env['KUBERNAUT_DATASTORAGE_URL']}/api/v1/audit/events/batch"
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json={"event_type": "x"})

    assert answer.status_code == 400
    assert "array" in answer.json()["detail"] + str(answer.json().get("field_errors"))


async def test_a_killed_up_leaves_no_process_and_comes_back_with_everything():
    with enterable_directory() as path:
        first = start_up(path / "data")
        apply(first, a_signal("sp-kept"))
        first.run("kubectl", "-n", SYSTEM, "wait", "--for=condition=Ready", "sp/sp-kept", "--timeout=30s")
        await eventually(lambda: _recorded(first), interval=0.2)
        children = _processes_of(path)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        first.process.stdout.close()

        assert children
        await eventually(lambda: not _processes_of(path), timeout=5, interval=0.1, description="every child has gone")

        second = start_up(path / "data")
        kept = second.run("kubectl", "-n", SYSTEM, "get", "sp", "sp-kept", "-o", "json").stdout
        verified = second.run("kubernaut", "audit", "verify", "-o", "json").stdout
        assert stop_up(second) == 0

    assert json.loads(kept)["status"]["phase"] == "Completed"
    assert json.loads(verified)["is_valid"]
    assert json.loads(verified)["total_events"] >= 9


def _recorded(up):
    return "signalprocessing.signal.processed" in up.run("kubernaut", "audit", "query").stdout


def _processes_of(path):
    """Processes whose command line or working files name this directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in command and int(entry.name) != os.getpid():
            found.append(command)
    return found


def kubernaut(*arguments):
    command = [str(BIN / "kubernaut"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_data_directory_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("keep me")

    refused = kubernaut("up", "--data-dir", tmp_path)

    assert refused.returncode == 3
    assert str(tmp_path) in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_two_ups_never_share_a_data_directory(up):
    directory = re.search(r"Data and logs: +(\S+)", up.printed)[1]

    refused = kubernaut("up", "--data-dir", directory)

    assert refused.returncode == 3
    assert str(up.process.pid) in refused.stderr


def test_a_port_in_use_is_named(tmp_path, up):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = _datastorage(up)
        settings["server"]["port"] = port
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))

        refused = kubernaut("datastorage", "--config", tmp_path / "config.yaml")

    assert refused.returncode == 3
    assert f"127.0.0.1:{port}" in refused.stderr


def test_a_database_that_refuses_the_password_is_told_as_that(tmp_path, up):
    (tmp_path / "password").write_text("wrong")
    settings = _datastorage(up)
    settings["database"]["passwordFile"] = str(tmp_path / "password")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))

    refused = kubernaut("datastorage", "--config", tmp_path / "config.yaml")

    assert refused.returncode == 3
    assert "password" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("service", "text", "says"),
    [
        ("datastorage", "server: {prot: 1}", "server.prot"),
        ("controller", "controller: {workers: 0}", "controller.workers"),
        ("controller", "controller: {leaseDuration: 1s}", "controller.renewDeadline"),
        ("gateway", "nonsense: 1", "nonsense"),
    ],
)
def test_a_bad_configuration_names_its_key(tmp_path, service, text, says):
    (tmp_path / "config.yaml").write_text(text)

    refused = kubernaut(service, "--config", tmp_path / "config.yaml")

    assert refused.returncode == 2
    assert says in refused.stderr


def test_a_controller_refuses_a_policy_that_does_not_compile(tmp_path, up):
    (tmp_path / "policy.rego").write_text("package signalprocessing\n\nimport rego.v1\n\nenvironment := {\n")
    settings = {
        "kubeconfig": up.env["KUBECONFIG"],
        "classifier": {"policyDir": str(tmp_path)},
        "controller": {"healthProbeAddr": "127.0.0.1:0", "metricsAddr": "127.0.0.1:0", "namespace": "default"},
        "datastorage": {"url": up.env["KUBERNAUT_DATASTORAGE_URL"], "spoolDir": str(tmp_path / "spool")},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))

    refused = kubernaut("controller", "--config", tmp_path / "config.yaml")

    assert refused.returncode == 2
    assert re.search(r"policy\.rego:\d+:\d+", refused.stderr)


def _datastorage(up):
    directory = Path(re.search(r"Data and logs: +(\S+)", up.printed)[1])
    return yaml.safe_load((directory / "datastorage" / "config.yaml").read_text())
