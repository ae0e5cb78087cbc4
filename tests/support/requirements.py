"""The requirements of signal processing, and the tests that bear their ids: read from the code of the tests."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.suite import inventory

TESTS = Path(__file__).parents[1]
FOLDERS = tuple(
    TESTS / level / part
    for level, parts in (
        ("unit", ("signalprocessing", "api", "kube")),
        ("integration", ("signalprocessing", "audit", "deploy")),
    )
    for part in parts
)


@dataclass(frozen=True)
class Requirement:
    """One business requirement."""

    id: str
    title: str
    dropped: str = ""
    """Why there is none of it here; empty where it is kept."""


BUSINESS = (
    Requirement("BR-SP-001", "The target's context is read from Kubernetes"),
    Requirement("BR-SP-002", "Business unit, owner, criticality and SLA"),
    Requirement("BR-SP-003", "A retried remediation carries what came before"),
    Requirement("BR-SP-006", "Rules that drop signals", "deprecated: the gateway decides what becomes a signal"),
    Requirement("BR-SP-012", "Counts of past occurrences", "deprecated: the gateway counts on the request"),
    Requirement("BR-SP-051", "The environment is the namespace's label, and no other one"),
    Requirement("BR-SP-052", "A ConfigMap maps namespaces to environments, and an edit takes effect"),
    Requirement("BR-SP-053", "An environment that nothing tells is unknown, and fails no signal"),
    Requirement("BR-SP-070", "A policy decides the priority"),
    Requirement("BR-SP-071", "Without an answer of the policy the severity ranks the signal"),
    Requirement("BR-SP-072", "A changed policy takes effect, a bad one does not"),
    Requirement("BR-SP-080", "Every decision names its source; labels of senders are not trusted"),
    Requirement("BR-SP-081", "The dimensions of a category are independent"),
    Requirement("BR-SP-090", "An audit trail that blocks nothing"),
    Requirement("BR-SP-095", "Kubernetes Events on the signal"),
    Requirement("BR-SP-100", "The chain of owners"),
    Requirement("BR-SP-101", "Detected characteristics"),
    Requirement("BR-SP-102", "Custom labels of the policy, in a sandbox and within limits"),
    Requirement("BR-SP-103", "A failed detection is told from a negative one"),
    Requirement("BR-SP-104", "Reserved labels cannot be overwritten"),
    Requirement("BR-SP-105", "Any severity scheme is normalised by the policy"),
    Requirement("BR-SP-106", "Proactive signals keep their original name"),
    Requirement("BR-SP-110", "Conditions as Kubernetes has them"),
    Requirement("BR-SP-111", "Back-off for what may pass"),
    Requirement("BR-SP-112", "Cluster-scoped targets"),
)

DEFECTS = (
    Requirement("DEFECT-01", "The policy that comes along is no valid Rego"),
    Requirement("DEFECT-02", "An environment in free text is written until the deadline, and reported as a timeout"),
    Requirement("DEFECT-03", "A failed enrichment never ends"),
    Requirement("DEFECT-04", "A failed signal has no completion time and no audit events of its end"),
    Requirement("DEFECT-05", "Nothing happens at the deadline by itself"),
    Requirement("DEFECT-06", "A decision mixes policy and hash of two versions"),
    Requirement("DEFECT-07", "Which ten labels are kept is chance"),
    Requirement("DEFECT-08", "Reserved labels are not left out"),
    Requirement("DEFECT-09", "The audit trail always drops the source of the priority"),
    Requirement("DEFECT-10", "A target in another cluster is looked up in this one"),
    Requirement("DEFECT-11", "Mounted files are read once"),
    Requirement("DEFECT-12", "A completed signal keeps the error of an earlier attempt"),
    Requirement("DEFECT-13", "A failure costs 30 seconds at least"),
    Requirement("DEFECT-14", "Secrets get into the status"),
    Requirement("DEFECT-15", "Keys of the configuration are accepted and ignored"),
    Requirement("DEFECT-16", "Documented metrics do not exist"),
)
"""Defects of the Go original that are not to come back."""

LESSONS = (
    Requirement("LESSON-01", "Phases in another spelling leave consumers waiting"),
    Requirement("LESSON-02", "Parts are tested that the started program does not have"),
    Requirement("LESSON-03", "The environment mapping is read before its cache has started"),
    Requirement("LESSON-04", "Decisions on a stale or empty cache"),
    Requirement("LESSON-05", "Fields are lost when a status is written again after a conflict"),
    Requirement("LESSON-06", "A signal that its parent ended is processed on"),
    Requirement("LESSON-07", "Overlapping rules conflict while the policy runs"),
    Requirement("LESSON-08", "Times that a policy returns make the API server reject the status"),
    Requirement("LESSON-09", "Two policy files in one package clash"),
    Requirement("LESSON-10", "The case of a sender's severity is changed before a policy sees it"),
    Requirement("LESSON-11", "Errors of the API server count as success"),
    Requirement("LESSON-12", "An unknown phase is processed as if it were another one"),
    Requirement("LESSON-13", "Audit events wait for minutes, or are lost at the end"),
    Requirement("LESSON-14", "Metrics of two instances in one process collide"),
    Requirement("LESSON-15", "Ports are not those of the documentation"),
    Requirement("LESSON-16", "Files are mounted in a way that never updates them"),
    Requirement("LESSON-17", "One save of a file is several reloads and errors"),
    Requirement("LESSON-18", "A validation rule keeps the CRD from being installed"),
    Requirement("LESSON-19", "Every look-up of the parent fails in silence"),
    Requirement("LESSON-20", "Targets without a namespace fail"),
    Requirement("LESSON-21", "Caches grow without a bound"),
    Requirement("LESSON-22", "Some environments have no criticality"),
    Requirement("LESSON-23", "A shutdown counts as a failure"),
    Requirement("LESSON-24", "A faulty configuration is ignored"),
    Requirement("LESSON-25", "A slow start is taken for a dead process"),
    Requirement("LESSON-26", "Permissions that nothing needs"),
    Requirement("LESSON-27", "Labels of the sender decide the environment"),
    Requirement("LESSON-28", "Labels of the workload decide the environment"),
    Requirement(
        "LESSON-29",
        "A change of an interface leaves tests that do not compile",
        "a rule of how changes are made: types and tests are checked before each",
    ),
    Requirement("LESSON-30", "Tests pass because a missing target is not noticed"),
)
"""What went wrong once in the Go original and was learnt from there."""


@cache
def by_requirement() -> dict[str, list[str]]:
    """The tests of each id, as `file::function`, those of the integration suite by the id of their spec."""
    found: dict[str, list[str]] = {}
    for folder in FOLDERS:
        for path in sorted(folder.rglob("test_*.py")):
            for id, function in _marked(path):
                found.setdefault(id, []).append(f"`{path.relative_to(TESTS)}::{function}`")
    for spec in inventory.specs():
        for id in spec.requirements:
            found.setdefault(id, []).append(spec.id)
    return found


def _marked(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.requirement":
                yield from ((ast.literal_eval(argument), node.name) for argument in decorator.args)
