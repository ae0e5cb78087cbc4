from pathlib import Path


def titles(directory):
    return sorted(file.stem for file in Path(directory).glob("*.txt"))
