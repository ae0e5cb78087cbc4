import shutil
import sqlite3
from contextlib import closing

import pytest


@pytest.mark.parametrize("count", range(6))
def test_report(tmp_path, count):
    report = tmp_path / "out" / "report.csv"
    report.parent.mkdir()
    report.write_text("row\n" * count)
    assert len(report.read_text().splitlines()) == count
    shutil.rmtree(report.parent)


@pytest.mark.parametrize("count", range(1, 6))
def test_table(tmp_path, count):
    with closing(sqlite3.connect(tmp_path / "staging.db")) as connection, connection:
        connection.execute("CREATE TABLE staging (value INTEGER)")
        connection.executemany("INSERT INTO staging VALUES (?)", [(number,) for number in range(count)])
        assert connection.execute("SELECT count(*) FROM staging").fetchone() == (count,)
        connection.execute("DROP TABLE staging")
