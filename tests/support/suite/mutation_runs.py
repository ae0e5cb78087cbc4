"""Runs of the suite with a mutation: which specs show it, as what the triage is to name it, and what it says.

A mutation is judged by the record of one run of a few specs, without reruns.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SPECS = Path("tests", "integration", "signalprocessing", "specs")
RUN_TIMEOUT = 300.0  # seconds for one run; on an idle machine it takes ten
TRIAGE_TIMEOUT = 120.0  # seconds
ENVIRONMENT_FAILED = 10
"""Exit code of a run whose environment failed."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault of the report, and what is expected of the suite and of the triage."""

    id: str
    fault: str
    """In a clause."""
    specs: str
    """Which specs run: an expression for `-k`."""
    cause: str
    says: str
    """A part of the first finding's title."""
    evidence: str
    """A part of a line of its evidence, with `…` for what differs from run to run."""
    confidence: float
    """Of the first finding, at least."""
    seconds: int
    """What run and triage took once on two cores, for information."""
    variants: Mapping[str, int] = field(default_factory=dict)
    """Variants of the fault (see `mutations`), which are named alike, and the exit code of each."""
    workers: int = 2
    exit: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


MUTATIONS = (
    Mutation(
        id="M-01",
        fault="a client on the first worker only",
        specs="test_policy_decides or each_process or signal_is_created",
        cause="uninitialised worker state",
        says="controller_of_suite` is set on gw0 only",
        evidence="`support.suite.mutations.controller_of_suite` is None on gw1",
        confidence=0.82,
        seconds=7,
    ),
    Mutation(
        id="M-02",
        fault="every worker takes DataStorage down",
        specs="api_server_that_does_not_answer or processed_signal or classification_decision",
        cause="shared teardown while tests ran",
        says="while other workers still used",
        evidence="gw… sent signal 9 to process … at its end",
        confidence=0.95,
        seconds=15,
        exit=ENVIRONMENT_FAILED,
    ),
    Mutation(
        id="M-03",
        fault="the policy's path on the first worker only",
        specs="test_hot_reload",
        cause="uninitialised worker state",
        says="policy_of_suite` is set on gw0 only",
        evidence="`support.suite.mutations.policy_of_suite` is empty str on gw1",
        confidence=0.95,
        seconds=15,
    ),
    Mutation(
        id="M-04",
        fault="the mapping is read before its cache starts",
        specs="label_of_the_namespace or mapping_decides_where or critical_in_production",
        cause="not ready yet",
        says="read through a cache before the cache is started",
        evidence="failed to get ConfigMap …: the cache is not started, can not read objects",
        confidence=0.6,
        seconds=10,
        workers=1,
    ),
    Mutation(
        id="M-05",
        fault="one name for all namespaces",
        specs="test_policy_decides or label_of_the_namespace",
        cause="name clash",
        says="use the same names in",
        evidence='namespaces "shop" already exists',
        confidence=0.79,
        seconds=12,
        environment={"CONTROL_PLANE": "shared"},
    ),
    Mutation(
        id="M-06",
        fault="`localhost` in an address",
        specs="test_setup",
        cause="IPv4/IPv6 mix-up",
        says="refused before the start",
        evidence="PreflightError: http://localhost:… must name 127.0.0.1",
        confidence=0.9,
        seconds=16,
        exit=ENVIRONMENT_FAILED,
    ),
    Mutation(
        id="M-07",
        fault="DataStorage is killed",
        specs="test_audit",
        cause="infrastructure gone",
        says="signalprocessing_datastorage_test died",
        evidence="signalprocessing_datastorage_test died",
        confidence=0.85,
        seconds=30,
        exit=ENVIRONMENT_FAILED,
        variants={**dict.fromkeys(("before", "last", "after"), ENVIRONMENT_FAILED), "stopped": 1},
    ),
    Mutation(
        id="M-08",
        fault="a wrong password",
        specs="test_setup",
        cause="infrastructure gone",
        says="different passwords",
        evidence='password authentication failed for user "postgres"',
        confidence=0.9,
        seconds=25,
        exit=ENVIRONMENT_FAILED,
    ),
    Mutation(
        id="M-09",
        fault="a missing path",
        specs="test_setup",
        cause="infrastructure gone",
        says="that the set-up needs",
        evidence="PreflightError: docker/datastorage-ubi9.Dockerfile does not exist",
        confidence=0.9,
        seconds=13,
        exit=ENVIRONMENT_FAILED,
    ),
    Mutation(
        id="M-10",
        fault="a worker ends amid a spec",
        specs="test_setup or test_policy_decides",
        cause="defect",
        says="ended its worker gw",
        evidence="it was the test that gw… ran when it ended",
        confidence=0.75,
        seconds=24,
    ),
    Mutation(
        id="M-11",
        fault="one metrics registry for two controllers",
        specs="own_cluster or of_ones_own or test_oom",
        cause="name clash",
        says="register the same metrics at one registry",
        evidence="Duplicated timeseries in CollectorRegistry",
        confidence=0.6,
        seconds=16,
        workers=1,
    ),
    Mutation(
        id="M-12",
        fault="one correlation id for all specs",
        specs="test_audit",
        cause="name clash",
        says="one correlation id",
        evidence="correlation id 'audit-test-rr' is already used by",
        confidence=0.6,
        seconds=15,
        workers=1,
    ),
    Mutation(
        id="M-13",
        fault="batches that are not full are not sent",
        specs="processed_signal or test_oom",
        cause="time-out",
        says="did not reach",
        evidence="DataStorage has no signalprocessing.signal.processed within 3 s",
        confidence=0.6,
        seconds=17,
        workers=1,
    ),
    Mutation(
        id="M-14",
        fault="nobody waits for DataStorage",
        specs="test_audit",
        cause="not ready yet",
        says="used before it was ready",
        evidence="uses after it passed, the first at … s",
        confidence=0.82,
        seconds=34,
    ),
)


def has(evidence: str, text: str) -> bool:
    """Whether a text has what `Mutation.evidence` says."""
    return re.search(".+?".join(map(re.escape, evidence.split("…"))), text) is not None


@dataclass(frozen=True, kw_only=True)
class MutationRun:
    """What came of a run of the suite in a folder of its own."""

    exit: int
    output: str
    folder: Path
    took: float  # seconds

    @property
    def record(self) -> Path:
        """The directory of the newest run."""
        return max((self.folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime)

    def lines(self) -> list[dict[str, Any]]:
        """The record of the newest run."""
        return [json.loads(line) for line in (self.record / "record.jsonl").read_text().splitlines()]


def run(mutation: Mutation, folder: Path, *, is_mutated: bool = True, variant: str = "") -> MutationRun:
    """The specs of a mutation, with or without it. `variant` is one that the mutation knows (see `mutations`)."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(mutation.workers), "--tb=short", "--muster-live=off"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", f"--muster-directory={folder}", str(SPECS)]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "KUBEBUILDER_"))}
    env |= {"DATASTORAGE": "process"}  # some faults are faults of its process
    env |= {**mutation.environment, "SUITE_MUTATION": mutation.id if is_mutated else "", "SUITE_VARIANT": variant}
    command += ["-k", mutation.specs]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
    return MutationRun(exit=done.returncode, output=done.stdout, folder=folder, took=time.monotonic() - began)


def triage(done: MutationRun) -> dict[str, Any]:
    """What `muster triage` makes of a run, by its record alone."""
    command = [sys.executable, "-c", "import sys; from pytest_muster.cli import main; sys.exit(main())"]
    command += ["triage", str(done.record), "--no-reruns", "--output", "json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TRIAGE_TIMEOUT, check=False)
    if told.returncode != 1:
        raise RuntimeError(f"muster triage ended with {told.returncode}: {told.stdout}{told.stderr}")
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer
