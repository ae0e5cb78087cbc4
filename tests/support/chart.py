"""The Helm chart as helm renders it."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "chart"
NAMESPACE = "observability"
RELEASE = "kubernaut"

Manifest = dict[str, Any]

EXTERNAL: Mapping[str, Any] = {
    "postgresql": {
        "url": "postgresql://audit@pg.db.svc:5433/ledger",
        "existingSecret": "pg-password",
        "caSecret": "pg-ca",
    },
    "valkey": {
        "enabled": True,
        "url": "rediss://queue@valkey.db.svc:6390/3",
        "existingSecret": "valkey-password",
        "caSecret": "valkey-ca",
    },
    "gateway": {"senders": [{"name": "alertmanager", "namespace": "monitoring"}]},
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}
"""PostgreSQL and Valkey elsewhere, by TLS, and everything for Prometheus and Grafana."""
TRIAL: Mapping[str, Any] = {"postgresql": {"bundled": True}, "valkey": {"enabled": True, "bundled": True}}
"""Everything in one release, without an object that a cluster may not know."""


def helm_program() -> str:
    """The program, or a skip."""
    found = os.environ.get("HELM") or shutil.which("helm")
    if found is None:
        pytest.skip("helm is not installed (go install helm.sh/helm/v3/cmd/helm@latest)")
    return found


def helm(
    *arguments: object, check: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command of helm; its message is in the AssertionError when it fails."""
    done = subprocess.run(
        [helm_program(), *map(str, arguments)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done


def write_values(path: Path, values: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(values)))
    return path


def render(
    tmp_path: Path, values: Mapping[str, Any] = EXTERNAL, *arguments: str, namespace: str = NAMESPACE
) -> list[Manifest]:
    """Every object that an install would make, its hooks included."""
    file = write_values(tmp_path / "values.yaml", values)
    done = helm("template", RELEASE, CHART, "--namespace", namespace, "--values", file, *arguments)
    return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]


def one(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found
