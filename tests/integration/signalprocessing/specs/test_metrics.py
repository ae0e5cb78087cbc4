"""The controller's metrics, by their values; each worker's controller has a registry of its own."""

import pytest

from support.suite.objects import pod
from support.suite.polling import eventually

spec = pytest.mark.spec
PHASES = "signalprocessing_processing_total"
DURATION = "signalprocessing_processing_duration_seconds"
ERRORS = "signalprocessing_enrichment_errors_total"


@pytest.fixture
def counted(suite):
    """By how much a metric has grown since this was first asked for it."""
    before: dict[tuple[str, tuple], float] = {}

    def growth(name: str, **labels: str) -> float:
        now = suite.controller.sample(name, **labels)
        return now - before.setdefault((name, tuple(labels.items())), now)

    return growth


@spec("MT-01", "BR-SIGNALPROCESSING-OBSERVABILITY-001")
async def test_phases_are_counted_and_timed(suite, counted):
    """One signal: each phase succeeds once, and the duration of each is observed once."""
    shop = await suite.namespace("metrics", "production")
    phases = ("enriching", "classifying", "categorizing")
    for phase in phases:
        counted(PHASES, phase=phase, result="success")
        counted(f"{DURATION}_count", phase=phase)

    await suite.completed(target=("Pod", "p", shop))

    for phase in phases:
        await eventually(lambda phase=phase: counted(PHASES, phase=phase, result="success") == 1)
        assert counted(f"{DURATION}_count", phase=phase) == 1


@spec("MT-02", "BR-SIGNALPROCESSING-OBSERVABILITY-001")
async def test_complete_enrichment_counts_no_error(suite, counted):
    """A pod that is there: one enrichment succeeds, and no error is counted."""
    shop = await suite.namespace("metrics", "production")
    await suite.create(pod("there", shop))
    kinds = ("not_found", "incomplete", "api_error")
    counted(PHASES, phase="enriching", result="success")
    for kind in kinds:
        counted(ERRORS, error_type=kind)

    await suite.completed(target=("Pod", "there", shop))

    await eventually(lambda: counted(PHASES, phase="enriching", result="success") == 1)
    assert [counted(ERRORS, error_type=kind) for kind in kinds] == [0, 0, 0]


@spec("MT-03", "BR-SIGNALPROCESSING-OBSERVABILITY-001")
async def test_missing_target_counts_one_error(suite, counted):
    """A pod that does not exist: one error of the type not_found."""
    shop = await suite.namespace("metrics", "production")
    counted(ERRORS, error_type="not_found")

    await suite.completed(target=("Pod", "absent", shop))

    await eventually(lambda: counted(ERRORS, error_type="not_found") == 1)
