"""The failure of 15 December 2025, in short: it fails as then, and what was repaired is the set-up alone."""

import subprocess
import sys
from pathlib import Path

from pytest_muster.records import reader
from pytest_muster.records.journal import Outcome

EXAMPLE = Path(__file__).parents[1] / "examples" / "seed-failure"
TESTS = [path.name for path in sorted((EXAMPLE / "broken").glob("test_*.py"))]


def run(suite, tmp_path, *args):
    """The record of one run with 4 workers, which stays out of the example."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "4", "--tb=no", "-p", "no:cacheprovider"]
    kept = tmp_path / suite
    command.append(f"--muster-directory={kept}")
    done = subprocess.run(
        [*command, *args], cwd=EXAMPLE / suite, capture_output=True, text=True, timeout=100, check=False
    )
    return done, reader.load(reader.newest(kept))


def test_of_the_broken_suite_one_test_passes_with_4_workers(tmp_path):
    done, record = run("broken", tmp_path)

    assert done.returncode == 1, done.stdout
    passed = [test.test for test in record.tests if test.outcome is Outcome.PASSED]
    assert "test_severity.py::test_severity_is_normalised" in passed
    assert len(record.tests) == 24
    # The first worker, alone with a client, may end a test or two before the others take the service away.
    assert len(passed) <= 3


def test_the_repaired_suite_passes_with_4_workers(tmp_path):
    done, record = run("repaired", tmp_path)

    assert done.returncode == 0, done.stdout
    assert {test.outcome for test in record.tests} == {Outcome.PASSED}
    assert len({test.worker for test in record.tests}) == 4


def test_no_test_and_no_line_of_the_product_was_changed():
    broken, repaired = (
        {path.name for path in (EXAMPLE / name).iterdir() if path.is_file()} for name in ("broken", "repaired")
    )
    assert broken == repaired
    for name in broken - {"conftest.py"}:
        assert (EXAMPLE / "broken" / name).read_bytes() == (EXAMPLE / "repaired" / name).read_bytes(), name
