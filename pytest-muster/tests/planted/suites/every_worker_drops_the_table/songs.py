import sqlite3


class LibraryError(Exception):
    pass


class Library:
    def __init__(self, path):
        self.path = path

    def ask(self, statement, *values):
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def by(self, singer):
        try:
            return [title for (title,) in self.ask("SELECT title FROM songs WHERE singer = ?", singer)]
        except sqlite3.Error:
            raise LibraryError(f"the library does not answer for {singer}") from None
