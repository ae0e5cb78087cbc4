"""kubectl, as people use it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .widgets import a_definition, a_widget

_BESIDE = Path(sys.executable).with_name("kubectl")
KUBECTL = str(_BESIDE) if _BESIDE.exists() else shutil.which("kubectl")

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")


class Kubectl:
    """Runs kubectl in the namespace of one test."""

    def __init__(self, kubeconfig: Path, namespace: str, home: Path) -> None:
        self._env = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": os.environ.get("PATH", "")}
        self._namespace = namespace

    def run(self, *arguments: str, given: Any = None, fails: bool = False) -> str:
        """The output of a command; `given` goes to its standard input as YAML."""
        done = subprocess.run(
            [str(KUBECTL), "--namespace", self._namespace, *arguments],
            input=None if given is None else yaml.safe_dump(given),
            env=self._env,
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stderr + done.stdout
        return done.stdout + done.stderr


@pytest.fixture
def kubectl(server, namespace, tmp_path) -> Kubectl:
    return Kubectl(server.kubeconfig, namespace, tmp_path)


def test_definition_is_applied_and_established(kubectl, unique):
    definition = a_definition(f"{unique}.test")

    assert "created" in kubectl.run("apply", "-f", "-", given=definition)
    name = f"customresourcedefinition/widgets.{unique}.test"
    assert "condition met" in kubectl.run("wait", "--for=condition=Established", name, "--timeout=10s")
    assert "unchanged" in kubectl.run("apply", "-f", "-", given=definition)
    assert "serverside-applied" in kubectl.run(
        "apply", "--server-side", "--force-conflicts", "-f", "-", given=definition
    )
    kubectl.run("delete", name, "--wait=false")


def test_objects_are_applied_twice(kubectl, group):
    assert "created" in kubectl.run("apply", "-f", "-", given=a_widget(group, count=1))
    assert "unchanged" in kubectl.run("apply", "-f", "-", given=a_widget(group, count=1))
    assert "configured" in kubectl.run("apply", "-f", "-", given=a_widget(group, color="blue"))

    spec = json.loads(kubectl.run("get", f"widgets.{group}", "w", "-o", "json"))["spec"]
    assert spec["color"] == "blue"
    assert "count" not in spec


def test_objects_are_applied_by_the_server(kubectl, group):
    apply = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in kubectl.run(*apply, given=a_widget(group, count=1))

    conflict = kubectl.run(*apply, "--field-manager=other", given=a_widget(group, count=2), fails=True)

    assert "conflict" in conflict
    assert ".spec.count" in conflict


def test_client_side_apply_can_become_server_side(kubectl, group):
    kubectl.run("apply", "-f", "-", given=a_widget(group, count=1))

    assert "serverside-applied" in kubectl.run("apply", "--server-side", "-f", "-", given=a_widget(group, count=2))


def test_invalid_object_is_refused_with_its_reason(kubectl, group):
    refused = kubectl.run("apply", "-f", "-", given=a_widget(group, color="green"), fails=True)

    assert "Unsupported value" in refused
    assert "spec.color" in refused


def test_misspelt_field_is_refused(kubectl, group):
    assert "colour" in kubectl.run("create", "-f", "-", given=a_widget(group, colour="red"), fails=True)


def test_get_shows_columns(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group, count=3))

    narrow = kubectl.run("get", f"widgets.{group}")
    wide = kubectl.run("get", f"widgets.{group}", "-o", "wide")

    assert narrow.splitlines()[0].split() == ["NAME", "COLOR", "PHASE", "READY", "AGE"]
    assert wide.splitlines()[0].split()[-1] == "COUNT"
    assert wide.splitlines()[1].split()[:2] == ["w", "red"]


def test_short_names_work(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group))

    assert "w " in kubectl.run("get", f"wd{group.partition('.')[0]}")


def test_describe_shows_an_object(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group))

    described = kubectl.run("describe", f"widgets.{group}", "w")

    assert "Kind:         Widget" in described
    assert "Color:  red" in described


def test_explain_describes_built_in_fields(kubectl):
    explained = kubectl.run("explain", "pod.spec.containers")

    assert "List of containers belonging to the pod" in explained
    assert "image" in explained


def test_explain_describes_custom_fields(kubectl, group):
    assert "color\t<string>" in kubectl.run("explain", f"widgets.{group}", "--recursive")


def test_wait_sees_a_condition(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group))
    status = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    kubectl.run("patch", f"widgets.{group}", "w", "--subresource=status", "--type=merge", "-p", status)

    assert "condition met" in kubectl.run("wait", "--for=condition=Ready", f"widgets.{group}/w", "--timeout=10s")


def test_events_are_listed(kubectl, namespace):
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": namespace},
        "reason": "Because",
        "message": "it is so",
        "type": "Warning",
    }
    kubectl.run("create", "-f", "-", given=event)

    assert "it is so" in kubectl.run("get", "events")
    assert "it is so" in kubectl.run("get", "events", "--field-selector", "involvedObject.name=p")
    assert "pod/p" in kubectl.run("events").lower()


def test_patch_label_and_annotate(kubectl):
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    kubectl.run("create", "-f", "-", given=content)

    assert "patched" in kubectl.run("patch", "configmap", "a", "-p", '{"data":{"y":"2"}}')
    assert "labeled" in kubectl.run("label", "configmap", "a", "app=b")
    assert "annotated" in kubectl.run("annotate", "configmap", "a", "note=c")
    assert "replaced" in kubectl.run("replace", "-f", "-", given={**content, "data": {"z": "3"}})

    stored = json.loads(kubectl.run("get", "configmap", "a", "-o", "json"))
    assert stored["data"] == {"z": "3"}


def test_resources_are_listed(kubectl, group):
    listed = kubectl.run("api-resources", "--no-headers")

    assert "deployments" in listed
    assert f"{group}/v1" in listed


def test_deletion_waits_for_the_end(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group))

    assert "deleted" in kubectl.run("delete", f"widgets.{group}", "w", "--timeout=10s")
    assert "NotFound" in kubectl.run("get", f"widgets.{group}", "w", fails=True)


def test_watch_prints_what_is_there(kubectl, group):
    kubectl.run("create", "-f", "-", given=a_widget(group))

    assert "w " in kubectl.run("get", f"widgets.{group}", "--watch", "--request-timeout=2s")


def test_delete_namespace(kubectl, unique):
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": unique}}
    kubectl.run("create", "-f", "-", given=namespace)
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": unique}}
    kubectl.run("create", "--namespace", unique, "-f", "-", given=content)

    assert "deleted" in kubectl.run("delete", "namespace", unique, "--timeout=15s")
    assert "NotFound" in kubectl.run("get", "namespace", unique, fails=True)


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ("create configmap a --from-literal=x=y", "configmap/a"),
        ("create secret generic a --from-literal=x=y", "secret/a"),
        ("create serviceaccount a", "serviceaccount/a"),
        ("create deployment a --image=b --replicas=2 --port=80", "deployment.apps/a"),
        ("create job a --image=b", "job.batch/a"),
        ("create service clusterip a --tcp=80:8080", "service/a"),
        ("create ingress a --rule=b.test/c=d:80", "ingress.networking.k8s.io/a"),
        ("create quota a --hard=pods=1", "resourcequota/a"),
        ("create role a --verb=get --resource=pods", "role.rbac.authorization.k8s.io/a"),
        ("create rolebinding a --clusterrole=b --user=c", "rolebinding.rbac.authorization.k8s.io/a"),
        ("run a --image=b --env=C=d", "pod/a"),
    ],
)
def test_create_commands_create(kubectl, arguments, made):
    # They send protobuf, where the commands that read a file send JSON.
    assert f"{made} created" in kubectl.run(*arguments.split())


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ("create cronjob a --image=b --schedule=@hourly", "cronjob.batch/a"),
        ("create pdb a --selector=b=c --min-available=50%", "poddisruptionbudget.policy/a"),
    ],
)
def test_create_commands_of_newer_kinds_create(kubectl, arguments, made):
    assert f"{made} created" in kubectl.run(*arguments.split())


def test_created_namespace_is_active(kubectl, unique):
    kubectl.run("create", "namespace", unique)

    assert kubectl.run("get", "namespace", unique, "-o", "jsonpath={.status.phase}") == "Active"
    kubectl.run("delete", "namespace", unique, "--wait=false")


def test_deployment_is_changed_by_commands(kubectl):
    kubectl.run("create", "deployment", "a", "--image=b", "--replicas=2")

    kubectl.run("scale", "deployment", "a", "--replicas=3")
    kubectl.run("set", "image", "deployment/a", "b=c:2")
    kubectl.run("set", "env", "deployment/a", "D=e")
    kubectl.run("set", "resources", "deployment/a", "--limits=cpu=200m")
    kubectl.run("expose", "deployment", "a", "--port=80")  # muster: ignore[M201] a Service's port, which nothing binds

    spec = json.loads(kubectl.run("get", "deployment", "a", "-o", "json"))["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (spec["replicas"], spec["strategy"]["type"]) == (3, "RollingUpdate")
    assert (container["image"], container["env"]) == ("c:2", [{"name": "D", "value": "e"}])
    assert container["resources"]["limits"] == {"cpu": "200m"}


def test_permissions_are_asked_for(kubectl):
    assert kubectl.run("auth", "can-i", "create", "pods").startswith("yes")


def test_user_is_named(kubectl):
    assert "system:masters" in kubectl.run("auth", "whoami")
