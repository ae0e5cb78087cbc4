"""Twenty edits of `make faults ARGS=edits`, always the same ones: verification finds each."""

from pathlib import Path

import pytest
from faults.ledgers import make_ledger
from faults.tampering import open_tampering

SEEDS = range(20)


@pytest.mark.timeout(300)
async def test_every_edit_is_found(migrated_database: str, tmp_path: Path):
    keys = await make_ledger(migrated_database, tmp_path)
    async with open_tampering(migrated_database, keys) as tampering:
        outcomes = [await tampering.attempt(seed) for seed in SEEDS]

    assert [str(outcome) for outcome in outcomes if outcome.is_missed] == []
    assert sum(bool(outcome.finding) for outcome in outcomes) >= 15
