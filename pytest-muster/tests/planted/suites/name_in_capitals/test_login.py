import sqlite3
from contextlib import closing

import login
import pytest


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER, name TEXT)")
        connection.executemany("INSERT INTO users VALUES (?, ?)", list(enumerate(["ada", "bea", "cleo"], 1)))
    return path


@pytest.mark.parametrize(("number", "name"), list(enumerate(["ada", "bea", "cleo"], 1)))
def test_login(database, number, name):
    assert login.login(database, name) == number


def test_stranger(database):
    with pytest.raises(login.LoginFailed):
        login.login(database, "zoe")
