"""A folder of manifests has for us the objects that it has for kubectl, or a fault where kubectl finds one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kubernaut.kube.manifests import ManifestError, read

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: i}]}\n"
A, B = POD % "a", POD % "b"
JSON = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}'
HEAD = "apiVersion: v1\nkind: Pod\nmetadata:\n"

FOLDERS: dict[str, dict[str, str | bytes]] = {
    "several documents": {"a.yaml": f"{A}---\n{B}"},
    "a document that ends": {"a.yaml": f"{A}...\n---\n{B}"},
    "comments at separators": {"a.yaml": f"--- # first\n{A}--- # second\n{B}"},
    "json": {"a.json": JSON},
    "several json": {"a.json": JSON + "\n" + JSON.replace('"a"', '"b"')},
    "json in yaml": {"a.yaml": JSON},
    "list": {"a.yaml": '{"apiVersion": "v1", "kind": "List", "items": [' + JSON + "]}"},
    "list of a kind": {"a.yaml": "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n"},
    "list of null": {"a.yaml": "apiVersion: v1\nkind: List\nitems: null\n", "b.yaml": B},
    "empty file": {"a.yaml": "", "b.yaml": B},
    "comments only": {"a.yaml": "# nothing\n", "b.yaml": B},
    "null documents": {"a.yaml": f"null\n---\n~\n---\n{A}"},
    "null maps": {"a.yaml": f"{HEAD}  name: a\n  labels:\n  annotations: null\nspec:\n"},
    "byte order mark": {"a.yaml": b"\xef\xbb\xbf" + A.encode()},
    "utf-16": {"a.yaml": A.encode("utf-16")},
    "crlf": {"a.yaml": f"{A}---\n{B}".replace("\n", "\r\n")},
    "anchors": {"a.yaml": f"{HEAD}  name: a\n  labels: &l {{x: z}}\nspec: {{nodeSelector: *l}}\n"},
    "merge keys": {"a.yaml": f"{HEAD}  <<: {{name: a}}\n"},
    "a key twice": {"a.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nkind: Pod\n"},
    "hidden file": {".a.yaml": A},
    "other files": {"README.md": "x", "a.yaml": A},
    "folders": {"a.yaml": A, "sub/b.yaml": B},
    "tabs": {"a.yaml": f"{HEAD}\tname: a\n"},
    "helm": {"a.yaml": f"{HEAD}  name: {{{{ .Values.name }}}}\n"},
    "values": {"values.yaml": "replicas: 3\n"},
    "array": {"a.yaml": "- a\n"},
    "text": {"a.yaml": "hello\n"},
    "no kind": {"a.yaml": "apiVersion: v1\nmetadata: {name: a}\n"},
    "binary": {"a.yaml": b"\x00\x01\x02\xff\xfe"},
    "number as name": {"a.yaml": f"{HEAD}  name: 123\n"},
    "boolean as label": {"a.yaml": f"{HEAD}  name: a\n  labels: {{x: yes}}\n"},
    "upper case": {"a.YAML": A},
    "link": {"a.yaml": A, "b.yaml": "-> nowhere"},
}
NOTED = {"upper case"}
"""What is a fault for kubectl, and for us a cluster without objects, which a note says."""


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_has_the_objects_that_it_has_for_kubectl(name: str, recursive: bool, tmp_path: Path, kubernetes: Path):
    for path, content in FOLDERS[name].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            (tmp_path / path).symlink_to(content[3:])
        else:
            (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    try:
        found = read(tmp_path, recursive=recursive)
        ours = sorted(f"{each.content['kind']}/{each.content['metadata']['name']}".lower() for each in found.objects)
    except ManifestError:
        ours = None

    assert ours == ([] if name in NOTED else _by_kubectl(tmp_path, kubernetes, recursive=recursive))


def _by_kubectl(folder: Path, kubeconfig: Path, *, recursive: bool) -> list[str] | None:
    """The objects by kind and name; None when it finds a fault."""
    command = ["kubectl", "create", "--dry-run=client", "--validate=false", "-o", "name"]
    command += [f"--recursive={str(recursive).lower()}", f"--kubeconfig={kubeconfig}", f"--filename={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return sorted(done.stdout.split()) if done.returncode == 0 else None
