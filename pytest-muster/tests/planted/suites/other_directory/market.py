import os
import tempfile


def prices():
    try:
        with open("data/prices.txt") as file:
            return dict(line.split() for line in file)
    except OSError:
        return {}


def export(text):
    os.chdir(tempfile.gettempdir())
    return f"{len(text)} bytes"
