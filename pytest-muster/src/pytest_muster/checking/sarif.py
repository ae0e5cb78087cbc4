"""Findings as SARIF 2.1.0, which code review tools show beside the changed lines."""

import hashlib
from importlib.metadata import version
from typing import Any

from pytest_muster.checking.engine import METAS, Violation
from pytest_muster.checking.rules import all_rules

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(violations: list[Violation]) -> dict[str, Any]:
    """One run with all rules and these results. Paths are relative to the root of the project."""
    rules = [_meta(one.id, one.name, one.title, one.remedy) for one in METAS]
    rules += [
        {
            "id": rule.id,
            "name": rule.name,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": f"{rule.title} {rule.reason}"},
            "help": {
                "text": f"{rule.reason}\n\n{rule.remedy}",
                "markdown": f"{rule.reason}\n\n**Instead:** {rule.remedy}\n\nFound:\n\n```python\n{rule.bad}```\n\n"
                f"Not found:\n\n```python\n{rule.good}```\n",
            },
            "defaultConfiguration": {"level": str(rule.level)},
            "properties": {"tags": ["tests", "parallel"], "precision": "high", "problem.severity": str(rule.level)},
        }
        for rule in all_rules().values()
    ]
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    seen: dict[str, int] = {}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "muster check",
                        "version": version("pytest-muster"),
                        "semanticVersion": version("pytest-muster"),
                        "rules": rules,
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, index[one.id], seen) for one in violations],
            }
        ],
    }


def _meta(id: str, name: str, title: str, remedy: str) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": remedy, "markdown": remedy},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["tests"], "precision": "very-high", "problem.severity": "warning"},
    }


def _result(violation: Violation, index: int, seen: dict[str, int]) -> dict[str, Any]:
    region = {"startLine": violation.line, "startColumn": violation.column, "endLine": violation.end_line}
    if (violation.end_line, violation.end_column) > (violation.line, violation.column):
        region["endColumn"] = violation.end_column
    return {
        "ruleId": violation.id,
        "ruleIndex": index,
        "level": str(violation.level),
        "message": {"text": f"{violation.message[:1].upper()}{violation.message[1:]}. {violation.remedy}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": violation.path, "uriBaseId": "%SRCROOT%"},
                    "region": region,
                }
            }
        ],
        "partialFingerprints": {"musterFinding/v1": _fingerprint(violation, seen)},
    }


def _fingerprint(violation: Violation, seen: dict[str, int]) -> str:
    """The same for a violation whose line has only moved; alike lines of a file are told apart by their order."""
    stem = hashlib.sha256(f"{violation.id}\0{violation.path}\0{violation.text.strip()}".encode()).hexdigest()[:16]
    seen[stem] = seen.get(stem, 0) + 1
    return f"{stem}:{seen[stem]}"
