"""What real senders send is decided by `kubernaut process` as by a cluster of the same manifests."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from acceptance.test_cases import CASES, WEBHOOK, moved, since_written
from kubernaut.cli.output import Output
from kubernaut.cli.process import process
from support.case_cluster import CaseFolder

HERE = [row for row in CASES if not any(step.startswith("-") for step in row.values[0].files)]
"""Nothing is deleted in a folder."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("manifests")


@pytest.fixture
async def shop(folder):
    """The namespaces of the shop and of its functions."""
    names = folder / "names"
    if not names.exists():
        cluster = CaseFolder()
        await cluster.add_common()
        names.write_text(" ".join(await cluster.add_shop()))
        (folder / "cluster.yaml").write_text(yaml.safe_dump_all(cluster.manifests))
    return names.read_text().split()


@pytest.mark.parametrize("row", HERE)
async def test_a_case_is_decided_as_in_a_cluster(folder, shop, row, tmp_path, capsys):
    by = since_written()
    paths = [payload(tmp_path / f"{step}.json", step, shop, by) for step in row.files]

    code = await process(*paths, cluster=folder, output=Output.JSON)

    decided = json.loads(capsys.readouterr().out)
    assert code == 0
    assert sorted(decision(signal) for signal in decided) == sorted(expectation(each, shop) for each in row.signals)
    chains = {len(signal["status"]["kubernetesContext"].get("ownerChain", ())) for signal in decided}
    assert {each.chain for each in row.signals if each.chain is not None} <= chains


def payload(path: Path, step, shop, by) -> Path:
    body = re.sub(rb"\bshop\b", shop[0].encode(), (WEBHOOK / f"{step}.json").read_bytes())
    path.write_bytes(moved(re.sub(rb"\bfn\b", shop[1].encode(), body), by))
    return path


def decision(signal):
    """What was decided; without severity and priority where the case is about how severities are spelt."""
    about, status = signal["spec"]["signal"], signal["status"]
    is_spelling = re.fullmatch(r"S\d+", about["name"])
    return (
        about["targetResource"]["kind"],
        about["fingerprint"],
        status["environmentClassification"]["environment"],
        "" if is_spelling else status["signalClassification"]["severity"],
        "" if is_spelling else status["priorityAssignment"]["priority"],
        status["kubernetesContext"].get("degradedMode", False),
    )


def expectation(expected, shop):
    kind = expected.target.partition("/")[0].partition(".")[0]
    owner_kind, _, rest = (expected.owner or expected.target).partition("/")
    name, at, namespace = rest.partition("@")
    names = {"shop": shop[0], "fn": shop[1]}
    name = names.get(name, name) if owner_kind == "Namespace" else name
    where = names.get(namespace, namespace) if at else shop[0]
    owner = ":".join(part for part in (expected.cluster, f"{where}:{owner_kind.partition('.')[0]}:{name}") if part)
    return (
        kind,
        hashlib.sha256(owner.encode()).hexdigest(),
        expected.environment,
        expected.severity or "",
        expected.priority if expected.severity else "",
        expected.is_degraded,
    )
