"""Twenty histories of `make faults ARGS=record`, always the same ones."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from faults.histories import random_history
from faults.runner import run_history
from faults.stack import Template, make_template

import pytest_muster as muster

SEEDS = (
    *(1009, 1020, 1038, 1044, 1059, 1071, 1078, 1142, 1153, 1163),
    *(1208, 1235, 1237, 1247, 1258, 1316, 1327, 1362, 1367, 1373),
    945742,  # the clocks of DataStorage and of a client go back together
)
"""Short histories that together have every kind of fault, one and two replicas, spools and plain HTTP."""


@muster.shared(timeout=120)
async def record_template(muster_run: muster.Workspace) -> AsyncIterator[dict[str, Any]]:
    directory = muster_run.directory / "faults"
    directory.mkdir()
    directory.chmod(0o711)
    template = await make_template(directory)
    yield {name: str(value) if isinstance(value, Path) else value for name, value in asdict(template).items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_acknowledged_survives_every_fault(
    seed: int, record_template: dict[str, Any], own_directory: Path
):
    library = record_template["library"]
    template = Template(
        directory=Path(record_template["directory"]),
        role_password=record_template["role_password"],
        library=Path(library) if library else None,
        has_disks=record_template["has_disks"],
    )
    history = random_history(seed, has_disks=template.has_disks, has_clocks=template.library is not None)
    kept = Path(tempfile.gettempdir()) / f"kubernaut-faults-{seed}"

    outcome = await run_history(history, template, own_directory / "history", kept)

    assert outcome.problems == [], outcome.explained()
    assert outcome.acknowledged > 0
