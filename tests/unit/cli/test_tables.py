"""Every table of the command line on a narrow terminal: what matters stays, and names keep the end that differs."""

import importlib
import pkgutil

import pytest

import kubernaut.cli
from kubernaut.cli.columns import MIN_CELL, Table, width

POD = "checkout-payment-authorization-7d9f8b6c5d-x2x9z"
WORDS = {
    "alert": "KubeDeploymentReplicasMismatchForTooLong",
    "target": f"payments-production-eu-west-1/Pod/{POD}",
    "resource": f"Pod/{POD}",
    "namespace": "payments-production-eu-west-1",
    "environment": "production",
    "severity": "critical",
    "priority": "P0",
    "environment from": "namespace-labels",
    "context": "degraded",
    "phase": "Categorizing",
    "occurrences": "10000+",
    "resolved": "3h12m",
    "age": "27d",
    "name": "sp-rr-1f0c3a9be2d4-5a5a5a5a",
    "signal": "sp-rr-1f0c3a9be2d4-5a5a5a5a",
    "correlation": "rr-1f0c3a9be2d4-5a5a5a5a",
    "event id": "01890af8-4b2c-5d6e-8f70-0123456789ab",
    "id": "1764500000000-0",
    "seq": "1234567",
    "time": "12:00:00.123",
    "time (UTC)": "2026-11-30 12:00:00",
    "moved (UTC)": "2026-11-30T12:00:00",
    "decided": "2026-11-30T12:00:00",
    "placed at": "2026-11-30T12:00:00.123456Z",
    "oldest": "2026-11-30T12:00:00.123456Z",
    "event": "signalprocessing.classification.decision",
    "outcome": "failure",
    "hash": "0123456789ab",
    "version": "00012",
    "stage": "post",
    "state": "quarantined",
    "part": "environment",
    "is": "production",
    "was": "production",
    "would be": "development",
    "covered": "66.6667 %",
    "  place": "  classification.rego:1234",
    "place": "classification.rego:1234",
    "status": "False",
    "  type": "  ClassificationComplete",
    "events": "12345",
    "bytes": "123456789",
    "waiting": "123456",
    "quarantined": "12345",
    "unreadable": "12345",
    "used by": "process 1234567",
    "placed by": "system:serviceaccount:payments:auditor",
    "inputs": "123456",
}
"""What stands below a head in a cluster with long names; a head that is not here has a sentence below it."""
SENTENCE = "the policy failed at line 12 and a fallback of the chart's default values decided instead, ending here"
TABLES = {
    f"{module.name}.{name}": table
    for module in pkgutil.iter_modules(kubernaut.cli.__path__)
    for name, table in vars(importlib.import_module(f"kubernaut.cli.{module.name}")).items()
    if isinstance(table, Table)
}
MATTERS = {
    "process.DECISIONS": {"alert", "target", "environment", "severity", "priority"},
    "signals.SIGNALS": {"alert", "target", "environment", "severity", "priority"},
    "signal_watch.CHANGES": {"priority", "phase", "alert", "target"},
    "signals.CONDITIONS": {"  type", "status", "message"},
    "audit.EVENTS": {"time (UTC)", "event", "resource"},
    "audit.FINDINGS": {"seq", "finding"},
    "dead_letters.DEAD_LETTERS": {"id", "reason"},
    "holds.HOLDS": {"correlation", "reason"},
    "explain.INPUTS": {"  input", "value"},
    "explain.DEFINITIONS": {"  place", "definition", "what it said"},
    "policy_eval.ANSWERS": {"rule", "answer", "source"},
    "policy_replay.CHANGES": {"alert", "part", "was", "would be"},
    "policy_replay.DIFFERENCES": {"part", "was", "would be", "inputs"},
    "policy_shadow.DISAGREEMENTS": {"alert", "part", "is", "would be"},
    "policy_test.COVERAGE": {"place", "rule", "covered"},
    "services.MIGRATIONS": {"version", "name", "state"},
    "spool.SPOOL": {"waiting", "quarantined", "unreadable"},
    "spool.EVENTS": {"event id", "reason"},
    "demo_display.TIMELINE": {"seq", "event"},
}


def _rows(table: Table) -> list[list[str]]:
    long = [WORDS.get(head, SENTENCE) for head in table.heads]
    return [long, ["-"] * len(long)]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal_and_no_cell_but_the_last_goes_on(name, columns):
    table = TABLES[name]

    lines = [*table.lines(_rows(table), columns)]

    assert max(map(width, lines)) <= columns
    if table.wrapped:
        start = lines[0].index(table.heads[-1].upper())
        assert all(not line[:start].strip() for line in lines[2:-1])
    else:
        assert len(lines) == 3


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("columns", [60, 80])
def test_what_matters_stays_and_is_legible(name, columns):
    table = TABLES[name]
    rows = _rows(table)

    dropped = table.dropped(rows, columns)

    assert not MATTERS[name] & {*dropped}
    first = [*table.lines(rows, columns)][1]
    for head in table.heads:
        if head in dropped or head not in WORDS:
            continue
        word = WORDS[head].strip()
        assert word in first or (head not in table.exact and word[: MIN_CELL // 4] in first), (head, first)
        if head in table.both_ends:
            assert word[-MIN_CELL // 2 :] in first


@pytest.mark.parametrize("name", TABLES)
def test_a_pipe_loses_nothing(name):
    table = TABLES[name]
    rows = _rows(table)

    lines = [*table.lines(rows, None)]

    assert table.dropped(rows, None) == ()
    assert len(lines) == 3
    assert all(cell in lines[1] for cell in rows[0])


def test_what_is_least_important_goes_first():
    table = Table(heads=("alert", "rule", "severity"), details=("rule",), droppable=("severity",))
    row = ["A" * 40, "R" * 40, "critical"]

    assert [table.dropped([row], columns) for columns in (100, 50, 30, 12)] == [
        (),
        ("rule",),
        ("rule",),
        ("rule", "severity"),
    ]


def test_a_column_without_a_head_is_refused():
    with pytest.raises(ValueError, match="without a head: hash"):
        Table(heads=("name",), details=("hash",))
