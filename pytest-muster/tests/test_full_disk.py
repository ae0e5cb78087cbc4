"""A full or forbidden directory: no reason to break a green run, unless somebody chose it; then it is refused."""

import os
import re
import shutil
from pathlib import Path

import pytest

from pytest_muster.records.journal import Journal, read
from pytest_muster.records.reader import find, load

TESTS = "def test_one():\n    pass\n"


def test_a_directory_that_was_chosen_and_cannot_be_used_is_refused_in_a_sentence(nested):
    nested.write("test_it.py", TESTS)
    nested.write("chosen", "a file where a directory should be\n")

    done = nested.run("-n0", "--muster-directory=chosen")

    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert f"cannot keep the record of this run in {nested.directory / 'chosen'}: Not a directory" in done.out
    assert "--muster-directory=DIR" in done.out
    assert "Traceback" not in done.out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_project_that_cannot_be_written_has_its_records_elsewhere(nested, workers):
    nested.write("test_it.py", TESTS)
    nested.write(".muster", "a file where a directory should be, for root may write to any directory\n")

    done = nested.run(f"-n{workers}")

    assert done.code == 0, done.out
    kept = Path(re.search(rf"kept in (\S+), since {nested.directory}/.muster cannot be written", done.out)[1])
    try:
        record = load(find(start=nested.directory))
        assert record.directory.parents[1] == kept
        assert [test.test for test in record.tests] == ["test_it.py::test_one"]
    finally:
        shutil.rmtree(kept)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_record_that_cannot_be_continued_ends_and_says_why(tmp_path):
    journal = Journal(tmp_path / "record.jsonl")
    journal.write("run", run="one")

    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file.fileno())
    os.close(full)
    journal.write("end", exit=0)
    journal.write("end", exit=1)
    journal.close()

    assert journal.problem is not None
    assert journal.problem.strerror == "No space left on device"
    assert [line["type"] for line in read(tmp_path)] == ["run"]
