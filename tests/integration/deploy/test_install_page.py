"""The sessions of the page on installing, and deploy/kustomize, against an API server."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.ops import settings
from support.chart import ROOT, helm_program, one, render

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PAGE = ROOT / "docs" / "howto-install.md"
SESSION = re.compile(r"<!-- with: helm -->\n```console\n(.*?)```", re.DOTALL)
# Nothing runs the Jobs of hooks here, and CRDs belong to the tests beside this one.
HELM = """
helm() {
  case "$1" in
    install | upgrade) command "$HELM" "$@" --no-hooks --set crds.install=false ;;
    rollback | uninstall) command "$HELM" "$@" --no-hooks ;;
    *) command "$HELM" "$@" ;;
  esac
}
kubectl() {
  # kubectl refuses to send fields that an old server does not know.
  case "$1 ${KUBEBUILDER_ASSETS:-}" in
    apply*/1.2*) command kubectl "$@" --validate=false ;;
    *) command kubectl "$@" ;;
  esac
}
"""


def commands() -> str:
    text = "".join(SESSION.findall(PAGE.read_text())).replace("\\\n> ", "")
    return "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))


@pytest.mark.timeout(180)
def test_the_sessions_of_the_page_run_one_after_the_other(kubernetes_with_crds, tmp_path):
    helm_program()
    script = HELM + commands().replace("kubectl delete -k deploy/kustomize", "kubectl delete namespace kubernaut")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={
            **os.environ,
            "HELM": helm_program(),
            "KUBECONFIG": str(kubernetes_with_crds),
            "WORK": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "kubernaut-ledger-keys" in done.stdout  # what the notes say of the key
    assert "namespace/kubernaut configured" in done.stdout
    manifests = list(yaml.safe_load_all((tmp_path / "manifests.yaml").read_text()))
    check_database(manifests)


def check_database(manifests: list[dict[str, object]]) -> None:
    """The overlay's variables override the file that the base has."""
    deployment = one(manifests, "Deployment", "data-storage")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    file = yaml.safe_load(one(manifests, "ConfigMap", "data-storage-config")["data"]["config.yaml"])

    config = settings.load(DataStorageConfig, file, env=env, prefix="KUBERNAUT_DATASTORAGE")

    assert container["image"] == f"registry.example.com/kubernaut/kubernaut-datastorage:{VERSION}"
    assert config.database.host == "postgresql.databases.svc"
    assert str(config.database.ssl_root_cert) == "/etc/kubernaut/postgresql-ca/ca.crt"


def test_the_values_of_the_page_are_those_of_its_file():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert block == (ROOT / "docs" / "examples" / "values.yaml").read_text()


def test_kustomize_is_what_the_chart_renders():
    helm_program()
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "kustomize", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_crds_of_the_chart_are_kept_when_it_is_uninstalled(tmp_path):
    found = [each for each in render(tmp_path) if each["kind"] == "CustomResourceDefinition"]

    assert len(found) == 2
    assert {each["metadata"]["annotations"]["helm.sh/resource-policy"] for each in found} == {"keep"}
