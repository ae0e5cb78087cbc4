"""The faults of the report as mutations: with each the suite is red, and `muster triage` names that cause first.

A mutation is judged by the record of one run of a few specs, without reruns. Two run always, one whose specs
fail and one whose set-up does; `make test-mutations` runs all fourteen.
"""

import os
import subprocess
import sys

import pytest

from support.suite.mutation_runs import MUTATIONS, ROOT, RUN_TIMEOUT, TRIAGE_TIMEOUT, Mutation, has, run, triage

ALWAYS = {"M-02", "M-08"}


def chosen() -> list[tuple[Mutation, str]]:
    """The mutations to run, each with its variants."""
    is_all = os.environ.get("MUTATIONS") == "all"
    return [(each, variant) for each in MUTATIONS if is_all or each.id in ALWAYS for variant in ("", *each.variants)]


def test_all_fourteen_are_declared():
    assert [mutation.id for mutation in MUTATIONS] == [f"M-{number:02}" for number in range(1, 15)]


def test_each_fault_takes_the_place_of_something_that_is_there():
    env = os.environ | {"SUITE_MUTATION": ",".join(each.id for each in MUTATIONS), "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-c", "import support.suite.mutations"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(RUN_TIMEOUT + TRIAGE_TIMEOUT + 30)
@pytest.mark.parametrize(("mutation", "variant"), chosen(), ids=lambda value: getattr(value, "id", value or "plain"))
def test_the_suite_is_red_and_the_cause_is_named_first_and_alone(mutation, variant, tmp_path):
    done = run(mutation, tmp_path, variant=variant)
    assert done.exit == mutation.variants.get(variant, mutation.exit), done.output[-4000:]

    told = triage(done)

    assert {finding["cause"] for finding in told["findings"]} == {mutation.cause}, told
    first = told["findings"][0]
    if not variant:
        assert mutation.says in first["title"]
        assert round(first["confidence"], 2) >= mutation.confidence
        assert any(has(mutation.evidence, each["text"]) for each in first["evidence"]), first
    assert told["unexplained"] == []
    stopped = [line for line in done.lines() if line["type"] == "resource" and line["event"] == "stopped"]
    names = [line["name"] for line in stopped if line["scope"] == "shared"]
    assert len(names) == len(set(names)), "each shared resource is stopped once"


@pytest.mark.timeout(RUN_TIMEOUT)
def test_without_a_mutation_the_same_specs_pass_beside_each_other_and_after_the_five_lines(tmp_path):
    done = run(MUTATIONS[1], tmp_path, is_mutated=False)
    assert done.exit == 0, done.output[-4000:]

    proven = [line for line in done.output.splitlines() if line.startswith("✓")]
    assert proven == [
        "✓ DataStorage is healthy (PostgreSQL + Redis ready)",
        "✓ SignalProcessing Integration Infrastructure Ready",
        "✓ All services started and healthy",
        "✓ Audit store configured",
        "✓ SignalProcessing integration test environment ready!",
    ]
    record = done.lines()
    (ready,) = (line["stop"] for line in record if line["type"] == "phase" and line["name"] == "shared set-up")
    tests = [line for line in record if line["type"] == "test"]
    stopping = min(line["at"] for line in record if line["type"] == "resource" and line["event"] == "stopping")
    assert all(ready < test["start"] and test["stop"] < stopping for test in tests)
    assert any(
        one["start"] < other["stop"] and other["start"] < one["stop"]
        for one in tests
        for other in tests
        if one["worker"] < other["worker"]
    ), "specs of two workers run at the same time"
