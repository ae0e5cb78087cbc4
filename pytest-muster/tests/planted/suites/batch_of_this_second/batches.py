import sqlite3
import time
from contextlib import closing


class ImportFailed(Exception):
    pass


def run(path, rows):
    name = f"batch-{int(time.time())}"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        try:
            with connection:
                connection.execute("INSERT INTO batches VALUES (?)", (name,))
        except sqlite3.Error as error:
            raise ImportFailed(f"{len(rows)} rows were not imported") from error
        time.sleep(0.12)
        with connection:
            connection.execute("DELETE FROM batches WHERE name = ?", (name,))
    return len(rows)
