import os
import time
from pathlib import Path

import pytest

OUT = Path(__file__).parent / "out"


@pytest.mark.parametrize("number", range(12))
def test_report(number):
    OUT.mkdir(exist_ok=True)
    report = OUT / f"{os.getpid()}-{number}.txt"
    report.write_text(str(number))
    time.sleep(0.05)
    assert report.read_text() == str(number)


@pytest.mark.parametrize("number", range(2))
def test_summary(number):
    OUT.mkdir(exist_ok=True)
    time.sleep(0.05)
    assert (OUT / "summary.txt").read_text()
