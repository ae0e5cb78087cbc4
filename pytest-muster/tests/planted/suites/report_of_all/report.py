import csv
import time
from pathlib import Path

FILE = Path("out/report.csv")


def build(rows):
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    time.sleep(0.1)  # the totals are counted
    with FILE.open(newline="") as file:
        return len(list(csv.reader(file)))
