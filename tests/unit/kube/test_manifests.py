"""A folder of manifests is read as kubectl reads it."""

import importlib
import pkgutil

import lightkube.resources
import pytest
from lightkube.core.resource import GlobalResource, NamespacedResource

from kubernaut.kube.manifests import CLUSTER_SCOPED, ManifestError, _is_builtin, documents, read

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sites.example.com}
spec: {group: example.com, scope: %s, names: {kind: Site, plural: sites}, versions: [{name: v1}, {name: v2}]}
"""
SITE = "apiVersion: example.com/v1\nkind: Site\nmetadata: {name: a%s}\n"


def found(tmp_path, *, recursive=False, **files):
    """Kind, namespace and name of everything in files, whose names are the keywords."""
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [
        (each.content["kind"], each.content["metadata"].get("namespace"), each.content["metadata"]["name"])
        for each in read(tmp_path, recursive=recursive).objects
    ]


A_POD = ("Pod", "default", "a")
A_CRD = ("CustomResourceDefinition", None, "sites.example.com")
LIST = '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}]}'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (POD, [A_POD]),
        ("", []),
        ("---\n---\n# only a comment\n", []),
        (f"---\n{POD}---\n---\n{POD}...\n", [A_POD, A_POD]),
        ("\ufeff" + POD, [A_POD]),
        (POD.replace("\n", "\r\n"), [A_POD]),
        (POD + "spec: null\nstatus:\n", [A_POD]),
        (POD.replace("{name: a}", "{name: a, labels: , namespace: null, annotations: {x: null}}"), [A_POD]),
        (POD.replace("}", ", creationTimestamp: 2026-01-01T00:00:00Z, annotations: {at: 2026-01-01}}"), [A_POD]),
        ('{"apiVersion":\t"v1", "kind": "Pod", "metadata": {"name": "a"}, "x": "\\/"}', [A_POD]),
        (LIST, [("Node", None, "n")]),
        ("apiVersion: v1\nkind: PodList\nitems: null\n", []),
        ("apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n", [A_POD]),
        ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}\n' * 2, [A_POD, A_POD]),
        ("null\n---\n~\n---\n" + POD, [A_POD]),
        ("--- # first\n" + POD, [A_POD]),
        (POD.encode("utf-16"), [A_POD]),
        ("apiVersion: v1\nkind: Pod\nmetadata: &m {name: a, labels: &l {x: y}}\nspec: {z: *l}\n", [A_POD]),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: n, namespace: x}\n", [("Node", None, "n")]),
        ("apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: d}\n", [("Deployment", "default", "d")]),
        (SITE % "", [("Site", None, "a")]),
        (SITE % ", namespace: shop", [("Site", "shop", "a")]),
        (SITE % "" + "---\n" + CRD % "Namespaced", [("Site", "default", "a"), A_CRD]),
        (CRD % "Cluster" + "---\n" + SITE % ", namespace: x", [A_CRD, ("Site", None, "a")]),
    ],
)
def test_a_file_is_read_as_by_kubectl(tmp_path, content, expected):
    assert found(tmp_path, a_yaml=content) == expected


def test_folders_are_read_in_order_and_only_manifests(tmp_path):
    names = found(
        tmp_path, recursive=True, b_yaml=POD, a__c_yml=POD, a__d_json=b'{"kind":"List","items":[]}', x_sh="#!/bin/sh"
    )

    assert names == [A_POD, A_POD]


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_a_kustomization_is_left_out_and_noted(tmp_path, name):
    (tmp_path / name).write_text("resources: [a.yaml]\n")
    (tmp_path / "a.yaml").write_text(POD)

    result = read(tmp_path)

    assert len(result.objects) == 1
    assert [name in note and "kubectl kustomize" in note for note in result.notes] == [True]


def test_one_file_is_enough(tmp_path):
    (tmp_path / "a.yaml").write_text(POD)

    assert len(read(tmp_path / "a.yaml").objects) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("just text", "document 1: not a Kubernetes object"),
        (f"{POD}---\n- a\n", "document 2: not a Kubernetes object"),
        ("a: b\n", "apiVersion is not set"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind is not set"),
        ("apiVersion: v1\nkind: Pod\n", "metadata.name is not set"),
        ("apiVersion: v1\nkind: Pod\nmetadata: 3\n", "metadata.name is not set"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n", "metadata.name is not set"),
        ("apiVersion: v1\nkind: List\nitems: [3]\n", "not a Kubernetes object"),
        ("a: [", "a.yaml:2:1: not valid JSON or YAML"),
        ("a: b\nb:\n\tc: d\n", "a.yaml:3:1: not valid JSON or YAML: found character"),
        ("a:\n  b: c\n  \td: e\n", "not with tabs"),
        ("metadata:\n  name: {{ .Values.name }}\n", "give what `helm template` prints"),
        ("{{- if .Values.x }}\na: b\n{{- end }}\n", "give what `helm template` prints"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n", "metadata.name is no text but 12: put it in quotes"),
        (POD.replace("}", ", labels: {x: yes}}"), "metadata.labels.x is no text but true"),
        (POD.replace("}", ", annotations: {x: 012}}"), "metadata.annotations.x is no text but 10"),
        ("{{ .Values.a }}", "not"),
        (b"\xff\xfe\x00", "not valid JSON or YAML"),
        (b"a: \x80", "not UTF-8: invalid start byte at byte 4"),
        (b"\x00\x01", "not valid JSON or YAML: control characters are not allowed"),
        ("[" * 5000, "not valid JSON or YAML"),
        ("a: &a [*a, *a]\n", "nested too deep"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path, content, says):
    with pytest.raises(ManifestError, match=r"a\.yaml.*") as error:
        found(tmp_path, a_yaml=content)

    assert says in str(error.value)


def test_folders_in_the_folder_are_read_where_that_is_asked_for(tmp_path):
    assert found(tmp_path, a_yaml=POD, b__c_yaml=POD, b__d__e_yml=POD) == [A_POD]
    assert any("2 files in folders below it are left out" in each for each in read(tmp_path).notes)
    assert len(read(tmp_path, recursive=True).objects) == 3


def test_a_link_is_read_and_one_to_nothing_is_named(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere/a.yaml").write_text(POD)
    (tmp_path / "folder/b.yaml").symlink_to(tmp_path / "elsewhere/a.yaml")

    assert len(read(tmp_path / "folder").objects) == 1
    (tmp_path / "folder/c.yaml").symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(ManifestError, match=r"c\.yaml: is a link to a file that is not there"):
        read(tmp_path / "folder")


def test_an_object_that_stands_there_twice_is_noted(tmp_path):
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "b.yaml").write_text(POD)

    (line,) = read(tmp_path).notes
    assert line == f"{tmp_path}/b.yaml: Pod/a in default stands in {tmp_path}/a.yaml as well; the last one counts"


@pytest.mark.parametrize("files", [{}, {"a.yaml": ""}, {"a.yaml": "# only a comment\n"}, {"a.YAML": POD}])
def test_a_folder_without_manifests_is_noted(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    assert ["has no manifests" in each for each in read(tmp_path).notes] == [True]


def test_a_file_of_json_is_told_the_fault_of_json(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n "b": }')

    with pytest.raises(ManifestError, match=r"a\.json:2:7: not valid JSON: Expecting value"):
        read(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.yaml").symlink_to("/proc/self/mem")  # whose beginning nobody can read, not even root

    with pytest.raises(ManifestError, match=r"a\.yaml: "):
        read(tmp_path)


def test_a_large_file_is_read(tmp_path):
    one = f"{POD}spec: {{x: {'y' * 1000}}}\n"
    (tmp_path / "a.yaml").write_text("---\n".join(one.replace("name: a", f"name: a{i}") for i in range(2000)))

    assert len(read(tmp_path).objects) == 2000


def test_a_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ManifestError, match="no such file or folder"):
        read(tmp_path / "nowhere")


def test_documents_of_a_stream_are_all_read():
    assert documents(b'{"a": 1}\n---\n{"b": 2}\n', "-") == [{"a": 1}, {"b": 2}]


def test_the_kinds_without_a_namespace_are_those_of_kubernetes():
    """lightkube's resources are generated from the API's own description."""
    cluster_scoped, namespaced = set(), set()
    for module in pkgutil.iter_modules(lightkube.resources.__path__):
        for value in vars(importlib.import_module(f"lightkube.resources.{module.name}")).values():
            info = getattr(value, "_api_info", None)
            if isinstance(value, type) and info is not None:
                kind = (info.resource.group, info.resource.kind)
                if issubclass(value, GlobalResource):
                    cluster_scoped.add(kind)
                elif issubclass(value, NamespacedResource):
                    namespaced.add(kind)

    assert len(namespaced) > 30
    assert cluster_scoped <= CLUSTER_SCOPED
    assert not namespaced & CLUSTER_SCOPED
    assert all(_is_builtin(group) for group, _ in namespaced)
