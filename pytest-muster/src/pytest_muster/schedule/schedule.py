"""The schedule of a recorded run: which slot ran which tests, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What shall run where."""

    run: str
    queues: Mapping[int, tuple[str, ...]]
    """The tests of each slot, in order, without the serial ones."""
    serial: tuple[str, ...]
    host: int
    """The slot that ran the serial ones."""
    notes: tuple[str, ...] = ()
    """Where the repetition will differ from the record."""

    @property
    def tests(self) -> frozenset[str]:
        return frozenset(test for queue in self.queues.values() for test in queue) | frozenset(self.serial)
