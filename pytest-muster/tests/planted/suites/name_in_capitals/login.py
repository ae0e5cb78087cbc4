import sqlite3
from contextlib import closing


class LoginFailed(Exception):
    pass


def login(path, name):
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT id FROM users WHERE name = ?", (name.upper(),)).fetchone()
    if row is None:
        raise LoginFailed(f"{name} is not welcome")
    return row[0]
