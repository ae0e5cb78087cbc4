"""kubectl itself is the oracle: it renders the same template for the same object, without a cluster."""

import json
import shutil
import subprocess

import pytest

from kubernaut.cli.jsonpath import InvalidTemplate, Template

OBJECT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "api", "labels": {"a.b/c": "x", "tier": "web"}, "namespace": "shop"},
    "spec": {
        "nodeName": "worker-1",
        "containers": [
            {"name": "main", "image": "i:1", "ports": [{"containerPort": 80}, {"containerPort": 443}]},
            {"name": "side", "image": "i:2", "ports": [{"containerPort": 9090}]},
        ],
    },
}

TEMPLATES = [
    "{.metadata.name}",
    "{$.metadata.name}",
    "{.metadata.name}/{.metadata.namespace}",
    "{ .metadata.name }",
    r"{.metadata.labels.a\.b/c}",
    r"{.metadata.labels['a\.b/c']}",
    "{.metadata['name']}",
    "{.metadata['name','namespace']}",
    "{.metadata.nope}",
    "{.spec.containers[*].name}",
    "{.spec.containers[0].name}",
    "{.spec.containers[-1].name}",
    "{.spec.containers[0:1].name}",
    "{.spec.containers[:].name}",
    "{.spec.containers[1:].name}",
    "{.spec.containers[0,1].name}",
    "{.spec.containers[*].ports[*].containerPort}",
    "{.spec.containers[?(@.name=='side')].image}",
    '{.spec.containers[?(@.name!="side")].image}',
    "{.spec.containers[?(@.ports)].name}",
    "{.spec.containers[*].ports[?(@.containerPort>100)].containerPort}",
    "{..containerPort}",
    "{.spec.containers[0].ports[0]}",
    "{.spec.containers[0].ports}",
    '{range .spec.containers[*]}{.name}{"\\t"}{.image}{"\\n"}{end}',
    "{range .spec.containers[*]}{.name}:{range .ports[*]} {.containerPort}{end};{end}",
    "{range .spec.containers[*]}[{.name}, {$.metadata.name}]{end}",
    "name={.metadata.name}, node={.spec.nodeName}",
    "{'text'}{.metadata.name}",
]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_rendered_as_by_kubectl(template, tmp_path):
    (tmp_path / "pod.json").write_text(json.dumps(OBJECT))
    # A label that is set to what it is: nothing changes, and nothing is asked of a cluster.
    command = ["kubectl", "label", "--local", "--overwrite", "-f", tmp_path / "pod.json", "tier=web"]

    told = subprocess.run(
        [*map(str, command), "-o", f"jsonpath={template}"], capture_output=True, text=True, timeout=20, check=False
    )

    assert told.returncode == 0, told.stderr
    assert Template(template).render(OBJECT) == told.stdout


@pytest.mark.parametrize(
    "template",
    ["", ".metadata.name", "{", "{.a", "{range .a}", "{end}", "{.a[}", "{.a[?(@.b)}", "{'a}", "{.a[?(@.b==c)]}", "}"],
)
def test_a_template_that_is_none_is_refused(template):
    with pytest.raises(InvalidTemplate):
        Template(template).render(OBJECT)


def test_an_index_beyond_the_end_is_told():
    with pytest.raises(InvalidTemplate, match="index 7, length 2"):
        Template("{.spec.containers[7].name}").render(OBJECT)
