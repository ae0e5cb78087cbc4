"""Histories of `make faults ARGS=decision`, always the same ones."""

import os
import tempfile
from pathlib import Path

import pytest
from faults import clocks
from faults.decision_histories import random_decision_history
from faults.decisions import run_decision_history

SEEDS = (1,)
"""A short history with a leader that is stopped, a server in trouble, conflicts and a namespace that goes."""


@pytest.mark.kubernetes
@pytest.mark.timeout(240)
@pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="kills the embedded API server")
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_signal_ends_and_its_events_are_in_the_ledger_once(seed: int, own_directory: Path):
    library = clocks.compile_library(own_directory)
    history = random_decision_history(seed, has_clocks=library is not None)
    kept = Path(tempfile.gettempdir()) / f"kubernaut-decision-{seed}"

    outcome = await run_decision_history(history, own_directory / "history", kept, library)

    assert outcome.problems == [], outcome.explained()
    assert outcome.signals == history.signals
