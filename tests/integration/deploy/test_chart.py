"""The Helm chart as helm renders it: what it refuses, and that the services can use what it writes."""

import base64
import re
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.gateway.config import GatewayConfig, IntakeConfig
from kubernaut.ops import settings
from kubernaut.ops.http.auth_config import AuthMode
from kubernaut.signalprocessing.config import SignalProcessingConfig
from kubernaut.signalprocessing.environment_mapping import parse
from support.chart import CHART, EXTERNAL, NAMESPACE, ROOT, TRIAL, Manifest, helm, one, render, write_values

CONFIGS = {
    "signalprocessing-config": SignalProcessingConfig,
    "gateway-config": GatewayConfig,
    "data-storage-config": DataStorageConfig,
}
REGISTRY = yaml.safe_load((CHART / "values.yaml").read_text())["image"]["registry"]
HA = ("--values", str(CHART / "values-ha.yaml"))


def config_of(manifests: list[Manifest], name: str) -> dict[str, Any]:
    """What the service reads from its ConfigMap."""
    config: dict[str, Any] = yaml.safe_load(one(manifests, "ConfigMap", name)["data"]["config.yaml"])
    return config


def pods_of(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    """The Pods that workloads make, by the workload's name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests
        if "template" in each.get("spec", {})
    }


@pytest.mark.parametrize("values", [EXTERNAL, TRIAL], ids=["external", "trial"])
@pytest.mark.parametrize("more", [(), HA], ids=["one", "ha"])
def test_every_service_can_load_its_configuration(tmp_path, values, more):
    manifests = render(tmp_path, values, *more)

    for name, cls in CONFIGS.items():
        settings.load(cls, config_of(manifests, name))
    assert one(manifests, "Deployment", "data-storage")["spec"]["replicas"] == (3 if more else 1)


def test_datastorage_gets_its_databases_by_tls_and_knows_its_writers(tmp_path):
    config = settings.load(DataStorageConfig, config_of(render(tmp_path), "data-storage-config"))

    database, queue = config.database, config.dead_letter_queue
    assert (database.host, database.port, database.name, database.user) == ("pg.db.svc", 5433, "ledger", "audit")
    assert database.ssl_mode == "verify-full"
    assert str(database.ssl_root_cert) == "/etc/kubernaut/postgresql-ca/ca.crt"
    assert (queue.host, queue.port, queue.database, queue.username) == ("valkey.db.svc", 6390, 3, "queue")
    assert queue.tls
    assert config.auth.mode is AuthMode.KUBERNETES
    assert set(config.actors) == {
        f"system:serviceaccount:{NAMESPACE}:{name}" for name in ("gateway", "signalprocessing-controller")
    }


def test_configuration_of_the_user_wins(tmp_path):
    own = {"controller": {"config": {"controller": {"workers": 9}, "logging": {"level": "DEBUG"}}}}
    config = settings.load(
        SignalProcessingConfig, config_of(render(tmp_path, {**EXTERNAL, **own}), "signalprocessing-config")
    )

    assert (config.controller.workers, config.logging.level) == (9, "DEBUG")
    assert str(config.classifier.policy_dir) == "/etc/signalprocessing/policies"


@pytest.mark.parametrize("replicas", [1, 3])
def test_all_gateways_together_write_as_much_as_one(tmp_path, replicas):
    rendered = render(tmp_path, {**EXTERNAL, "gateway": {"replicas": replicas}})
    config = settings.load(GatewayConfig, config_of(rendered, "gateway-config"))

    assert config.intake.max_writes_per_second * replicas == pytest.approx(IntakeConfig().max_writes_per_second)


def test_static_tokens_replace_accounts(tmp_path):
    tokens = {"gateway": {"tokens": {"secret": "senders", "identities": ["grafana"]}}}
    manifests = render(tmp_path, {**EXTERNAL, **tokens})
    config = settings.load(GatewayConfig, config_of(manifests, "gateway-config"))

    assert config.auth.mode is AuthMode.TOKENS
    assert [(each.identity, str(each.file)) for each in config.auth.tokens] == [
        ("grafana", "/etc/kubernaut/tokens/grafana")
    ]


def test_tokens_are_made_for_senders_without_a_secret(tmp_path):
    manifests = render(tmp_path, {**EXTERNAL, "gateway": {"tokens": {"identities": ["grafana", "site.b"]}}})

    made = one(manifests, "Secret", "gateway-tokens")["data"]
    assert {name: len(base64.b64decode(token)) for name, token in made.items()} == {"grafana": 40, "site.b": 40}
    (volume,) = [each for each in pods_of(manifests)["gateway"]["volumes"] if each["name"] == "tokens"]
    assert volume["secret"]["secretName"] == "gateway-tokens"


SINK = {"name": "pager", "url": "https://receiver.example.com/", "secretFile": "/etc/signalprocessing/sinks/pager/key"}


def test_controller_reaches_its_sinks_and_their_secrets(tmp_path):
    to_receiver = {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 443}]}
    controller = {"config": {"sinks": [SINK]}, "sinkSecrets": ["pager"]}
    values = {**EXTERNAL, "controller": controller, "networkPolicy": {"controllerEgress": [to_receiver]}}
    manifests = render(tmp_path, values)

    (container,) = pods_of(manifests)["signalprocessing-controller"]["containers"]
    assert "/etc/signalprocessing/sinks/pager" in [each["mountPath"] for each in container["volumeMounts"]]
    assert to_receiver in one(manifests, "NetworkPolicy", "kubernaut-controller")["spec"]["egress"]


@pytest.mark.requirement("LESSON-16")
def test_every_file_of_a_configuration_is_mounted(tmp_path):
    manifests = render(tmp_path)
    pods = pods_of(manifests)
    names = {
        "signalprocessing-config": "signalprocessing-controller",
        "gateway-config": "gateway",
        "data-storage-config": "data-storage",
    }

    for config, workload in names.items():
        (container,) = pods[workload]["containers"]
        mounts = [each["mountPath"] for each in container["volumeMounts"]]
        files = set(
            re.findall(r"/(?:etc|var/lib)/[\w./-]+", one(manifests, "ConfigMap", config)["data"]["config.yaml"])
        )
        assert files
        assert [file for file in files if not any(file == at or file.startswith(f"{at}/") for at in mounts)] == []
        volumes = {each["name"] for each in pods[workload]["volumes"]} | {"spool"}
        assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_pods_of_ours_run_as_nobody_on_a_read_only_root_with_limits(tmp_path):
    for values in (EXTERNAL, TRIAL):
        for name, pod in pods_of(render(tmp_path, values)).items():
            assert pod["securityContext"]["runAsNonRoot"], name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["readOnlyRootFilesystem"], name
                assert not context["allowPrivilegeEscalation"], name
                assert context["capabilities"] == {"drop": ["ALL"]}, name
                assert {"requests", "limits"} <= container["resources"].keys(), name


@pytest.mark.requirement("LESSON-25")
def test_every_service_has_five_minutes_to_start(tmp_path):
    for name, pod in pods_of(render(tmp_path, EXTERNAL)).items():
        for container in pod["containers"]:
            if "livenessProbe" in container:
                probe = container["startupProbe"]
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 300, name
    assert any(
        "livenessProbe" in each for pod in pods_of(render(tmp_path, EXTERNAL)).values() for each in pod["containers"]
    )


def test_high_availability_spreads_and_keeps_pods(tmp_path):
    manifests = render(tmp_path, EXTERNAL, *HA, "--api-versions", "policy/v1")

    budgets = {each["metadata"]["name"]: each for each in manifests if each["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == {"gateway", "data-storage", "signalprocessing-controller"}
    assert {each["apiVersion"] for each in budgets.values()} == {"policy/v1"}
    for name in ("gateway", "data-storage", "signalprocessing-controller"):
        spread = pods_of(manifests)[name]["topologySpreadConstraints"]
        assert [each["whenUnsatisfiable"] for each in spread] == ["DoNotSchedule", "ScheduleAnyway"]
    assert one(manifests, "StatefulSet", "signalprocessing-controller")["spec"]["replicas"] == 2


def test_selectors_select_the_pods_of_one_part(tmp_path):
    """Services, budgets and network policies each name exactly the Pods of one component."""
    manifests = render(tmp_path, {**EXTERNAL, **TRIAL}, *HA)
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in manifests if "template" in each.get("spec", {})]
    for manifest in manifests:
        spec = manifest.get("spec") or {}
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector) if manifest["kind"] != "ServiceMonitor" else None
        if not wanted or manifest["kind"] == "CustomResourceDefinition":
            continue
        selected = [labels for labels in pods if wanted.items() <= labels.items()]
        assert len({labels["app.kubernetes.io/component"] for labels in selected}) == 1, manifest["metadata"]["name"]


def test_a_password_is_in_no_config_map_and_no_value(tmp_path):
    refused = helm(
        "template",
        "k",
        CHART,
        "--set",
        "postgresql.url=postgresql://user:hunter2@pg/db,postgresql.existingSecret=x",
        check=False,
    )

    assert refused.returncode != 0
    assert "postgresql.url" in refused.stderr or "/postgresql/url" in refused.stderr


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"imagee": {}}, "imagee"),
    ({"gateway": {"replicas": 0}}, "replicas"),
    ({"controller": {"replicas": 0}}, "replicas"),
    ({"controller": {"config": {"controller": {"worker": 3}}}}, "worker"),
    ({"datastorage": {"config": {"database": {"sslMode": "maybe"}}}}, "sslMode"),
    ({"gateway": {"config": {"server": {"port": "http"}}}}, "port"),
    ({"gateway": {"senders": [{"name": "alertmanager"}]}}, "namespace"),
    ({"gateway": {"tokens": {"secret": "senders"}}}, "identities"),
    ({"policy": {"environments": {"prod-*": "prod"}}}, "prod-"),
    ({"postgresql": {"url": "mysql://audit@pg/db"}}, "url"),
    ({"networkPolicy": {"apiServer": {"ports": []}}}, "ports"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_a_wrong_value_is_refused_by_name(tmp_path, values, named):
    file = write_values(tmp_path / "own.yaml", values)

    done = helm("template", "k", CHART, "--values", file, check=False)

    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert named in done.stderr


NEEDED: list[tuple[Mapping[str, Any], str]] = [
    ({}, "postgresql.url: give postgresql://USER@HOST:PORT/DATABASE, or set postgresql.bundled"),
    ({"postgresql": {"url": "postgresql://a@pg/db", "sslMode": "require"}}, "postgresql.existingSecret: name a Secret"),
    ({"postgresql": {"url": "postgresql://a@pg/db"}}, "postgresql.caSecret: name a Secret with ca.crt"),
    ({**TRIAL, "valkey": {"enabled": True}}, "valkey.url: give redis://HOST:PORT/NUMBER, or set valkey.bundled"),
]


@pytest.mark.parametrize(("values", "message"), NEEDED)
def test_what_is_missing_is_named(tmp_path, values, message):
    done = helm("template", "k", CHART, "--values", write_values(tmp_path / "own.yaml", values), check=False)

    assert done.returncode != 0
    assert message in done.stderr


def test_lint_finds_nothing(tmp_path):
    for values in (EXTERNAL, TRIAL):
        file = write_values(tmp_path / "values.yaml", values)
        assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", file).stdout


def test_environments_become_the_mapping_that_the_controller_reads(tmp_path):
    own = {**TRIAL, "policy": {"environments": {"prod-*": "production", "sandbox": "development"}}}
    text = one(render(tmp_path, own), "ConfigMap", "kubernaut-environment-config")["data"]["mapping"]
    problems: list[str] = []
    mapping = parse(text, problems.append)

    assert problems == []
    assert (mapping.environment_of("prod-eu"), mapping.environment_of("sandbox")) == ("Production", "Development")


def test_trial_makes_passwords_that_nobody_knows(tmp_path):
    secrets = [
        each["data"]["password"]
        for each in render(tmp_path, TRIAL)
        if each["kind"] == "Secret" and "password" in each["data"]
    ]

    assert len(set(secrets)) == len(secrets) == 2
    assert min(map(len, secrets)) >= 40


def test_a_job_is_named_by_its_content(tmp_path):
    def name(values: Mapping[str, Any]) -> str:
        jobs = [each for each in render(tmp_path, values) if each["kind"] == "Job"]
        (found,) = [each["metadata"]["name"] for each in jobs if "migrate" in each["metadata"]["name"]]
        return str(found)

    assert name(TRIAL) == name(TRIAL)
    assert name(TRIAL) != name({**TRIAL, "image": {"tag": "9.9.9"}})


def test_derived_files_are_what_the_code_says():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import chart
    finally:
        sys.path.pop(0)

    assert {str(path.relative_to(ROOT)) for path, text in chart.files().items() if path.read_text() != text} == set()


def test_every_value_is_commented_and_in_the_schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.yaml").read_text())

    assert set(values) == set(schema["properties"]) - {"global"}
    assert {key: set(part) - set(schema["properties"][key]["properties"]) for key, part in values.items()} == {
        key: set() for key in values
    }


def test_an_upgrade_migrates_in_two_stages_around_the_new_pods(tmp_path):
    jobs = {
        each["metadata"]["name"]: each
        for each in render(tmp_path, EXTERNAL, "--is-upgrade")
        if each["kind"] == "Job" and "migrate" in each["metadata"]["name"]
    }

    assert set(jobs) == {"data-storage-migrate-pre", "data-storage-migrate-post"}
    for stage in ("pre", "post"):
        job = jobs[f"data-storage-migrate-{stage}"]
        assert job["metadata"]["annotations"]["helm.sh/hook"] == f"{stage}-upgrade"
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["command"][:4] == ["kubernaut", "migrate", "--stage", stage]


def test_chart_images_and_overlay_have_the_version_of_the_distribution():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    overlay = yaml.safe_load((ROOT / "deploy" / "kustomize" / "kustomization.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert {image["newTag"] for image in overlay["images"]} == {version}


def test_prometheus_finds_each_service(tmp_path):
    manifests = render(tmp_path)
    services = [each for each in manifests if each["kind"] == "Service"]
    for monitor in (each for each in manifests if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [each for each in services if wanted.items() <= each["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "docs/runbooks/{}.md"),
        ("https://git.example.com/kubernaut/docs/runbooks/", "https://git.example.com/kubernaut/docs/runbooks/{}.md"),
        ("https://docs.example.com/%s.html?v=$1", "https://docs.example.com/{}.html?v=$1"),
    ],
)
def test_each_alert_leads_to_its_runbook_where_the_team_reads_it(address, expected, tmp_path):
    monitoring = {**EXTERNAL["monitoring"], "runbookUrl": address}
    manifests = render(tmp_path, {**EXTERNAL, "monitoring": monitoring})

    groups = one(manifests, "PrometheusRule", "kubernaut")["spec"]["groups"]
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]}
    assert links == {alert: expected.format(alert) for alert in links}
    assert all((ROOT / "docs" / "runbooks" / f"{alert}.md").is_file() for alert in links)


def test_pods_run_the_images_that_make_image_builds_with_the_files_that_they_read(tmp_path):
    pods = pods_of(render(tmp_path, {**EXTERNAL, "image": {"tag": "e2e-test"}}))
    workloads = {"datastorage": "data-storage", "controller": "signalprocessing-controller", "gateway": "gateway"}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()

    for image, workload in workloads.items():
        (container,) = pods[workload]["containers"]
        assert container["image"] == f"{REGISTRY}/kubernaut-{image}:e2e-test"
        stage = dockerfile.partition(f"FROM runtime AS {image}\n")[2].partition("\nFROM ")[0]
        (config,) = re.findall(r'^CMD \["--config", "(.+)"\]$', stage, re.MULTILINE)
        assert config in {mount["mountPath"] for mount in container["volumeMounts"]}
        exposed = set(re.findall(r"\d+", re.findall(r"^EXPOSE (.+)$", stage, re.MULTILINE)[0]))
        assert {str(port["containerPort"]) for port in container["ports"]} == exposed


def test_further_permissions_come_only_with_what_needs_them(tmp_path):
    events = {"gateway": {"config": {"intake": {"kubernetesEvents": {"types": ["Warning"]}}}}}
    extra = {"rbac": {"extraKinds": [{"apiGroups": ["db.example.com"], "resources": ["clusters"]}]}}

    def rules(values: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        manifests = render(tmp_path, {**EXTERNAL, **values})
        roles = [each for each in manifests if each["kind"] in ("Role", "ClusterRole")]
        return {f"{each['kind']}/{each['metadata']['name']}": each["rules"] for each in roles}

    plain = rules({})
    watching, owning = rules(events), rules(extra)
    gateway, controller = (
        f"ClusterRole/kubernaut-{NAMESPACE}-{name}" for name in ("gateway", "signalprocessing-controller")
    )
    assert [rule for rule in watching[gateway] if rule not in plain[gateway]] == [
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]}
    ]
    assert len(watching["Role/gateway"]) == len(plain["Role/gateway"]) + 2
    added = {"apiGroups": ["db.example.com"], "resources": ["clusters"], "verbs": ["get"]}
    assert (owning[gateway][-1], owning[controller][-1]) == (added, added)
    assert {name for name in plain if owning[name] != plain[name]} == {gateway, controller}


@pytest.mark.requirement("LESSON-26")
def test_no_service_may_read_a_secret_or_more_than_one_config_map(tmp_path):
    for manifest in render(tmp_path):
        for rule in manifest.get("rules") or []:
            if "secrets" in rule["resources"]:
                assert (manifest["metadata"]["name"], rule["verbs"]) == ("kubernaut-ledger-keys", ["create"])
            if "configmaps" in rule["resources"]:
                assert rule["resourceNames"] == ["kubernaut-environment-config"]
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
