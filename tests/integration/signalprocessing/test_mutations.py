"""The faults of the report as mutations: with each the suite is red, and `muster triage` names that cause first.

A mutation is judged by the record of one run of a few specs, without reruns. Two run always, one whose specs
fail and one whose set-up does; `make test-mutations` runs all fourteen.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPECS = Path("tests", "integration", "signalprocessing", "specs")
TIMEOUT = 300.0  # seconds for one run; on an idle machine it takes ten
ALWAYS = {"M-02", "M-08"}
ENVIRONMENT = 10
"""Exit code of a run whose environment failed."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    id: str
    specs: str
    """Which specs run: an expression for `-k`."""
    cause: str
    says: str
    """A part of the first finding's title."""
    workers: int = 2
    exit: int = 1
    environment: dict[str, str] = field(default_factory=dict)


MUTATIONS = (
    Mutation(
        id="M-01",
        specs="test_policy_decides or each_process or signal_is_created",
        cause="uninitialised worker state",
        says="controller_of_suite` is set on gw0 only",
    ),
    Mutation(
        id="M-02",
        specs="api_server_that_does_not_answer or processed_signal or classification_decision",
        cause="shared teardown while tests ran",
        says="while other workers still used",
        exit=ENVIRONMENT,
    ),
    Mutation(
        id="M-03",
        specs="test_hot_reload",
        cause="uninitialised worker state",
        says="policy_of_suite` is set on gw0 only",
    ),
    Mutation(
        id="M-04",
        specs="label_of_the_namespace or mapping_decides_where or critical_in_production",
        cause="not ready yet",
        says="read through a cache before the cache is started",
        workers=1,
    ),
    Mutation(
        id="M-05",
        specs="test_policy_decides or label_of_the_namespace",
        cause="name clash",
        says="name",
        environment={"CONTROL_PLANE": "shared"},
    ),
    Mutation(
        id="M-06", specs="test_setup", cause="IPv4/IPv6 mix-up", says="refused before the start", exit=ENVIRONMENT
    ),
    Mutation(
        id="M-07",
        specs="test_audit",
        cause="infrastructure gone",
        says="signalprocessing_datastorage_test died",
        exit=ENVIRONMENT,
    ),
    Mutation(id="M-08", specs="test_setup", cause="infrastructure gone", says="different passwords", exit=ENVIRONMENT),
    Mutation(
        id="M-09", specs="test_setup", cause="infrastructure gone", says="that the set-up needs", exit=ENVIRONMENT
    ),
    Mutation(id="M-10", specs="test_setup or test_policy_decides", cause="defect", says="ended its worker gw"),
    Mutation(
        id="M-11",
        specs="own_cluster or of_ones_own or test_oom",
        cause="name clash",
        says="register the same metrics at one registry",
        workers=1,
    ),
    Mutation(id="M-12", specs="test_audit", cause="name clash", says="one correlation id", workers=1),
    Mutation(id="M-13", specs="processed_signal or test_oom", cause="time-out", says="did not reach", workers=1),
    Mutation(id="M-14", specs="test_audit", cause="not ready yet", says="used before it was ready"),
)


def run(mutation: Mutation, folder: Path, *, is_mutated: bool = True) -> subprocess.CompletedProcess[str]:
    """The specs of a mutation in a run of their own, with or without it."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(mutation.workers), "--tb=short", "--muster-live=off"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", f"--muster-directory={folder}", str(SPECS)]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "KUBEBUILDER_"))}
    env |= {"DATASTORAGE": "process"}  # some faults are faults of its process
    env |= mutation.environment | {"SUITE_MUTATION": mutation.id if is_mutated else ""}
    command += ["-k", mutation.specs]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def triage(folder: Path) -> dict:
    """What `muster triage` makes of the newest run, by its record alone."""
    command = [sys.executable, "-c", "import sys; from pytest_muster.cli import main; sys.exit(main())"]
    command += ["triage", str(record_of(folder)), "--no-reruns", "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def record_of(folder: Path) -> Path:
    return max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime)


def lines(folder: Path) -> list[dict]:
    """The record of the newest run."""
    return [json.loads(line) for line in (record_of(folder) / "record.jsonl").read_text().splitlines()]


def chosen() -> list[Mutation]:
    return [each for each in MUTATIONS if os.environ.get("MUTATIONS") == "all" or each.id in ALWAYS]


def test_all_fourteen_are_declared():
    assert [mutation.id for mutation in MUTATIONS] == [f"M-{number:02}" for number in range(1, 15)]


def test_each_fault_takes_the_place_of_something_that_is_there():
    env = os.environ | {"SUITE_MUTATION": ",".join(each.id for each in MUTATIONS), "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-c", "import support.suite.mutations"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(TIMEOUT + 150)
@pytest.mark.parametrize("mutation", chosen(), ids=lambda mutation: mutation.id)
def test_the_suite_is_red_and_the_cause_is_named_first_and_alone(mutation, tmp_path):
    done = run(mutation, tmp_path)
    assert done.returncode == mutation.exit, done.stdout[-4000:]

    told = triage(tmp_path)

    assert {finding["cause"] for finding in told["findings"]} == {mutation.cause}, told
    assert mutation.says in told["findings"][0]["title"]
    assert told["unexplained"] == []
    stopped = [line for line in lines(tmp_path) if line["type"] == "resource" and line["event"] == "stopped"]
    names = [line["name"] for line in stopped if line["scope"] == "shared"]
    assert len(names) == len(set(names)), "each shared resource is stopped once"


@pytest.mark.timeout(TIMEOUT)
def test_without_a_mutation_the_same_specs_pass_beside_each_other_and_after_the_five_lines(tmp_path):
    done = run(MUTATIONS[1], tmp_path, is_mutated=False)
    assert done.returncode == 0, done.stdout[-4000:]

    proven = [line for line in done.stdout.splitlines() if line.startswith("✓")]
    assert proven == [
        "✓ DataStorage is healthy (PostgreSQL + Redis ready)",
        "✓ SignalProcessing Integration Infrastructure Ready",
        "✓ All services started and healthy",
        "✓ Audit store configured",
        "✓ SignalProcessing integration test environment ready!",
    ]
    record = lines(tmp_path)
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
