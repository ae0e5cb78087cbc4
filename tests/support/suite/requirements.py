"""What became of each line of the report of 15 December 2025: it works, shown by what can be run, or why not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirement:
    id: str
    what: str
    shown_by: str
    state: str = "works"


OTHERWISE = "otherwise"
"""Not as the report has it; `shown_by` says what there is instead, or why it does not apply."""
_SUITE = "`make test-integration-signalprocessing`"
_MUTATIONS = "`test_mutations.py`"

REQUIREMENTS = (
    Requirement("SR-01", "a triage from a run", "`muster triage`; `make triage-15-december` replays that day"),
    Requirement("SR-02", "the run of `--procs=4`", "`make test-integration-signalprocessing-parallel`"),
    Requirement("SR-03", "76 specs", "`tests/unit/test_integration_suite.py`: their ids, once each"),
    Requirement("SR-04", "skipped and pending counted apart", "`muster.pending`; pytest-muster's `test_summary.py`"),
    Requirement("SR-05", "all pass on four workers", _SUITE),
    Requirement("SR-06", "wall clock of every run", "the record's `end` line and the summary, also when it fails"),
    Requirement("SR-07", "one summary over all workers", "`Ran X of Y Specs …`, `PASS!\\|FAIL! -- …`"),
    Requirement("SR-08", "whole log at a known path", f"{_SUITE}: `.muster/sp-integration.log`"),
    Requirement("SR-10", "image of DataStorage in stages", "`make image`; `tests/acceptance/test_images.py`"),
    Requirement("SR-11", "tags `:e2e-test` and `:latest`", "`make image`; the suite runs `:e2e-test`"),
    Requirement("SR-12", "a missing path stops before the start", f"`suite_preflight`; M-09 of {_MUTATIONS}"),
    Requirement(
        "SR-13",
        "container `signalprocessing_datastorage_test`",
        "that name and the run's own part: two runs may be on one machine; `test_suite_container.py`",
    ),
    Requirement("SR-14", "line: DataStorage is healthy", "printed after `/health`, PostgreSQL and Valkey answered"),
    Requirement("SR-15", "line: infrastructure ready", "printed once by the process that owns the run"),
    Requirement("SR-16", "line: all services started", "printed when all three processes live"),
    Requirement("SR-17", "line: audit store configured", "printed when a first event was delivered"),
    Requirement("SR-18", "line: environment ready", f"printed before the first spec; M-14 of {_MUTATIONS}"),
    Requirement("SR-19", "PostgreSQL, Redis, DataStorage", "`suite_services`; ports are leased, not fixed"),
    Requirement("SR-20", "specs run beside each other", "`test_mutations.py` reads overlapping specs in the record"),
    Requirement("SR-30", "no nil pointer in a teardown", f"M-01, M-03 of {_MUTATIONS}"),
    Requirement("SR-31", "the real cause is reproduced", f"M-01 of {_MUTATIONS}"),
    Requirement("SR-32", "a batch that cannot be written", "RX-06: logged, kept on disk, delivered later"),
    Requirement("SR-33", "every decision is audited", "AU-01 … AU-08"),
    Requirement("SR-34", "four hypotheses, each with a detector", f"M-02, M-06, M-07 of {_MUTATIONS}; leased ports"),
    Requirement("SR-35", "when it was refused, when torn down", f"the record's times; M-02 of {_MUTATIONS}"),
    Requirement("SR-36", "no read through an unstarted cache", f"RH-05, CV-01; M-04 of {_MUTATIONS}"),
    Requirement("SR-37", "fallback without a mapping", "RE-01, RG-09"),
    Requirement("SR-38", "no spec before the caches have synced", "`Service.ready()` in `open_suite_controller`"),
    Requirement("SR-40", "what worked goes on working", _SUITE),
    Requirement("SR-41", "what failed has a check", f"M-01 … M-06 of {_MUTATIONS}"),
    Requirement("SR-42", "shared teardown once, after all", "`@muster.shared`; `make muster-endings`"),
    Requirement("SR-43", "a spec's teardown is its own", "names of each spec; `muster_leaks = fail`"),
    Requirement("SR-44", "readiness per worker", "`open_suite_controller`"),
    Requirement("SR-45", "state is made in each worker", "`muster check` M101, M102"),
    Requirement("SR-46", "each statement has a counter-test", _MUTATIONS),
    Requirement("SR-47", "conclusion of the report", "none to be shown", OTHERWISE),
    Requirement("SR-50", "option A: one process, flagged", "`make test-integration-signalprocessing PROCS=1`"),
    Requirement("SR-51", "B1: teardown without set-up", f"M-03 of {_MUTATIONS}"),
    Requirement("SR-52", "B2: synchronised teardown", "pytest-muster's `test_shared_resources.py`"),
    Requirement("SR-53", "B3: bounded wait for caches", "20 s in `open_suite_controller`"),
    Requirement("SR-54", "B4: DataStorage may go and come back", f"RX-06; M-07 of {_MUTATIONS}"),
    Requirement("SR-55", "speed-up is measured", "`muster compare`"),
    Requirement("SR-56", "option C: both targets", "the Makefile"),
    Requirement("SR-57", "one mode in the end", "PROCS is 4 everywhere"),
    Requirement("SR-58", "`setup-envtest`", "`make setup-envtest`"),
    Requirement("SR-59", "comparison of the options", "the triage's chapter of options"),
    Requirement("SR-60", "serial run as evidence", "`make test-integration-signalprocessing PROCS=1`"),
    Requirement("SR-61", "plan of the next week", "done: options B and C are both here", OTHERWISE),
    Requirement("SR-62", "all 76 in parallel, default 4", _SUITE),
    Requirement("SR-63", "DD-TEST-002 in full", "[Testing](../testing.md), rule by rule"),
    Requirement("SR-64", "naming standard", "`muster_test.name`; `muster check` M203, M205"),
    Requirement("SR-65", "report of the whole suite", "the run's record"),
    Requirement("SR-66", "the files that were named", "`test_hot_reload.py`, its `conftest.py`, `test_audit.py`"),
    Requirement("SR-67", "limit of ten minutes, clean stop", "`--muster-deadline=10m` in the target; exit code 11"),
    Requirement("SR-68", "questions and answers", "the triage's conclusions"),
)
