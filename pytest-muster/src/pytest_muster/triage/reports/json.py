"""A triage for programs. The keys of one version of the schema keep their meaning; new ones may come."""

import json
from dataclasses import asdict

from pytest_muster.records.run_record import RunRecord
from pytest_muster.triage.findings import Triage
from pytest_muster.triage.reports.run_summary import summarize

SCHEMA = 1


def render(triage: Triage, record: RunRecord) -> str:
    """One object.

    schema, run
    result       status: passed | failed | incomplete, summary: [two lines], collected, ran, seconds,
                 counts: {outcome: n}
    conditions   argv, workers, dist, seed, revision, dirty, python, pytest, xdist, muster, platform, cpus
    findings     [{cause, title, confidence, tests, evidence: [{text, at, worker, test, source}], remedy, polluter,
                 resource, reruns}], the surest explanation of the most failures first
    unexplained  [failed tests of which no cause is sure enough]
    """
    summary = summarize(record)
    header = record.header
    conditions = ("workers", "dist", "seed", "revision", "dirty", "python", "pytest", "xdist", "muster", "platform")
    answer = {
        "schema": SCHEMA,
        "run": triage.run,
        "result": {
            "status": "passed" if summary.passed else "failed" if summary.complete else "incomplete",
            "summary": list(summary.lines),
            "collected": summary.collected,
            "ran": summary.ran,
            "seconds": round(summary.seconds, 3),
            "counts": {outcome.value: number for outcome, number in summary.counts.items()},
        },
        "conditions": {"argv": list(header.argv)}
        | {name: getattr(header, name) for name in conditions}
        | {"cpus": header.cpus},
        "findings": [asdict(finding) | {"cause": finding.cause.value} for finding in triage.findings],
        "unexplained": list(triage.unexplained),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
