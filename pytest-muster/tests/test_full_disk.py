"""A full or forbidden directory: refused in a sentence before the run, and no reason to break one that runs."""

import os
from pathlib import Path

import pytest

from pytest_muster.records.journal import Journal, read

TESTS = "def test_one():\n    pass\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_cannot_have_a_record_is_refused_in_a_sentence(pytester, workers):
    pytester.makepyfile(test_it=TESTS)
    (pytester.path / ".muster").write_text("a file where a directory should be\n")

    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", f"-n{workers}")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    said = done.stderr.str()
    assert f"cannot keep the record of this run in {pytester.path / '.muster'}: Not a directory" in said
    assert "--muster-directory=DIR" in said
    assert "Traceback" not in said


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
