import re
from dataclasses import dataclass

directory = None


@dataclass
class Person:
    name: str

    @property
    def initial(self):
        return self.name[0]


def parse(line):
    found = re.fullmatch(r"[A-Za-z ]+", line)
    return Person(line) if found else None
