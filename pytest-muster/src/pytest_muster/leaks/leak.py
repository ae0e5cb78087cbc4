"""What a leak is, and the kinds there are."""

from dataclasses import dataclass
from enum import StrEnum

from pytest_muster.records.text import printable


class LeakKind(StrEnum):
    THREADS = "threads"
    PROCESSES = "processes"
    SOCKETS = "sockets"
    FILES = "files"
    TASKS = "tasks"
    ENVIRONMENT = "environment"
    DIRECTORY = "directory"
    TEMPORARY = "temporary"


@dataclass(frozen=True, kw_only=True)
class Leak:
    kind: LeakKind
    description: str
    source: str | None = None
    """`file:line` where the project made it, as far as that was observed."""

    def plain(self) -> dict[str, str | None]:
        """As it travels from a worker to the controller, and into the record."""
        return {"kind": str(self.kind), "description": self.description, "source": self.source}

    def __str__(self) -> str:
        return f"{self.kind}: {printable(self.description)}" + (f", created at {self.source}" if self.source else "")
