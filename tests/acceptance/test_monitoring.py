"""Metrics, alert rules, runbooks and dashboards, with promtool and a real Prometheus in front of the services."""

import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import yaml

from kubernaut.embedded.ports import open_on_free_port
from kubernaut.embedded.process import Process, ProcessSpec
from kubernaut.gateway.responses import Reason
from support.alerts import a_webhook, an_alert
from support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "chart" / "files" / "rules.yaml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "rules-test.yaml"
DASHBOARDS = sorted((ROOT / "deploy" / "chart" / "files" / "dashboards").glob("*.json"))
METRICS = ROOT / "docs" / "reference" / "metrics.md"
RUNBOOKS = ROOT / "docs" / "runbooks"
SERVICES = ("gateway", "controller", "datastorage")
METRIC = re.compile(
    r"\b((?:kubernaut|audit|gateway|datastorage|signalprocessing|controller_runtime|workqueue)_[a-z_]+)"
)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def labels_of_metrics() -> dict[str, set[str]]:
    """The labels of each metric, by the reference, which is written from the code."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*) ?\|", METRICS.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def queries() -> Iterator[tuple[str, str]]:
    """Dashboard and panel, and what it asks."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def promtool(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
def test_rules_are_valid():
    done = promtool("check", "rules", RULES)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in done.stdout


@needs_promtool
def test_every_rule_fires_when_it_should_and_only_then(tmp_path):
    shutil.copy(RULES, tmp_path)
    content = yaml.safe_load(RULE_TESTS.read_text())
    for case in (case for test in content["tests"] for case in test["alert_rule_test"]):
        for firing in case.get("exp_alerts", ()):
            texts = alerts()[case["alertname"]]["annotations"]
            shown = firing.get("exp_annotations", {})
            # What shows no label and no value is the same at every firing, and is not written twice.
            assert shown.keys() == {name for name, text in texts.items() if "{{" in text}, case["alertname"]
            firing["exp_annotations"] = texts | shown
    (tmp_path / RULE_TESTS.name).write_text(yaml.safe_dump(content))

    done = promtool("test", "rules", tmp_path / RULE_TESTS.name)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_that_fires_it_and_one_that_does_not():
    cases = [case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}

    assert (alerts().keys() - firing, alerts().keys() - silent) == (set(), set())


@pytest.mark.parametrize("name", alerts())
def test_the_texts_of_a_rule_show_only_labels_that_its_result_has(name):
    rule = alerts()[name]
    shown = {label for text in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", text)}
    grouped = re.search(r"\bby \(([\w, ]+)\)", rule["expr"])

    of_metrics = {label for metric in METRIC.findall(rule["expr"]) for label in labels_of_metrics().get(metric, ())}
    assert shown <= (set(grouped[1].replace(" ", "").split(",")) if grouped else of_metrics)


def test_the_series_of_the_rule_tests_have_labels_that_the_metrics_have():
    series = [
        each["series"] for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for each in test["input_series"]
    ]

    for name, labels in (each.rstrip("}").partition("{")[::2] for each in series):
        known = labels_of_metrics().get(name, {"job"})
        # A scrape adds these.
        assert set(re.findall(r"(\w+)=", labels)) <= known | {"job", "pod", "instance"}, name


def test_every_rule_links_to_a_runbook_and_every_runbook_belongs_to_a_rule():
    linked = {name: rule["annotations"]["runbook_url"] for name, rule in alerts().items()}

    assert linked == {name: f"RUNBOOK_URL/{name}.md" for name in linked}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == linked.keys()


def test_the_table_of_runbooks_says_what_the_rules_say():
    rows = [
        f"| [{name}]({name}.md) | {rule['labels']['severity']} | "
        f"{re.sub(r'{{.*?}}', '…', rule['annotations']['summary'])} |"
        for name, rule in alerts().items()
    ]

    assert [row for row in (RUNBOOKS / "README.md").read_text().splitlines() if row.startswith("| [")] == rows


@pytest.mark.parametrize("name", alerts())
def test_a_runbook_says_what_it_means_what_to_look_at_and_what_to_do(name):
    text = (RUNBOOKS / f"{name}.md").read_text()

    assert text.startswith(f"# {name}\n")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Symptom", "Check", "Act"]
    for heading in ("Check", "Act"):
        assert len(text.partition(f"## {heading}\n")[2].partition("\n## ")[0].strip()) > 60


def test_the_runbook_knows_every_reason_why_an_alert_is_not_stored():
    text = (RUNBOOKS / "KubernautAlertsNotStored.md").read_text()

    assert {reason for reason in Reason if f"`{reason}`" not in text} == set()


async def metrics_of(urls: dict[str, str]) -> dict[str, str]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        return {service: (await http.get(f"{url}/metrics")).text for service, url in urls.items()}


@pytest.fixture
def urls(up) -> dict[str, str]:
    """Where each service of the stack answers."""
    address = re.search(r"controller on\s+(http://\S+)", up.printed)
    gateway = urllib.parse.urlsplit(up.webhook)
    return {
        "gateway": f"http://{gateway.netloc}",
        "controller": address[1],
        "datastorage": up.env["KUBERNAUT_DATASTORAGE_URL"],
    }


@pytest.fixture
async def decided(up, urls) -> None:
    """At least one signal has gone all the way to the ledger."""
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        alert = an_alert(f"Monitored{uuid4().hex[:6]}", namespace="default", pod="api-1")
        assert (await http.post(up.webhook, json=a_webhook(alert))).status_code == 201

        async def counted() -> bool:
            texts = await metrics_of(urls)
            completed = 'signalprocessing_processing_total{phase="completed",result="success"}'
            return (
                completed in texts["controller"]
                and 'audit_traces_total{service="signalprocessing"' in texts["datastorage"]
            )

        await eventually(counted, timeout=30)


@needs_promtool
@pytest.mark.parametrize("service", SERVICES)
async def test_promtool_finds_nothing_in_the_metrics(service, urls, decided):
    done = promtool("check", "metrics", stdin=(await metrics_of(urls))[service])

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
async def test_every_metric_of_a_service_is_in_the_reference(service, urls, decided):
    text = (await metrics_of(urls))[service]

    named = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    of_every_process = {name for name in named if name.startswith(("process_", "python_"))}
    assert {name for name in named - of_every_process if not name.endswith("_created")} <= labels_of_metrics().keys()


async def test_every_metric_of_a_rule_or_dashboard_exists(urls, decided):
    exposed = {
        name
        for text in (await metrics_of(urls)).values()
        for name in re.findall(r"^(?:# TYPE )?([a-z_]+)", text, re.MULTILINE)
    }
    asked = [*queries(), *((name, rule["expr"]) for name, rule in alerts().items())]

    assert {
        (who, name)
        for who, expr in asked
        for name in METRIC.findall(expr)
        if name.removesuffix("_bucket") not in exposed
    } == set()


@asynccontextmanager
async def open_prometheus(folder: Path, urls: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """A Prometheus that scrapes the services each second and evaluates our rules."""
    scrapes = [
        {"job_name": name, "static_configs": [{"targets": [urllib.parse.urlsplit(url).netloc]}]}
        for name, url in urls.items()
    ]
    config = folder / "prometheus.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": scrapes,
            }
        )
    )

    def spec(port: int) -> ProcessSpec:
        async def is_ready(_: Process) -> bool:
            async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/-/ready")).is_success
                except httpx2.TransportError:
                    return False

        flags = [
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        return ProcessSpec(name="prometheus", command=["prometheus", *flags], log=folder / "log", ready=is_ready)

    async with (
        open_on_free_port(spec) as (_, port),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http,
    ):
        yield http


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (apt-get install prometheus)"
)
async def test_prometheus_answers_every_panel_and_no_rule_fires_on_a_healthy_system(urls, decided, tmp_path):
    async with open_prometheus(tmp_path, urls) as http:

        async def results(expr: str) -> list[Any]:
            answer = await http.get("/api/v1/query", params={"query": expr})
            assert answer.status_code == 200, f"{expr}: {answer.text}"
            found: list[Any] = answer.json()["data"]["result"]
            return found

        async def scraped_twice() -> bool:
            return {int(each["value"][1]) >= 3 for each in await results("count_over_time(up[1m])")} == {True}

        await eventually(scraped_twice, timeout=30, interval=0.2)
        answered = {panel for panel, expr in queries() if await results(expr)}
        rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]

    # What has not happened yet has no series: a fallback, an error, a verification, a Kubernetes-wide sender.
    silent = {panel for panel, _ in queries()} - answered
    assert silent <= {
        "signals: Fallbacks and enrichment errors",
        "signals: Requests rejected",
        "audit: Last verification",
        "audit: Since the last verification",
        "audit: Reads",
    }
    health = {rule["name"]: (rule["health"], rule["state"]) for group in rules for rule in group["rules"]}
    assert health.keys() == alerts().keys()
    assert {name for name, (state, _) in health.items() if state == "err"} == set()
    assert {name for name, (_, state) in health.items() if state == "firing"} == set()
