"""Tests of a policy as a table in YAML: facts of a signal, and what is expected of the decision.

```yaml
defaults:
  namespace: shop
cases:
  - name: a crash in production wakes somebody
    facts: {alert: KubePodCrashLooping, severity: critical, environment: production}
    expect: {priority: P0, rule: production-critical}
```
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kubernaut.api.vocabulary import Environment, Label
from kubernaut.signalprocessing.policy.documents import policy_input_of
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.watched_file import InvalidFile, read_text

PATTERNS = ("*_cases.yaml", "*_cases.yml", "*_test.yaml", "*_test.yml")
"""Names of files that hold such a table."""

MAX_BYTES = 4 * 1024 * 1024


class _Facts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a case says of its signal, in short."""

    alert: str = "Alert"
    severity: str = ""
    type: str = "alert"
    source: str = "prometheus"
    labels: dict[str, str] = {}
    """Of the alert."""
    environment: str = ""
    """The namespace's label `kubernaut.ai/environment`."""
    team: str = ""
    """The namespace's label `kubernaut.ai/team`."""
    namespace: str = ""
    namespace_labels: dict[str, str] = {}
    workload: str = ""
    """`Kind/name`."""
    workload_labels: dict[str, str] = {}
    workload_annotations: dict[str, str] = {}
    owners: list[str] = []
    """`Kind/name`, the nearest first."""
    detected: dict[str, Any] = {}
    cluster_labels: dict[str, str] = {}
    mapping: str = ""
    """What the ConfigMap with the environment mapping says of the namespace."""


class Expectation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Parts of a decision; those that are left out may be anything."""

    environment: str | None = None
    environment_source: str | None = None
    severity: str | None = None
    priority: str | None = None
    rule: str | None = None
    """`policy_name` of the priority."""
    labels: dict[str, list[str] | str] | None = None
    cluster: str | None = None
    business: dict[str, str] | None = None
    fallback: list[str] = []
    """Rules that are expected to fail."""


class _Case(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    facts: dict[str, Any] | None = None
    input: dict[str, Any] | None = None
    expect: Expectation


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cases: list[_Case]
    defaults: dict[str, Any] = {}


class Case(msgspec.Struct, kw_only=True, frozen=True):
    """One case, ready to be evaluated."""

    file: str
    name: str
    policy_input: PolicyInput
    expect: Expectation
    document: dict[str, Any] | None = None
    """The document as the table gives it; None for a case that gives facts."""


def read(path: Path) -> list[Case]:
    """The cases of a file. Raises PolicyError, naming the case and the field."""
    try:
        content = yaml.load(read_text(path, MAX_BYTES), Loader=yaml.CSafeLoader)
        table = msgspec.convert(content, _Table)
    except InvalidFile as error:
        raise PolicyError(str(error), file=path.name) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise PolicyError(f"not YAML: {error.problem}", file=path.name, line=line, column=column) from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise PolicyError(f"not a table of cases: {error}", file=path.name) from error
    return [_case(path.name, each, table.defaults) for each in table.cases]


def mismatches(expect: Expectation, outcome: Mapping[str, Any]) -> list[str]:
    """What is expected and is not so, each as one sentence."""
    found = []
    for name, key in _PLAIN.items():
        expected = getattr(expect, name)
        if expected is not None and outcome[key] != expected:
            found.append(f"{name} is {outcome[key] or 'empty'}, expected {expected or 'empty'}")
    if expect.labels is not None:
        labels = {key: [value] if isinstance(value, str) else value for key, value in expect.labels.items()}
        if labels != outcome["labels"]:
            found.append(f"labels are {_json(outcome['labels'])}, expected {_json(labels)}")
    if expect.business is not None:
        business = outcome["business"] or {}
        found += [
            f"business {key} is {business.get(key) or 'empty'}, expected {value}"
            for key, value in expect.business.items()
            if business.get(key) != value
        ]
    failed = {each["rule"]: each["message"] for each in outcome["failures"]}
    found += [f"{rule} failed: {text}" for rule, text in failed.items() if rule not in expect.fallback]
    found += [f"{rule} is expected to fail and did not" for rule in expect.fallback if rule not in failed]
    return found


_PLAIN = {
    "environment": "environment",
    "environment_source": "environmentSource",
    "severity": "severity",
    "priority": "priority",
    "rule": "policyName",
    "cluster": "cluster",
}


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _case(file: str, case: _Case, defaults: Mapping[str, Any]) -> Case:
    try:
        if (case.facts is None) == (case.input is None):
            raise ValueError("either `facts` or `input` is expected")
        if case.facts is None:
            document = case.input or {}
        else:
            document = _document(msgspec.convert({**defaults, **case.facts}, _Facts))
        policy_input = policy_input_of(document)
    except (ValueError, PolicyError) as error:
        raise PolicyError(f'case "{case.name}": {error}', file=file) from error
    return Case(file=file, name=case.name, policy_input=policy_input, expect=case.expect, document=case.input)


def _document(facts: _Facts) -> dict[str, Any]:
    labels = {Label.ENVIRONMENT.value: facts.environment, Label.TEAM.value: facts.team}
    labels = {key: value for key, value in labels.items() if value} | facts.namespace_labels
    document: dict[str, Any] = {
        "signal": {
            "name": facts.alert,
            "severity": facts.severity,
            "type": facts.type,
            "source": facts.source,
            "labels": facts.labels,
        },
        "namespace": {"name": facts.namespace or ("shop" if labels else ""), "labels": labels},
    }
    if facts.workload:
        document["workload"] = {
            **_object(facts.workload),
            "labels": facts.workload_labels,
            "annotations": facts.workload_annotations,
            "ownerChain": [_object(owner) for owner in facts.owners],
        }
    if facts.detected:
        document["detectedLabels"] = facts.detected
    if facts.cluster_labels:
        document["cluster"] = {"labels": facts.cluster_labels}
    if facts.mapping:
        document["fallbackEnvironment"] = {"environment": Environment(facts.mapping).value, "source": "configmap"}
    return document


def _object(text: str) -> dict[str, str]:
    kind, separator, name = text.partition("/")
    if not separator:
        raise ValueError(f"{text!r}: Kind/name is expected")
    return {"kind": kind, "name": name}
