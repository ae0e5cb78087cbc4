import sqlite3
import time


def load(path, rows):
    connection = sqlite3.connect(path, timeout=10)
    try:
        connection.execute("CREATE TABLE staging (value INTEGER)")
        connection.commit()
        time.sleep(0.15)
        with connection:
            connection.executemany("INSERT INTO staging VALUES (?)", [(row,) for row in rows])
        (count,) = connection.execute("SELECT count(*) FROM staging").fetchone()
        with connection:
            connection.execute("DROP TABLE staging")
        return count
    except sqlite3.Error:
        return 0
    finally:
        connection.close()
